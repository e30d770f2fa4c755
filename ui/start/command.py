"""What is chosen at the stage door, as a study file and as the command that plays it. Pure.

A small run is a study like any other: a scene, an arm of its author for each condition, and how
often. Its file can be kept, changed and played again without the viewer.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from improv.records import Json
from improv.study.scene import Scene

EMBEDDED, PUPPET, ENDPOINT = "embedded", "puppet", "endpoint"
MODELS = {
    EMBEDDED: "SmolLM2 135M, in this machine",
    PUPPET: "A puppet, which only shows how it goes",
    ENDPOINT: "A model at an address",
}
PACE = 0.4
"""Seconds that the stage door's puppet takes for a line: at once would be nothing to watch."""
MOST = 20
"""Scenes under each author that may be asked for: more is a study's business."""
WATCHED = 200
"""Trials of a run that can be watched here."""

AS_WRITTEN, NONE, LIVE = "as written", "none", "live author"
_WORDS = {
    AS_WRITTEN: "the scene's file as it is",
    NONE: "no author at all",
    LIVE: "its author as an agent who whispers notes",
    "brief": "the author's text in front of everybody's prompt",
    "placebo": "as long a text, about the theatre",
    "director": "a director's notes, without authorship",
    "sloppy": "an author whose characters wander",
}


@dataclass(frozen=True)
class Bill:
    """What is to be played. `scene` is a shipped name or a file's absolute path, and `model` one
    of MODELS; for an endpoint `called` and `base_url` are what the user typed."""

    scene: str
    arms: tuple[str, ...]
    model: str
    trials: int
    turns: int
    seed: int
    called: str = ""
    base_url: str = ""

    @property
    def planned(self) -> int:
        return len(self.arms) * self.trials


def arms(scene: Scene) -> list[str]:
    """Return the authors that a scene can be played under."""
    own = scene.author
    live = [LIVE] if own.frame or own.brief else []
    return [AS_WRITTEN, NONE, *(c for c in own.contexts if c not in (NONE, LIVE)), *live]


def words(arm: str) -> str:
    """Say what an arm is."""
    return _WORDS.get(arm, "one of the scene's own contexts")


def missing(bill: Bill) -> str:
    """Return what has still to be chosen, "" for nothing."""
    if not bill.arms:
        return "Choose an author, or none."
    if bill.model == ENDPOINT and not bill.called.strip():
        return "A model at an address needs the name that it goes by there."
    if bill.model == ENDPOINT and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", bill.base_url):
        return "Write the address like http://127.0.0.1:8000/v1"
    return ""


def study(bill: Bill, scene: Scene) -> str:
    """Return the study file: YAML whose values are JSON, so that no text can be read as more."""
    laid: Json = {"turns": bill.turns} | _model(bill, scene)
    lines = [
        f"study: {_line('stage-door ' + slug(bill.scene))}",
        f"scenes: {_line([bill.scene])}",
        "set:",
        *(f"  {name}: {_line(value)}" for name, value in laid.items()),
        "factors:",
        "  author:",
        *(f"    {_line(arm)}: {_line(_patch(arm, scene))}" for arm in bill.arms),
        f"replicates: {bill.trials}",
        f"seed: {bill.seed}",
    ]
    return "\n".join(lines) + "\n"


def command(bill: Bill, file: str, run: str, root: str) -> list[str]:
    """Return the words after `improv` that play the study file into a run of that name."""
    found = ["run", file, "--runs", root, "--name", run, "--ray", "off", "--stages", "1"]
    if bill.model == ENDPOINT:
        # On the command line, whose addresses are vouched for by whoever types them.
        found += [f"--model={bill.called.strip()}", f"--base-url={bill.base_url}"]
    return found


def resumed(run: str, root: str, host: str) -> list[str]:
    """Return the words that play what a run still owes; `host` is one that the user typed."""
    found = ["resume", run, "--runs", root, "--ray", "off", "--stages", "1"]
    return [*found, f"--trust={host}"] if host else found


def shown(found: Sequence[str]) -> str:
    """Return a command as it is typed into a shell."""
    return shlex.join(["improv", *found])


def slug(scene: str) -> str:
    """Return a scene's name as a run's id can hold it."""
    stem = scene.rsplit("/", 1)[-1].removesuffix(".yaml")
    return re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40] or "scene"


def _model(bill: Bill, scene: Scene) -> Json:
    """Return the patch that has one model play everybody."""
    if bill.model == ENDPOINT:
        laid: Json = {}
    elif bill.model == PUPPET:
        # A scene that brings a puppet of its own knows best how it plays.
        own = scene.model.in_process
        laid = {} if own else {"model": {"model": PUPPET, "puppet": {"latency": PACE}}}
        if not own and scene.model.base_url is not None:
            laid["model"]["base_url"] = None
    else:
        laid = {"model": EMBEDDED}
    others = {c.name: {"model": None} for c in scene.cast if c.model is not None}
    if others:
        laid["cast"] = others
    if scene.author.model is not None:
        laid["author"] = {"model": None}
    return laid


def _patch(arm: str, scene: Scene) -> Json:
    match arm:
        case "as written":
            return {}
        case "none":
            return {"author": {"name": "", "frame": "", "brief": "", "live": False}}
        case "live author":
            may = [p for p in scene.author.may if p != "end"] or ["note"]
            return {"author": {"live": True, "may": may}}
    return {"author": {"context": arm, "shown": True, "live": False}}


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
