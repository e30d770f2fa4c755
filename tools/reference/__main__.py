"""Writes the references: scenes.md, studies-reference.md, cli.md, limits.md, schema, all in docs.

python -m tools.reference
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from improv.study.design import StudyFile
from improv.study.scene import Scene
from tools.reference import command, fields, limits

DOCS = Path(__file__).resolve().parents[2] / "docs"

SCENES = """
# Scene files

A scene is a YAML file with a premise, a world and a cast. It needs three things: a `title`, a
`premise`, and a `cast` of at least one character, each with a `name` and a `role`. All else has a
default.

`improv new scene NAME` writes a first file, `improv validate FILE` reports everything that is wrong
with a file, and `improv run FILE` plays it. A study changes fields of scenes from condition to
condition; see [study files](studies-reference.md). In a mapping from name to something you choose
the names. `make reference` writes this page from the classes that read the files.
"""
STUDIES = """
# Study files

A study is a YAML file that names scenes, says what changes in them from condition to condition and
how often each is played, and can have a plan of the analysis. It needs two things: a name, as
`study`, and a list of `scenes`. All else has a default.

`improv new study NAME` writes a first file, `improv validate FILE` reports everything that is wrong
with a file, `improv run FILE --dry-run` counts the calls that it would make, and `improv run FILE`
plays it. [studies.md](studies.md) describes the studies that ship with improv.

A *patch* is a part of a [scene](scenes.md#scene) that is laid over the scene: mappings are merged
field by field, any other value replaces the old one. `{turns: 8, author: {live: true}}` is a patch.
`make reference` writes this page from the classes that read the files.
"""


def pages() -> dict[str, str]:
    """Return each page by the name of its file."""
    shared = fields.classes(Scene)
    return {
        "scenes.md": fields.page(Scene, SCENES),
        "studies-reference.md": fields.page(StudyFile, STUDIES, shared, "scenes.md"),
        "cli.md": command.page(),
        "limits.md": limits.page(),
        "schema/scene.json": _schema(Scene),
        "schema/study.json": _schema(StudyFile),
    }


def _schema(kind: type[BaseModel]) -> str:
    """Return the JSON Schema with which an editor completes and checks a file."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    whole = {"$schema": draft, **kind.model_json_schema()}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
