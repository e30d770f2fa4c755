"""Plays every shipped study with puppets at full size, to see whether its plan finds the truth.

Each study is played under each of its planted truths, with an effect and with none, in the same way
as a real run: plan, stage, store, scores, analysis. With an effect, every planned contrast must be
found (but for EXCEPTIONS); with none, no contrast may be found. Each control must hold. No arm may
see another arm's text, and no more scores may be missing than the plan allows. Every study is
played with several seeds. At α = .05 one study in twenty finds what is not there, so an error that
one of several seeds shows is printed in bold, and one that two seeds show is a fault. If all
studies are played, the tool writes docs/studies.md. The exit code is 1 if there is a fault.

    python tools/studies.py [STUDY ...] [--planted effect] [--seed 1 --seed 2] [--output FILE]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from improv.analysis.decision import Decision, DoubtKind
from improv.report.doubts import all_doubts, decisions
from improv.report.material import read_material
from improv.report.numbers import estimate_text
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.study.design import Study, with_replicates
from improv.study.loader import load
from improv.study.measure_spec import JUDGED_SCORERS
from improv.study.plan import Plan
from improv.study.trial import plan
from tools.rater import rate_lines

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "scenes" / "studies"
PAGE = ROOT / "docs" / "studies.md"
NOTHING = "nothing"
SEEDS = (1, 2)
LEAK = "an arm saw another's text"

EXCEPTIONS = {
    ("outside-text", "unheeded", "reminder against the rule alone"): "nobody heeds the reminder",
}
"""(study, planted, contrast) → why the contrast must not be found, although a truth is planted."""


@dataclass(frozen=True)
class Row:
    """The result of a planned contrast or a control, and the result that is expected.

    For a control, `found` says whether it held. It is None if the data could not decide.
    """

    kind: str
    name: str
    estimate: str
    p: float
    found: bool | None
    expected: bool
    why: str = ""

    @property
    def right(self) -> bool:
        return self.found is self.expected


@dataclass(frozen=True)
class Played:
    """The results of one study under one planted truth."""

    study: str
    planted: str
    seed: int
    rows: tuple[Row, ...]
    trials: int = 0
    branches: int = 0
    calls: int = 0
    missing: float = 0.0
    faults: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    """Processor time, which does not depend on other work of the machine."""


def smaller(study: Study, planned: Plan, replicates: int) -> Study:
    """Return a study of fewer replicates that plans what it plays, at one look."""
    blocks = replicates * len(study.scenes)
    smaller = planned.model_copy(update={"blocks": blocks, "looks": None})
    return replace(with_replicates(study, replicates), plan=smaller)


def rehearsed(name: str, planted: str, seed: int, replicates: int | None = None) -> Played:
    """Play one study under one planted truth, and return the results of its plan.

    Without `replicates`, the study is played at full size.
    """
    began = time.process_time()
    study = replace(load(STUDIES / f"{name}.yaml", planted=planted), seed=seed)
    assert study.plan is not None
    if replicates is not None:
        study = smaller(study, study.plan, replicates)
    assert study.plan is not None
    with tempfile.TemporaryDirectory(prefix="improv-studies-") as root:
        result = run(study, runs=root, name=name, setup=Setup("off"))
        judged = [m for m in study.plan.measures() if m in JUDGED_SCORERS and m != "secret"]
        lost = result.failed + result.owed + result.broken
        faults = [f"{lost} not played to the end"] if lost else []
        if judged:
            scored = score(result.folder, judged, Judges("puppet"))
            faults += [f"{n} verdicts failed" for n in [scored.failed + scored.owed] if n]
            for measure in judged:
                rate_lines(result.folder, measure)
        material = read_material(result.folder)
    analysis = material.analysis
    faults += [
        f"{LEAK}: {material.exposure.leaked} leaks"
        if doubt.kind is DoubtKind.LEAK
        else f"{doubt.contrast}: {doubt.sentence}".removeprefix(": ")
        for doubt in all_doubts(material)
    ]
    rows = [_contrast(name, planted, decision) for decision in decisions(material)]
    rows += [
        Row("control", f"{c.name}: {c.what}", estimate_text(c.estimate), math.nan, c.held, True)
        for c in analysis.checks
    ]
    return Played(
        name,
        planted,
        seed,
        tuple(rows),
        len(plan(study)),
        result.branches,
        len(material.calls),
        max((arm.missing_share for arm in analysis.arms), default=0.0),
        tuple(faults),
        time.process_time() - began,
    )


def _contrast(study: str, planted: str, decision: Decision) -> Row:
    c = decision.contrast
    why = EXCEPTIONS.get((study, planted, c.name), "")
    estimate, wanted = estimate_text(c.estimate), planted != NOTHING and not why
    return Row("contrast", c.name, estimate, c.adjusted, decision.decided, wanted, why)


def faults_of(all_played: Sequence[Played]) -> list[str]:
    """Return the faults: trouble in a run, and wrong results of two seeds or of the only seed."""
    wrong = [f"{p.study}, {p.planted}, seed {p.seed}: {f}" for p in all_played for f in p.faults]
    odd = Counter((p.study, p.planted, r.name) for p in all_played for r in p.rows if not r.right)
    seeds = len({p.seed for p in all_played})
    wrong += [
        f"{study}, {planted}: {name}, under {n} of {seeds} seeds"
        for (study, planted, name), n in odd.items()
        if n > 1 or seeds == 1
    ]
    return wrong


def page(all_played: Sequence[Played]) -> Iterator[str]:
    """Yield the lines of docs/studies.md."""
    yield "# The studies, on planted truth"
    yield ""
    yield "Written by `make studies`. Every study in `scenes/studies` that has a plan is played by"
    yield "puppets at full size, under each truth that it plants, and analysed by its own plan."
    yield "Intervals are 95%, and 90% for a difference that must be near zero; p is after Holm's"
    yield "correction. If nothing is planted, one study in twenty still finds an effect, and one"
    yield "true control in twenty cannot be shown. A wrong result of one seed is printed in bold,"
    yield "and a wrong result of two seeds is a fault."
    yield ""
    yield "All blocks are played here. Most of these plans declare looks, so their p are those of"
    yield "alpha spending at the last look, and `improv run --until-decided` ends them earlier:"
    yield "see [planned.md](planned.md)."
    yield ""
    yield from _summary(all_played)
    wrong = faults_of(all_played)
    yield ""
    yield "Faults: " + ("; ".join(wrong) if wrong else "none") + "."
    for study, planted in dict.fromkeys((p.study, p.planted) for p in all_played):
        same = [p for p in all_played if p.rows and (p.study, p.planted) == (study, planted)]
        yield ""
        yield f"## {study}: {planted}"
        yield ""
        if not same:
            continue
        yield f"| planned | {' | '.join(f'seed {p.seed}' for p in same)} | expected |"
        yield "|---|" + "---|" * (len(same) + 1)
        for rows in zip(*(p.rows for p in same), strict=True):
            expected = _VERDICTS[rows[0].kind][rows[0].expected]
            why = f" ({rows[0].why})" if rows[0].why else ""
            yield f"| {rows[0].name} | {' | '.join(map(_result_text, rows))} | {expected}{why} |"


def _summary(all_played: Sequence[Played]) -> Iterator[str]:
    without = [p for p in all_played if p.planted == NOTHING]
    false_alarms = sum(any(r.kind == "contrast" and r.found for r in p.rows) for p in without)
    checks = [r for p in all_played for r in p.rows if r.kind == "control"]
    leaks = sum(LEAK in fault for p in all_played for fault in p.faults)
    effects = [r for p in all_played for r in p.rows if r.kind == "contrast" and r.expected]
    yield (
        f"{sum(bool(r.found) for r in effects)} of {len(effects)} planted effects were found; "
        f"{false_alarms} of {len(without)} runs found something although nothing was planted; "
        f"{sum(bool(r.found) for r in checks)} of {len(checks)} controls held; {LEAK} in {leaks} "
        f"of {len(all_played)} runs. "
        f"{sum(p.calls for p in all_played):,} calls; "
        f"{sum(p.seconds for p in all_played) / 60:.0f} minutes of processor time."
    )
    yield ""
    yield "| study | planted | seed | scenes | branches | calls | missing, at most | contrasts found | controls that held | seconds |"  # noqa: E501
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for p in all_played:
        contrasts = [r for r in p.rows if r.kind == "contrast"]
        controls = [r for r in p.rows if r.kind == "control"]
        counts = (
            f"{sum(bool(r.found) for r in rows)} of {len(rows)}" for rows in (contrasts, controls)
        )
        yield (
            f"| {p.study} | {p.planted} | {p.seed} | {p.trials:,} | {p.branches:,} | {p.calls:,} "
            f"| {p.missing:.1%} | {' | '.join(counts)} | {p.seconds:.0f} |"
        )


def _result_text(row: Row) -> str:
    p = "" if math.isnan(row.p) else f", p = {row.p:.4f}" if row.p >= 0.0001 else ", p < .0001"
    odd = "" if row.right else f": **{_VERDICTS[row.kind][row.found]}**"
    return f"{row.estimate}{p}{odd}"


_VERDICTS: dict[str, dict[bool | None, str]] = {
    "contrast": {True: "found", False: "not found", None: "not decided"},
    "control": {True: "held", False: "not shown", None: "not decided"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("studies", nargs="*")
    parser.add_argument("--planted", action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", help="file of the page; docs/studies.md for all studies")
    args = parser.parse_args()
    names = args.studies or [
        f.stem for f in sorted(STUDIES.glob("*.yaml")) if load(f).plan is not None
    ]
    work = [
        (name, planted, seed)
        for name in names
        for planted in args.planted or truths(name)
        for seed in args.seed or SEEDS
    ]
    done = []
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
        for played in pool.imap(_play, work):
            done.append(played)
            print(f"{played.study}, {played.planted}, seed {played.seed}: {played.seconds:.0f} s")
            for fault in played.faults:
                print(f"  {fault}")
            for row in played.rows:
                print(f"  {row.name} | {_result_text(row)}", flush=True)
    output = args.output or ("" if args.studies or args.planted or args.seed else PAGE)
    if output:
        Path(output).write_text("\n".join([*page(done), ""]))
        print(f"{output} written")
    wrong = faults_of(done)
    print("faults: " + ("; ".join(wrong) or "none"))
    return bool(wrong)


def truths(name: str) -> list[str]:
    """Return the names of the truths that a study plants."""
    return list(yaml.safe_load((STUDIES / f"{name}.yaml").read_text())["planted"])


def _play(work: tuple[str, str, int]) -> Played:
    try:
        return rehearsed(*work)
    except Exception as e:
        return Played(*work, (), faults=(f"{type(e).__name__}: {e}",))


if __name__ == "__main__":
    sys.exit(main())
