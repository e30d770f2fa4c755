"""Every shipped study, played by puppets at its full size: does its plan find what was planted?

Each study is played under each of its planted truths, with an effect and with none, through all
that a real run goes through: plan, stage, store, scores, analysis. Under an effect every planned
contrast must be found that is not truly nothing, and under nothing none may be; each control must
hold; no arm may have seen another's text, and no more may be missing than the plan allows. All of
it is done under several seeds: at α = .05 one study in twenty finds what is not there, so that
what one seed alone shows is named, and what two seeds show is a fault. Writes docs/studies.md
where all of them were asked for, and leaves with 1 where there is a fault.

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

from improv.report.material import read_material
from improv.report.numbers import estimate_text
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring.scorer import Judges, score
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.measure_spec import JUDGED_SCORERS
from improv.study.trial import plan

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "scenes" / "studies"
PAGE = ROOT / "docs" / "studies.md"
NOTHING = "nothing"
SEEDS = (1, 2)
LEAK = "an arm saw another's text"

EXCEPTIONS = {
    ("outside-text", "unheeded", "reminder against the rule alone"): "nobody heeds the reminder",
}
"""(study, planted, contrast) → why it is not to be found, though something is planted."""


@dataclass(frozen=True)
class Row:
    """A planned contrast or a control: what was found of it, and what should have been.

    `found` of a control is whether it held; None is what could not be told.
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
    """What came of one study under one planted truth."""

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
    """Of a processor: what a busy machine does besides is no part of it."""


def rehearsed(name: str, planted: str, seed: int, replicates: int | None = None) -> Played:
    """Play one study under one planted truth, and return what its plan found.

    It is played at full size where no other number of replicates is given.
    """
    began = time.process_time()
    study = replace(load(STUDIES / f"{name}.yaml", planted=planted), seed=seed)
    if replicates is not None:
        study = with_replicates(study, replicates)
    assert study.plan is not None
    with tempfile.TemporaryDirectory(prefix="improv-studies-") as root:
        result = run(study, runs=root, name=name, setup=Setup("off"))
        wanted = [m for m in study.plan.measures() if m in JUDGED_SCORERS and m != "secret"]
        lost = result.failed + result.owed + result.broken
        faults = [f"{lost} not played to the end"] if lost else []
        if wanted:
            scored = score(result.folder, wanted, Judges("puppet"))
            faults += [f"{n} verdicts failed" for n in [scored.failed + scored.owed] if n]
        of = read_material(result.folder)
    found = of.analysis
    faults += [reason.sentence for reason in found.stopped]
    if not of.exposure.clean:
        faults.append(f"{LEAK}: {of.exposure.leaked} leaks")
    if not found.planned:
        faults.append("the plan is not the one that the run was begun with")
    rows = [
        _contrast(name, planted, c.name, estimate_text(c.estimate), c.adjusted, c.rejected)
        for c in found.findings
    ]
    rows += [
        Row("control", f"{c.name}: {c.what}", estimate_text(c.estimate), math.nan, c.held, True)
        for c in found.checks
    ]
    return Played(
        name,
        planted,
        seed,
        tuple(rows),
        len(plan(study)),
        result.branches,
        len(of.calls),
        max((arm.missing_share for arm in found.arms), default=0.0),
        tuple(faults),
        time.process_time() - began,
    )


def _contrast(study: str, planted: str, name: str, estimate: str, p: float, found: bool) -> Row:
    why = EXCEPTIONS.get((study, planted, name), "")
    told = None if math.isnan(p) else found
    return Row("contrast", name, estimate, p, told, planted != NOTHING and not why, why)


def faults_of(all_played: Sequence[Played]) -> list[str]:
    """Return what cannot be luck: trouble in a run, and what two seeds, or the only one, show."""
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
    yield "puppets at full size, under each truth that it plants, and put to its own planned"
    yield "analysis. Intervals are 95%, those of a difference that must be near to nothing 90%; p"
    yield "is after Holm's correction. Where nothing is planted, one study in twenty finds a thing"
    yield "all the same, and one control in twenty that is true cannot be shown: what a single"
    yield "seed shows is printed in bold, and what two of them show is a fault."
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
        yield f"| planned | {' | '.join(f'seed {p.seed}' for p in same)} | to be |"
        yield "|---|" + "---|" * (len(same) + 1)
        for rows in zip(*(p.rows for p in same), strict=True):
            wanted = _VERDICTS[rows[0].kind][rows[0].expected]
            why = f" ({rows[0].why})" if rows[0].why else ""
            yield f"| {rows[0].name} | {' | '.join(map(_told, rows))} | {wanted}{why} |"


def _summary(all_played: Sequence[Played]) -> Iterator[str]:
    quiet = [p for p in all_played if p.planted == NOTHING]
    loud = sum(any(r.kind == "contrast" and r.found for r in p.rows) for p in quiet)
    checks = [r for p in all_played for r in p.rows if r.kind == "control"]
    leaks = sum(LEAK in fault for p in all_played for fault in p.faults)
    there = [r for p in all_played for r in p.rows if r.kind == "contrast" and r.expected]
    yield (
        f"{sum(bool(r.found) for r in there)} of {len(there)} planted effects were found; "
        f"{loud} of {len(quiet)} runs found something where nothing was planted; "
        f"{sum(bool(r.found) for r in checks)} of {len(checks)} controls held; {LEAK} in {leaks} "
        f"of {len(all_played)} runs. "
        f"{sum(p.calls for p in all_played):,} calls; "
        f"{sum(p.seconds for p in all_played) / 60:.0f} minutes of a processor."
    )
    yield ""
    yield "| study | planted | seed | scenes | branches | calls | missing, at most | contrasts found | controls that held | seconds |"  # noqa: E501
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for p in all_played:
        found = [r for r in p.rows if r.kind == "contrast"]
        held = [r for r in p.rows if r.kind == "control"]
        counts = (f"{sum(bool(r.found) for r in rows)} of {len(rows)}" for rows in (found, held))
        yield (
            f"| {p.study} | {p.planted} | {p.seed} | {p.trials:,} | {p.branches:,} | {p.calls:,} "
            f"| {p.missing:.1%} | {' | '.join(counts)} | {p.seconds:.0f} |"
        )


def _told(row: Row) -> str:
    p = "" if math.isnan(row.p) else f", p = {row.p:.4f}" if row.p >= 0.0001 else ", p < .0001"
    odd = "" if row.right else f": **{_VERDICTS[row.kind][row.found]}**"
    return f"{row.estimate}{p}{odd}"


_VERDICTS: dict[str, dict[bool | None, str]] = {
    "contrast": {True: "found", False: "not found", None: "not told"},
    "control": {True: "held", False: "not shown", None: "not told"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("studies", nargs="*")
    parser.add_argument("--planted", action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", help="docs/studies.md, where all studies are played")
    asked = parser.parse_args()
    names = asked.studies or [
        f.stem for f in sorted(STUDIES.glob("*.yaml")) if load(f).plan is not None
    ]
    work = [
        (name, planted, seed)
        for name in names
        for planted in asked.planted or truths(name)
        for seed in asked.seed or SEEDS
    ]
    done = []
    with multiprocessing.get_context("spawn").Pool(asked.jobs, maxtasksperchild=1) as pool:
        for played in pool.imap(_one, work):
            done.append(played)
            print(f"{played.study}, {played.planted}, seed {played.seed}: {played.seconds:.0f} s")
            for fault in played.faults:
                print(f"  {fault}")
            for row in played.rows:
                print(f"  {row.name} | {_told(row)}", flush=True)
    output = asked.output or ("" if asked.studies or asked.planted or asked.seed else PAGE)
    if output:
        Path(output).write_text("\n".join([*page(done), ""]))
        print(f"{output} written")
    wrong = faults_of(done)
    print("faults: " + ("; ".join(wrong) or "none"))
    return bool(wrong)


def truths(name: str) -> list[str]:
    """Return the names of what a study plants."""
    return list(yaml.safe_load((STUDIES / f"{name}.yaml").read_text())["planted"])


def _one(work: tuple[str, str, int]) -> Played:
    try:
        return rehearsed(*work)
    except Exception as e:
        return Played(*work, (), faults=(f"{type(e).__name__}: {e}",))


if __name__ == "__main__":
    sys.exit(main())
