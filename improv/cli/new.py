"""The command `new`: it writes a small scene or study that its user then changes.

Both templates pass `improv validate` unchanged. docs/scenes.md and docs/studies-reference.md list
all fields.
"""

from __future__ import annotations

import json
import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from improv.cli import terminal
from improv.cli.options import app, reported_errors
from improv.errors import RunError, StudyError
from improv.files import create_file

_SHIPPED = "night-bus"
"""The shipped scene that a new study plays if its folder holds no scene."""

_SCENE = """\
# A scene to begin with. Check it:  improv validate {file}
# Play it:                          improv run {file}
# All fields:                       docs/scenes.md
title: {title}
form: a scene about a late train

# The situation at the beginning. Every character sees it.
premise: >-
  The last train is an hour late, and the waiting room has one heater. Two strangers share the bench
  in front of it. Neither has said yet where they are going, and the loudspeaker has begun to guess.
place: The waiting room of a small station
time: Close to midnight, in winter

# The rules of the world, one per line. Every character sees them.
world:
  - The door to the platform stays locked until the train is there.
  - The loudspeaker hears what is said in the room.

cast:
  - name: Ines
    role: a piano tuner, 44, with a heavy case  # one line of the cast list; every character sees it
    card: >-  # only the prompts of Ines contain her card
      Ines is polite to everybody and everything, heaters too. She says so when she is afraid.
    goal: To be on the train before anybody asks what is in the case.
    traits:
      # A trait has two poles, so that a character can flip to the opposite one. A program looks for
      # the sign on each line: a line with one of these words is at the pole.
      - pole: polite
        opposite: rude
        kind: neutral
        sign: {{marker: says_any, value: [please, thank you, excuse me, sorry]}}
    samples:  # lines in her voice; small models imitate them
      - Excuse me, would you mind the case? It is older than both of us.
      - Thank you, I have been warmer, but never by a nicer heater.
  - name: Otto
    role: a retired referee, 67, who still carries his whistle
    card: >-
      Otto judges whatever he sees, briefly. He has not been wrong since 1989.
    traits:
      - pole: brief
        opposite: long-winded
        kind: neutral
        sign: {{marker: at_most_words, value: 14}}
    samples:
      - That heater was fair. The draught is a foul.
      - One hour late. I would show it the yellow card.

# Written first lines. They matter more to a small model than any instruction.
opening:
  - direction: The loudspeaker crackles, and clears its throat.
  - {{who: Otto, line: Somebody is going to make an announcement. I can smell it.}}
  - {{who: Ines, line: "Excuse me, I hoped that it was only the heater."}}

turns: 8  # how many lines are improvised
order: round-robin  # or shuffled, addressed, author-cued, by-silence

# Author-level context: a text at the beginning of every prompt. With `live: true` the author is
# also an agent that acts while the scene plays; `may` lists what it may do.
author:
  name: Ada Quill
  frame: >-
    Ada Quill writes short plays about strangers. Her characters stay who they are, whatever happens
    to them.
  live: false
  may: [note]

# Which model plays. Without this line: the embedded model, which needs no key and no network.
# model: gpt-4.1-mini
"""

_STUDY = """\
# A study to begin with. Check it:    improv validate {file}
# Estimate its calls and tokens:      improv run {file} --dry-run
# Play it with puppets, at no cost:   improv run {file} --model puppet --ray off
# All fields:                         docs/studies-reference.md
study: {name}
question: Does an author in the frame keep characters to what they are?
# Which idea the study tests, and which result would count against it.
about: >-
  If a model plays characters as an author would write them, then a text about a careful author
  keeps them to what they are. It would count against the idea if any text of that length did.

# Scene files beside this one, or names of scenes that ship with improv. More may follow.
scenes:
  - {scene}

# Changes to the scene in all conditions: any field of a scene.
set:
  turns: 8

# A factor has levels; a level changes fields of the scene. Each combination of levels is a
# condition.
factors:
  author:
    none:
      author: {{name: "", frame: "", brief: "", live: false}}
    careful:
      author:
        name: Ada Quill
        frame: >-
          Ada Quill writes people who stay who they are, whatever happens to them. She never lets a
          character contradict what the audience has seen of it.
        brief: ""
        live: false
    placebo:  # as long as the text above, and about nothing that matters
      author:
        name: Ada Quill
        frame: >-
          Ada Quill grows pears by the river, whatever the weather may be. She never lets a visitor
          leave without a basket that she has filled for them.
        brief: ""
        live: false

replicates: 20  # how often each condition is played; `improv power` estimates how many a plan needs

# The analysis, fixed before the first call: run.json holds its hash.
plan:
  hypothesis: With a careful author in the frame, fewer lines break the sign of a trait.
  outcome: {{of: broken, measure: sign}}  # the share of lines that break a trait's sign
  contrasts:
    - {{name: careful against none, plus: {{author: careful}}, minus: {{author: none}}}}
  controls:
    - name: placebo is none
      equivalence: {{plus: {{author: placebo}}, minus: {{author: none}}, margin: 0.1}}
  blocks: 20  # scenes times replicates
"""


class NewFile(StrEnum):
    """What a new file describes."""

    SCENE = "scene"
    STUDY = "study"


@app.command("new")
def new_command(
    kind: Annotated[
        NewFile, typer.Argument(metavar="scene|study", help="What the file describes.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name; the file is NAME.yaml.")],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write to this file instead of NAME.yaml."
        ),
    ] = "",
) -> None:
    """Write a small, valid scene or study, with comments that say what to change.

    A new study plays the newest scene of its folder, or a shipped scene if there is none. The
    command overwrites no file.
    """
    with reported_errors():
        file = write_new(kind, name, output)
        terminal.say(f"written: {file}")
        terminal.say(f"check it with: improv validate {shlex.quote(str(file))}")


def write_new(kind: str, name: str, output: str = "") -> Path:
    """Write a small scene or study, and return its file.

    Raises RunError if the name is not valid, or the file exists or cannot be written.
    """
    stem = name.removesuffix(".yaml")
    if not re.fullmatch(r"[^\W_][\w .-]{0,79}", stem):
        raise RunError(
            f"{name!r}: not a name; begin with a letter or a digit, and use letters, digits, "
            "spaces and . _ - (80 at most); -o FILE sets the file's path"
        )
    file = Path(output or f"{stem}.yaml")
    if kind == "scene":
        words = stem.replace("-", " ").replace("_", " ").strip()
        text = _SCENE.format(
            file=file, title=json.dumps(words[:1].upper() + words[1:], ensure_ascii=False)
        )
    else:
        if not stem.isascii():
            raise RunError(
                f"{name!r}: the name of a study may contain no letters but those from a to z"
            )
        text = _STUDY.format(
            file=file, name=json.dumps(stem), scene=json.dumps(_newest_scene(file))
        )
    try:
        create_file(file, text)
    except FileExistsError:
        raise RunError(
            f"{file}: exists already; choose another name, or write elsewhere with -o FILE"
        ) from None
    except OSError as e:
        raise RunError(f"{file}: cannot be written: {e.strerror}") from None
    return file


def _newest_scene(file: Path) -> str:
    """Return the newest scene file of the study's folder, or the name of a shipped scene."""
    from improv.study.loader import load_scene

    files = [other for other in file.parent.glob("*.yaml") if other.is_file()]
    for other in sorted(files, key=lambda f: (-f.stat().st_mtime_ns, f.name)):
        try:
            load_scene(other)
        except StudyError:
            continue  # a study, or a scene that does not pass
        return other.name
    return _SHIPPED
