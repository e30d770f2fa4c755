"""Plays the sample run anew: the demonstration by the embedded model, branches and regenerations.

    python -m tools.sample

The sample has to be played anew if the code that decides how a scene is played has changed
(improv.runner.provenance.PLAYING), because the run of another program can be read but not branched.
It takes ten minutes on two idle cores.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from improv.records import Json
from improv.runner.branching import branch
from improv.runner.launch import Result, run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.overrides import read_edit

SAMPLE = Path(__file__).resolve().parent.parent / "runs" / "sample"
OFF = Setup(ray="off")
# Branches and regenerations of the scene: the turn, the edit, the number of draws, whether the turn
# itself is drawn again.
PARLOUR = [
    (3, [], 1, False),
    (3, ["move=A moth comes out of the owl and lands on the thimble."], 1, False),
    (2, ["line=No, Tam, and you have walked past it twice tonight."], 1, False),
    (4, [], 3, True),
]
COLD_PASS = [(4, ["author.live=false"], 1, False)]


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        _check(run(load("demo"), runs=home, name="sample", setup=OFF, source=_source()))
        folder = open_run(home, "sample")
        rows = [
            r for r in folder.tables.read("trials").to_pylist() if r["condition"] == "live author"
        ]
        for scene, branches in (("parlour", PARLOUR), ("cold-pass", COLD_PASS)):
            trial = next(r["trial"] for r in rows if r["scene"] == scene)
            for turn, edit, draws, again in branches:
                _check(
                    branch(
                        folder,
                        trial,
                        turn,
                        edit=read_edit(edit),
                        draws=draws,
                        again=again,
                        setup=OFF,
                    )
                )
        shutil.rmtree(SAMPLE, ignore_errors=True)
        shutil.copytree(folder.local, SAMPLE, ignore=shutil.ignore_patterns("lock"))
    return 0


def _source() -> Json:
    return {"file": "demo", "patch": {}, "replicates": None, "planted": ""}


def _check(result: Result) -> None:
    if result.exit_code:
        sys.exit(f"{result.folder.id}: exit code {result.exit_code}; the sample stays as it is")
    print(f"{result.folder.id}: {result.done} scenes, {len(result.fresh)} new branches", flush=True)


if __name__ == "__main__":
    sys.exit(main())
