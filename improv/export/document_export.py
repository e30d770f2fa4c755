"""Makes a document of a scene of a run, and the name of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from improv.export.document import SceneDocument
from improv.export.selection import PlayedScene
from improv.records import MAIN, Json
from improv.study.scene import Scene


def scene_document(
    played: PlayedScene, run: str, models: str, scenes: Mapping[tuple[str, str], Scene]
) -> SceneDocument:
    """Return a played scene as a document, with the author's acts and the scores."""
    row = played.row
    scene = scenes.get((row["scene"], row["condition"]))
    facts = {
        "Run": run,
        "Trial": row["trial"],
        "Condition": row["condition"],
        "Block": row["block"],
        "Branch": "" if row["branch"] == MAIN else row["branch"],
        "Played by": models,
    }
    title = row["title"] or row["scene"]
    return SceneDocument(title, played.turns, scene, facts, played.scores)


def document_file_name(row: Json, ending: str) -> str:
    """Return the name of a scene's file: its index in the plan, its scene, its condition."""
    branch = "" if row["branch"] == MAIN else f"-{row['branch']}"
    scene, condition = file_slug(row["scene"]), file_slug(row["condition"])
    return f"{row['index']:05d}{branch}-{scene}-{condition}.{ending}"


def file_slug(text: str) -> str:
    """Return a text as a part of a file name."""
    return re.sub(r"[^\w]+", "-", text).strip("-").lower()[:60] or "scene"
