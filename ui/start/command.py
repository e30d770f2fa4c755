"""The choices of the stage door as a study file and as the command that plays it. Pure.

A small run is an ordinary study: a scene, a condition for each arm of its author, and replicates.
Its file can be kept, edited and played again without the viewer.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from improv.records import Json
from improv.study.address import read_address
from improv.study.scene import Scene

EMBEDDED, PUPPET, ENDPOINT = "embedded", "puppet", "endpoint"
MODELS = {
    EMBEDDED: "SmolLM2 135M, on this machine",
    PUPPET: "A puppet, which only demonstrates a run",
    ENDPOINT: "A model at an address",
}
PACE = 0.4
"""Seconds that the stage door's puppet takes for a line, so that there is something to watch."""
MOST_TRIALS = 20
"""Most scenes for each author; a larger run is written as a study."""
WATCHED = 200
"""Most trials of a run whose lines are shown as they arrive."""

AS_WRITTEN, NONE, LIVE = "as written", "none", "live author"
_WORDS = {
    AS_WRITTEN: "the scene's file as it is",
    NONE: "no author at all",
    LIVE: "its author as an agent who whispers notes",
    "brief": "the author's text in front of everybody's prompt",
    "placebo": "a text of the same length about the theatre",
    "director": "a director's notes, without authorship",
    "sloppy": "an author whose characters wander",
}


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The choices for a run. `scene` is a shipped name or the absolute path of a file, `model` is a
    key of MODELS, `trials` are scenes for each arm. For an endpoint the user types `called`, the
    model's name there, and `base_url`."""

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
    """Return the arms of the author that a scene can be played under."""
    own = scene.author
    live = [LIVE] if own.frame or own.brief else []
    return [AS_WRITTEN, NONE, *(c for c in own.contexts if c not in (NONE, LIVE)), *live]


def words(arm: str) -> str:
    """Return the description of an arm."""
    return _WORDS.get(arm, "one of the scene's own contexts")


def still_missing(bill: Bill) -> str:
    """Return which choice is missing or wrong, "" for none."""
    if not bill.arms:
        return "Choose at least one author; “none” is a choice too."
    if bill.model == ENDPOINT and not bill.called.strip():
        return "Write the name of the model at that address."
    if bill.model == ENDPOINT:
        try:
            read_address(bill.base_url)
        except ValueError as e:
            return f"The address {e}"
    return ""


def study_file(bill: Bill, scene: Scene) -> str:
    """Return the study file: YAML whose values are JSON, so that no text is read as YAML syntax."""
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
    """Return the arguments of `improv` that play the study file into a run of that name."""
    words = ["run", file, "--runs", root, "--name", run, "--ray", "off", "--stages", "1"]
    if bill.model == ENDPOINT:
        # An address on the command line is trusted, because the user typed it.
        words += [f"--model={bill.called.strip()}", f"--base-url={bill.base_url}"]
    return words


def resumed(run: str, root: str, host: str) -> list[str]:
    """Return the arguments of `improv` that play the rest of a run; `host` is an address that the
    user typed, "" for none."""
    words = ["resume", run, "--runs", root, "--ray", "off", "--stages", "1"]
    return [*words, f"--trust={host}"] if host else words


def shell_line(words: Sequence[str]) -> str:
    """Return a command as a line for a shell."""
    return shlex.join(["improv", *words])


def slug(scene: str) -> str:
    """Return a scene's name as part of a run's id."""
    stem = scene.rsplit("/", 1)[-1].removesuffix(".yaml")
    return re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40] or "scene"


def _model(bill: Bill, scene: Scene) -> Json:
    """Return the patch under which one model plays every role."""
    if bill.model == ENDPOINT:
        laid: Json = {}
    elif bill.model == PUPPET:
        # A scene with a puppet of its own keeps the puppet's settings.
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
