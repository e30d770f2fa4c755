"""The errors of judges: which judge may decide, and what its errors do to a finding."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pytest

from improv.analysis.compare import compare_sides
from improv.analysis.inference import Analysis, analyse
from improv.analysis.judge_error import JudgeErrors, measure_judges
from improv.analysis.units import Tables, outcome_units
from improv.records import MAIN
from improv.report.numbers import number
from improv.report.page import Page
from improv.report.sections import add_absorption
from improv.study.plan import ARM, Outcome
from tests.support.table import (
    COLUMNS,
    NAN,
    X_Y,
    Row,
    X,
    Y,
    contrast,
    lines,
    made,
    plan,
    said,
    trial,
    trials,
)

STATE = "state:a/b"
JUDGE = "state-1@j"


def verdicts(
    names: Iterable[str],
    se: float,
    sp: float,
    n: int = 100,
    judge: str = "j",
    family: str = "state",
) -> pd.DataFrame:
    """Verdicts of a judge on `n` planted lines at each end of the trait, in each trial."""
    rows = [
        (
            name,
            MAIN,
            1.0,
            "Ana",
            f"calibration:{family}:a/b",
            judge,
            f"{name}{truth}{i}",
            truth,
            "",
            truth if i < round(right * n) else 1 - truth,
        )
        for name in names
        for truth, right in ((0.0, se), (1.0, sp))
        for i in range(n)
    ]
    columns = [
        "trial",
        "branch",
        "turn",
        "character",
        "measure",
        "judge",
        "item",
        "truth",
        "error",
        "value",
    ]
    return pd.DataFrame(rows, columns=columns)


def scored(x: Sequence[int], y: Sequence[int], of: int = 10, version: str = JUDGE) -> Tables:
    """How many of each block's lines the judge called opposite, in two conditions."""
    rows: list[Row] = []
    for condition, blocks in (("x", x), ("y", y)):
        for k, broken in enumerate(blocks):
            rows += said(f"{condition}{k}", lines(broken, of), STATE, version=version)
    return made(trials(len(x), "x", "y"), rows)


def on_state(tables: Tables, judges: Sequence[JudgeErrors]) -> Analysis:
    flat = {"name": "f", "flat": {"margin": 0.5}}
    return analyse(plan(X_Y, outcome={"measure": "state"}, controls=[flat]), tables, judges=judges)


FEW = scored([1, 2, 3], [4, 5, 6])


def of_few(*parts: pd.DataFrame) -> list[JudgeErrors]:
    return measure_judges(pd.concat(parts), FEW.trials, seed=0)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([], "j, who judged state, was not calibrated on planted lines: run improv score"),
        (
            [verdicts(["x0", "y0"], 0.95, 0.95, judge="k")],
            "j, who judged state, was not calibrated on planted lines: run improv score",
        ),
        (
            [verdicts(["x0"], 0.95, 0.95)],
            "j, who judged state, was not calibrated on planted lines in y",
        ),
        ([verdicts(["x0", "y0"], 0.6, 0.55)], "j cannot judge state: Se + Sp"),
        ([verdicts(["x0"], 0.97, 0.97), verdicts(["y0"], 0.5, 0.97)], "j cannot judge state: "),
    ],
    ids=["nobody's planted lines", "another's", "one arm's", "a poor judge", "poor in one arm"],
)
def test_a_judge_that_did_not_show_that_it_can_judge_decides_nothing(
    parts: list[pd.DataFrame], why: str
) -> None:
    analysis = on_state(FEW, of_few(*parts) if parts else [])
    assert analysis.mute and analysis.doubts[0].sentence.startswith(why)
    assert analysis.judge == "" and analysis.corrected == {}
    assert [c.held for c in analysis.checks] == [None]
    assert math.isnan(analysis.checks[0].estimate.value)


def test_nothing_of_a_judge_that_cannot_judge_is_explored_either() -> None:
    signs = [r for t in FEW.trials["trial"] for r in said(t, [1, 0, 1])]
    rows = pd.concat([FEW.scores, pd.DataFrame(signs, columns=COLUMNS)])
    both = Tables(FEW.trials, rows, FEW.marks)

    def explored(judges: list[JudgeErrors]) -> set[str]:
        return {c.name for c in analyse(plan(X_Y), both, judges=judges).exploratory}

    assert explored([]) == explored(of_few(verdicts(["x0", "y0"], 0.6, 0.55))) == set()
    assert explored(of_few(verdicts(["x0", "y0"], 0.97, 0.97))) == {"state: y against x"}


def test_judges_are_told_apart_and_their_errors_counted() -> None:
    rows = verdicts(["x0", "y0"], 0.9, 0.8)
    rows.loc[rows.index[:5], "value"] = NAN
    failed = verdicts(["x0"], 0.0, 0.0, n=3).assign(error="timeout: too late")
    judges = of_few(rows, failed, verdicts(["x0"], 1.0, 1.0, judge="k", family="p2l"))
    by = {(j.measure, j.judge): j for j in judges}
    assert set(by) == {("state", "j"), ("p2l", "k")}
    of_j = by["state", "j"]
    (confusion, _) = of_j.arms["x"]
    assert (confusion.hits, confusion.misses, confusion.unread_opposite) == (85, 10, 5)
    assert (confusion.clears, confusion.alarms) == (80, 20)
    assert of_j.pooled.alarms == 40 and math.isnan(of_j.agreement.value)
    assert of_few(rows[:0]) == []


def test_a_correction_takes_out_what_a_judge_makes_of_nothing() -> None:
    """In 40 studies both arms break equally often, but the judge sees false breaks in one."""
    chance = np.random.default_rng(11)
    truth, n, blocks, rates = 0.2, 20, 40, {"x": (0.95, 0.95), "y": (0.95, 0.75)}
    outcome = Outcome(measure="state")
    plain, right, called = [], [], 0
    for study in range(40):
        seen, shown = {}, []
        for c, (se, sp) in rates.items():
            broken = chance.binomial(n, truth, size=blocks)
            seen[c] = (chance.binomial(broken, se) + chance.binomial(n - broken, 1 - sp)).tolist()
            found_se, found_sp = chance.binomial(400, [se, sp]) / 400
            shown.append(verdicts([f"{c}0"], found_se, found_sp, n=400))
        tables = scored(**seen, of=n)
        (judge,) = measure_judges(pd.concat(shown), tables.trials, seed=study)
        units = outcome_units(outcome, tables)
        naive, corrected = (
            compare_sides("c", [X], [Y], outcome, units, study, j) for j in (None, judge)
        )
        assert naive.p < 0.05
        plain.append(naive.estimate.value)
        right.append(corrected.estimate.value)
        called += corrected.p <= 0.05
    assert np.mean(plain) == pytest.approx(-0.2 * 0.8, abs=0.02), "what the judge makes of nothing"
    assert np.mean(right) == pytest.approx(0, abs=0.015)
    assert called <= 6, "about one in twenty of forty"


def test_corrected_shares_are_the_true_ones() -> None:
    # With Se .9 and Sp .8 the .4 called broken are 2/7; with Sp .9 the .1 are none.
    tables = scored([4] * 12, [1] * 12)
    rows = [verdicts(["x0"], 0.9, 0.8, n=1000), verdicts(["y0"], 0.9, 0.9, n=1000)]
    analysis = on_state(tables, measure_judges(pd.concat(rows), tables.trials, seed=0))
    assert analysis.corrected["x"].value == pytest.approx(2 / 7, abs=0.001)
    assert analysis.corrected["y"].value == pytest.approx(0, abs=0.001)
    (contrast,) = analysis.findings
    assert contrast.estimate.value == pytest.approx(2 / 7, abs=0.001) and contrast.rejected
    assert contrast.estimate.low < 2 / 7 < contrast.estimate.high
    assert analysis.judge == "j" and not analysis.mute and not analysis.doubts
    assert [name for name, _ in analysis.absorptions] == ["x", "y"]
    (_, grid), _ = analysis.absorptions
    errors = [(a.sensitivity, a.specificity) for a in grid]
    assert errors[0] == pytest.approx((0.9, 0.85)), "as calibrated, all conditions together"
    assert min(errors) < (0.9,) and min(sp for _, sp in errors) < 0.85, "and at its worst"
    page = Page("")
    add_absorption(page, analysis)
    contrast = page.as_markdown()
    largest = max(a.p for a in grid)
    assert "largest p" in contrast and f"| {number(largest)} |" in contrast


def test_branches_are_judged_by_their_trials_calibration() -> None:
    played, rows = [], list[Row]()
    for k in range(10):
        played.append(trial(f"x{k}", f"s/{k}", **X))
        for arm, broken in (("yes", 6), ("no", 2)):
            played.append(trial(f"x{k}", f"s/{k}", branch=arm, arm=f"why: {arm}", **X))
            rows += said(f"x{k}", lines(broken, 10), STATE, branch=arm, version=JUDGE)
    tables = made(played, rows)
    judges = measure_judges(verdicts(["x0"], 0.9, 0.9, n=500), tables.trials, seed=0)
    asked = plan(contrast({ARM: "why: yes"}, {ARM: "why: no"}), outcome={"measure": "state"})
    analysis = analyse(asked, tables, judges=judges)
    assert analysis.findings[0].estimate.value == pytest.approx(0.4 / 0.8)
    assert not analysis.mute


def test_the_agreement_of_two_judges_takes_memory_for_their_verdicts_alone() -> None:
    """Two judges of 1,200 lines in 120 scenes: a table of all trials times all lines has 14 million
    rows, and one of 2,400 scenes does not fit into a machine."""
    names = [f"x{k}" for k in range(120)]
    chance = np.random.default_rng(0)
    first = chance.integers(0, 2, 1200)
    apart = chance.random(1200) < 0.1
    place = {
        "trial": np.repeat(names, 10),
        "branch": MAIN,
        "turn": np.tile(np.arange(10.0), 120),
        "character": "Ana",
        "measure": STATE,
        "item": [f"line {i}" for i in range(1200)],
        "truth": NAN,
        "error": "",
    }
    played = [
        pd.DataFrame(place | {"judge": name, "value": values.astype(float)})
        for name, values in (("j", first), ("k", np.where(apart, 1 - first, first)))
    ]
    plants = [verdicts(names[:1], 0.95, 0.95, judge=name) for name in ("j", "k")]
    tables = scored([1] * 120, [])
    tracemalloc.start()
    judges = measure_judges(pd.concat([*plants, *played]), tables.trials, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20
    alpha = 1 - apart.mean() / 0.5  # two equal shares: half of all pairs differ by chance
    assert [j.agreement.value for j in judges] == [pytest.approx(alpha, abs=0.01)] * 2
    assert {j.agreement.n for j in judges} == {120}
