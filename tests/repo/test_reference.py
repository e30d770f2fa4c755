"""The reference pages agree with the classes and the command. Their examples are valid."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from improv.study.design import StudyFile
from improv.study.scene import Scene
from improv.study.yaml_source import read_yaml
from tools.reference.__main__ import DOCS, pages
from tools.reference.examples import EXAMPLES
from tools.reference.fields import classes, title

KINDS = list(dict.fromkeys([*classes(Scene), *classes(StudyFile)]))


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize(
    "name",
    [
        "scenes.md",
        "studies-reference.md",
        "cli.md",
        "limits.md",
        "schema/scene.json",
        "schema/study.json",
    ],
)
def test_the_pages_are_of_today(name: str, written: dict[str, str]) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == written[name], "make reference"


@pytest.mark.parametrize("kind", KINDS, ids=title)
def test_every_example_is_read_as_what_it_is_an_example_of(kind: type[BaseModel]) -> None:
    data: Any = read_yaml(EXAMPLES[kind.__name__], "example.yaml").data
    made = kind.model_validate(data)
    assert made != kind.model_construct(), "an example sets something"


def test_there_is_an_example_for_each_class_and_no_other() -> None:
    assert sorted(EXAMPLES) == sorted(kind.__name__ for kind in KINDS)
    assert len({title(kind) for kind in KINDS}) == len(KINDS), "two sections have one head"


@pytest.mark.parametrize("kind", KINDS, ids=title)
def test_every_field_has_its_sentence(kind: type[BaseModel]) -> None:
    silent = [name for name, field in kind.model_fields.items() if not field.description]
    assert not silent, "say under the field what it holds; editors show it too"


def test_every_link_leads_somewhere(written: dict[str, str]) -> None:
    heads = {
        name: {
            re.sub(r"[^\w -]", "", head).lower().replace(" ", "-")
            for head in re.findall(r"^#+ (.+)$", text, re.M)
        }
        for name, text in written.items()
    }
    for name, text in written.items():
        for page, anchor in re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", text):
            assert not page or (DOCS / page).is_file(), (name, page)
            assert not anchor or anchor in heads[page or name], (name, page, anchor)


def test_every_command_is_on_its_page(written: dict[str, str]) -> None:
    heads = re.findall(r"^## improv ([\w-]+)$", written["cli.md"], re.M)
    assert {"run", "resume", "new", "validate", "report"} <= set(heads)
    assert (
        "--dry-run" in written["cli.md"]
        and "improv new [OPTIONS] scene|study NAME" in (written["cli.md"])
    )
