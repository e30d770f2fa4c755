"""Files to begin with: a small scene and a small study, with comments that say what to change.

What is written passes `improv validate` as it stands. All fields are in docs/scenes.md and
docs/studies-reference.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from improv.errors import RunError, StudyError

SHIPPED = "night-bus"
"""The shipped scene that a new study plays where no scene stands beside it."""

SCENE = """\
# A scene to begin with. Check it:  improv validate {file}
# Play it:                          improv run {file}
# All fields:                       docs/scenes.md
title: {title}
form: a scene about a late train

# How things stand when the scene begins. Everybody sees it.
premise: >-
  The last train is an hour late, and the waiting room has one heater. Two strangers share the bench
  in front of it. Neither has said yet where they are going, and the loudspeaker has begun to guess.
place: The waiting room of a small station
time: Close to midnight, in winter

# The rules of the world, one a line. Everybody sees them.
world:
  - The door to the platform stays locked until the train is there.
  - The loudspeaker hears what is said in the room.

cast:
  - name: Ines
    role: a piano tuner, 44, with a heavy case # one line of the cast list: everybody sees it
    card: >- # what only Ines is told of herself
      Ines is polite to everybody and everything, heaters too. She says so when she is afraid.
    goal: To be on the train before anybody asks what is in the case.
    traits:
      # A trait has an opposite, so that a character can flip. The sign is what a program looks for
      # on each line: a line that has one of these words is at the pole.
      - pole: polite
        opposite: rude
        kind: neutral
        sign: {{marker: says_any, value: [please, thank you, excuse me, sorry]}}
    samples: # lines in her voice; small models imitate them
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

turns: 8 # how many lines are improvised
order: round-robin # or shuffled, addressed, author-cued, by-silence

# Author-level context: a text that every prompt begins with, or an agent that acts while the scene
# plays. `live: true` makes it one; then `may` says what it may do.
author:
  name: Ada Quill
  frame: >-
    Ada Quill writes short plays about strangers. Her characters stay who they are, whatever happens
    to them.
  live: false
  may: [note]

# Who plays. Without this line it is the embedded model, which needs no key and no network.
# model: gpt-4.1-mini
"""

STUDY = """\
# A study to begin with. Check it:    improv validate {file}
# See what it would take:             improv run {file} --dry-run
# Play it with puppets, for nothing:  improv run {file} --model puppet --ray off
# All fields:                         docs/studies-reference.md
study: {name}
question: Does an author in the frame keep characters to what they are?
# Which idea it tests, and what would count against it.
about: >-
  If a model plays characters as an author would write them, then a text about a careful author
  keeps them to what they are. It would count against the idea if any text of that length did.

# Scene files beside this one, or names of scenes that ship with improv. More may follow.
scenes:
  - {scene}

# What every condition starts from: any field of a scene.
set:
  turns: 8

# Factor, level, and what the level changes in the scene. Conditions are all combinations of levels.
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
    placebo: # as long as the text above, and about nothing that matters
      author:
        name: Ada Quill
        frame: >-
          Ada Quill grows pears by the river, whatever the weather may be. She never lets a visitor
          leave without a basket that she has filled for them.
        brief: ""
        live: false

replicates: 4 # how often each condition is played; `improv power` says how many a plan needs

# What will be looked at. It is settled here, before the first call: its hash stands in the run.
plan:
  hypothesis: With a careful author in the frame, fewer lines break the sign of a trait.
  outcome: {{of: broken, measure: sign}} # the share of lines that break a trait's sign
  contrasts:
    - {{name: careful against none, plus: {{author: careful}}, minus: {{author: none}}}}
  controls:
    - name: placebo is none
      equivalence: {{plus: {{author: placebo}}, minus: {{author: none}}, margin: 0.1}}
  blocks: 4 # scenes times replicates
"""


def write_new(kind: str, name: str, output: str = "") -> Path:
    """Write a scene or a study to begin with, and return its file. Raises RunError."""
    stem = name.removesuffix(".yaml")
    if not re.fullmatch(r"[^\W_][\w .-]{0,79}", stem):
        raise RunError(
            f"{name!r}: not a name; begin with a letter or a digit, and use letters, digits, "
            "spaces and . _ - (80 at most). -o FILE says where the file goes"
        )
    file = Path(output or f"{stem}.yaml")
    if kind == "scene":
        words = stem.replace("-", " ").replace("_", " ").strip()
        text = SCENE.format(file=file, title=json.dumps(_capital(words), ensure_ascii=False))
    else:
        if not stem.isascii():
            raise RunError(f"{name!r}: a study's name has letters from a to z only")
        text = STUDY.format(file=file, name=json.dumps(stem), scene=json.dumps(_beside(file)))
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise RunError(f"{file}: is there already; choose another name, or -o FILE") from None
    except OSError as e:
        raise RunError(f"{file}: cannot be written: {e.strerror}") from None
    return file


def _beside(file: Path) -> str:
    """Return the scene that was written last in a study's folder, or a shipped one's name."""
    from improv.study.loader import load_scene

    files = [other for other in file.parent.glob("*.yaml") if other.is_file()]
    for other in sorted(files, key=lambda f: (-f.stat().st_mtime_ns, f.name)):
        try:
            load_scene(other)
        except StudyError:
            continue  # a study, or a scene that does not pass
        return other.name
    return SHIPPED


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
