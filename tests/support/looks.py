"""A study whose plan may be looked at while it is played, with a large planted effect."""

from __future__ import annotations

from pathlib import Path

from improv.runner.launch import Result, run
from improv.runner.session import Setup
from improv.study.design import Study
from improv.study.loader import load
from tests.conftest import KETTLE

STUDY = """\
study: kettles
scenes: [kettle.yaml]
replicates: 30
set:
  turns: 4
  author: {live: false, frame: ""}
  cast:
    Ana:
      traits:
        - pole: honest
          opposite: deceitful
          kind: moral
          sign: {marker: never_says, value: [never]}
factors:
  author:
    none: {}
    framed: {author: {frame: Nobody turns their coat.}}
plan:
  hypothesis: A frame holds characters.
  outcome: {measure: sign}
  contrasts:
    - {name: framed, plus: {author: framed}, minus: {author: none}}
  blocks: 30
  looks: {every: 3}
planted:
  effect: {model: {model: puppet, puppet: {alpha: 0.6, effects: {turns their coat: -4.0}}}}
  nothing: {model: {model: puppet, puppet: {alpha: 0.3}}}
"""
LOOKS = "  looks: {every: 3}\n"
PUPPETS = Setup(ray="off")
UNTIL = Setup(ray="off", until_decided=True)


def written(folder: Path, study: str = STUDY) -> Path:
    """Write the study and its scene."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kettle.yaml").write_text(KETTLE)
    (folder / "kettles.yaml").write_text(study)
    return folder / "kettles.yaml"


def kettles(folder: Path, study: str = STUDY, planted: str = "effect") -> Study:
    return load(written(folder, study), planted=planted)


def play(
    folder: Path,
    study: str = STUDY,
    *,
    planted: str = "effect",
    name: str = "a",
    setup: Setup = PUPPETS,
) -> Result:
    """Play the study into `folder`/runs."""
    return run(kettles(folder, study, planted), runs=folder / "runs", name=name, setup=setup)
