"""Seconds and memory of every step of scoring and reporting a run with judges and people.

The puppet plays the study and judges it; a second judge disagrees with it on some lines, and three
people rate the lines that the Rate room gives them. Then each step runs in a process of its own, so
that its memory is its own: the most that the process held, all its modules included. Exits 1 if a
step takes more than `LIMIT_GIB`.

    python -m benchmarks.report --trials 2400
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from improv.storage.run_folder import RunFolder

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

LIMIT_GIB = 2.0
SCENES = ("cold-pass", "weighing")
ARMS = 3
STUDY = """\
study: judged
question: Does a brief keep them true, as a judge sees it?
scenes: [cold-pass, weighing]
set: {turns: 10, model: puppet, author: {live: false}}
factors:
  author:
    none: {author: {name: "", frame: "", brief: ""}}
    brief: {author: {context: brief}}
    placebo: {author: {context: placebo}}
replicates: %d
plan:
  hypothesis: A brief lowers the share of lines at the opposite.
  outcome: {of: broken, measure: state}
  contrasts:
    - {name: brief against none, plus: {author: brief}, minus: {author: none}}
    - {name: brief against placebo, plus: {author: brief}, minus: {author: placebo}}
  controls:
    - name: placebo is none
      equivalence: {plus: {author: placebo}, minus: {author: none}, margin: .1}
  blocks: %d
"""
SECOND = "another judge"
PEOPLE = ("Ada", "Ben", "Cem")
FLIPPED = 0.1
"""The share of lines on which the second judge says otherwise."""


def play(root: Path, trials: int) -> None:
    """Play the study: its replicates make at least so many trials."""
    from improv.runner.launch import run
    from improv.runner.session import Setup
    from improv.study.loader import load

    replicates = -(-trials // (ARMS * len(SCENES)))
    file = root / "judged.yaml"
    file.write_text(STUDY % (replicates, replicates * len(SCENES)))
    run(load(file), runs=root, name="judged", setup=Setup(ray="off"))


def score_by_judge(root: Path) -> None:
    from improv.scoring.judge_models import Judges
    from improv.scoring.scorer import score

    score(_folder(root), (), Judges(first="puppet"))


def add_second_judge(root: Path) -> None:
    """Write the verdicts of a second judge, and the ratings of three people."""
    import numpy as np

    from improv.scoring import human_ratings
    from improv.scoring.scorer import score_from_row

    folder = _folder(root)
    rows = folder.tables.read("verdicts").to_pylist()
    chance = np.random.default_rng(7)
    others = []
    for row, flip in zip(rows, chance.random(len(rows)) < FLIPPED, strict=True):
        value = 1 - row["value"] if flip and row["value"] is not None else row["value"]
        others.append(row | {"judge": SECOND, "value": value})
    scores = [score_from_row(row) for row in folder.tables.read("scores").to_pylist()]
    folder.tables.write_verdicts(scores, [*rows, *others])
    study = folder.study()
    for name in PEOPLE:
        for measure in ("state", "p2l"):
            for item in human_ratings.rating_items(folder, study, measure):
                known = item.truth if item.truth is not None else float(chance.random() > FLIPPED)
                answer = item.options[item.values.index(known)]
                human_ratings.add_rating(
                    folder, item, human_ratings.judge_name(name), answer, seconds=1.0
                )


def score_again(root: Path) -> None:
    from improv.scoring.judge_models import Judges
    from improv.scoring.scorer import score

    score(_folder(root), (), Judges(first="puppet"))


def read_scores(root: Path) -> None:
    from improv.analysis.loader import read_tables

    read_tables(_folder(root))


def judges_errors(root: Path) -> None:
    from improv.analysis.judge_error import measure_judges
    from improv.analysis.loader import VERDICT_COLUMNS, read_tables

    folder = _folder(root)
    verdicts = folder.tables.read("verdicts", columns=VERDICT_COLUMNS).to_pandas()
    judges = measure_judges(verdicts, read_tables(folder).trials, seed=1)
    assert {judge.judge for judge in judges} >= {"puppet", SECOND}


def planned_analysis(root: Path) -> None:
    from improv.analysis.loader import analyse_run

    assert analyse_run(_folder(root)).analysis.findings


def whole_analysis(root: Path) -> None:
    from improv.analysis.loader import analyse_run

    analyse_run(_folder(root)).whole()


def exposure(root: Path) -> None:
    from improv.analysis.exposure_scan import read_exposure

    folder = _folder(root)
    read_exposure(folder, folder.study())


def graphs(root: Path) -> None:
    from improv.graph.condition_graphs import condition_graphs

    condition_graphs(_folder(root))


def lines_to_rate(root: Path) -> None:
    from improv.scoring.human_ratings import rating_items

    folder = _folder(root)
    assert rating_items(folder, folder.study(), "state")


def whole_report(root: Path) -> None:
    from improv.report.material import read_material
    from improv.report.run_report import report

    page = report(read_material(_folder(root)))
    assert page.as_html() and page.as_markdown()


STEPS: dict[str, Callable[[Path], None]] = {
    "score, by a judge": score_by_judge,
    "add a second judge and three people": add_second_judge,
    "score again, nothing to ask": score_again,
    "read the scores": read_scores,
    "judges' errors and agreement": judges_errors,
    "the planned analysis": planned_analysis,
    "with curves and exploration": whole_analysis,
    "exposure": exposure,
    "graphs of who speaks to whom": graphs,
    "lines for the Rate room": lines_to_rate,
    "improv report, whole": whole_report,
}


def measure_step(name: str, root: Path) -> tuple[float, float]:
    """Return the seconds and GiB of a step in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--step", name, "--folder", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()[-2000:]}")
    seconds, gib = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(gib)


def step(name: str, root: Path) -> None:
    began = time.perf_counter()
    STEPS[name](root)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps([time.perf_counter() - began, peak / 2**30]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=2400)
    parser.add_argument("--folder", type=Path, help="keep the run here, and use it if it is there")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step(args.step, args.folder)
        return 0
    with tempfile.TemporaryDirectory() as home:
        root = args.folder or Path(home)
        root.mkdir(parents=True, exist_ok=True)
        names = list(STEPS)
        if not (root / "judged").exists():
            play(root, args.trials)
        elif (
            SECOND in _folder(root).tables.read("verdicts", columns=["judge"])["judge"].to_pylist()
        ):
            names = names[2:]
        return print_steps(names, root)


def print_steps(names: list[str], root: Path) -> int:
    folder = _folder(root)
    print(f"{folder.meta()['trials']:,} trials\n")
    print(f"{'':38s}{'seconds':>9s}{'GiB':>7s}")
    above = []
    for name in names:
        seconds, gib = measure_step(name, root)
        print(f"{name:38s}{seconds:9.1f}{gib:7.2f}", flush=True)
        above += [name] if gib > LIMIT_GIB else []
    print(f"{folder.tables.read('verdicts', columns=['judge']).num_rows:,} verdicts")
    if above:
        print(f"more than {LIMIT_GIB:g} GiB: {', '.join(above)}")
    return 1 if above else 0


def _folder(root: Path) -> RunFolder:
    from improv.storage.runs import open_run

    return open_run(root, "judged")


if __name__ == "__main__":
    sys.exit(main())
