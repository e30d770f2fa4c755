"""From units to findings, on tables made by hand: each number here can be counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.inference import analyse
from improv.analysis.units import Tables
from improv.study.plan import ARM
from tests.support.table import (
    NAN,
    X_Y,
    Row,
    X,
    Y,
    contrast,
    crossed,
    drawn,
    lines,
    made,
    plan,
    said,
    trial,
    trials,
)

# --- contrasts


def test_contrasts_are_paired_within_blocks_and_interactions_added_up() -> None:
    tables = crossed(
        {
            "x1": [0.1, 0.3, 0.5, 0.7, 0.2],
            "x2": [0.2, 0.4, 0.6, 0.8, 0.4],
            "y1": [0.0, 0.2, 0.4, 0.6, 0.0],
            "y2": [0.3, 0.5, 0.7, 0.9, 0.5],
        }
    )
    one, other = (
        [{"first": a, "second": b}, {"first": c, "second": d}] for a, b, c, d in ("x1y2", "x2y1")
    )
    asked = plan(X_Y, contrast(one, other, "interaction"))
    main, both = analyse(asked, tables).findings
    assert main.estimate.value == pytest.approx((4 * 0 + (0.2 + 0.4 - 0.0 - 0.5) / 2) / 5)
    assert both.estimate.value == pytest.approx((4 * 0.2 + 0.3) / 5)
    assert (main.estimate.n, main.estimate.unit, main.correction) == (5, "blocks", "holm")
    assert sorted([main.adjusted, both.adjusted]) == pytest.approx(
        sorted([max(main.p, 2 * both.p), 2 * both.p])
    )


def test_a_block_without_all_its_conditions_is_dropped_and_named() -> None:
    tables = crossed({"x1": [0.1, 0.2, 0.3], "y1": [0.4, 0.4]})
    (contrast,) = analyse(plan(X_Y), tables).findings
    assert (contrast.blocks, contrast.dropped) == (2, ("s/2",))
    assert contrast.estimate.value == pytest.approx(-0.25)


def test_one_block_has_an_estimate_and_decides_nothing() -> None:
    (contrast,) = analyse(plan(X_Y), crossed({"x1": [0.1], "y1": [0.9]})).findings
    assert contrast.estimate.value == pytest.approx(-0.8) and contrast.estimate.n == 1
    assert contrast.p == 1 and not contrast.rejected


def test_scenes_are_compared_unpaired_where_few_have_an_outcome() -> None:
    rows: list[Row] = []
    for k in range(20):
        rows += said(f"x{k}", [0, k % 4 > 0])
        rows += said(f"y{k}", [0, k % 5 == 0] if k < 10 else [1, 1])
    asked = plan(X_Y, outcome={"of": "recovered", "unit": "scene"})
    analysis = analyse(asked, made(trials(20, "x", "y"), rows))
    (contrast,) = analysis.findings
    assert contrast.estimate.value == pytest.approx(15 / 20 - 2 / 10)
    assert (contrast.blocks, contrast.estimate.unit) == (30, "scenes")
    assert contrast.p < 0.05 and contrast.rejected
    assert [(a.units, a.without) for a in analysis.arms] == [(20, 0), (20, 10)]


def test_times_are_compared_by_survival() -> None:
    rows: list[Row] = []
    for k in range(12):
        rows += said(f"x{k}", [1] * 7 + [k % 2])
        rows += said(f"y{k}", [1, k < 3, *[1] * 6])
    analysis = analyse(plan(X_Y, outcome={"of": "time"}), made(trials(12, "x", "y"), rows))
    (contrast,) = analysis.findings
    assert (
        contrast.estimate.value == pytest.approx(8 - (2 + 6 * 3 / 12)) and contrast.estimate.low > 0
    )
    # In nine blocks x lasts six turns longer, in three as long: what is printed is what is tested.
    assert contrast.p == 2**-8 and contrast.rejected
    x, y = analysis.survival
    assert (x.name, y.name) == ("x", "y")
    assert x.points[7][1] == 1 and y.points[2][1] == pytest.approx(3 / 12)


def test_the_risk_of_breaking_is_told_against_the_first_condition() -> None:
    rows: list[Row] = []
    for k in range(12):
        rows += said(f"x{k}", [0 if turn == k % 6 + 2 else 1 for turn in range(8)])
        rows += said(f"y{k}", [0 if turn == k % 6 else 1 for turn in range(8)])
    tables = made(trials(12, "x", "y"), rows)
    analysis = analyse(plan(X_Y), tables)
    (ratio,) = analysis.hazards
    assert (analysis.reference, ratio.condition) == ("x", "y")
    assert ratio.ratio.low > 0 and ratio.p < 0.05, "scenes of y break two turns earlier"
    assert not analyse(plan(X_Y, outcome={"of": "mean"}), tables).hazards


def test_phrasings_are_findings_of_their_own() -> None:
    chance = np.random.default_rng(5)
    played, rows = [], list[Row]()
    for copies in ("several", "one"):
        for p in range(6):
            for k in range(12):
                name = f"{copies}{p}-{k}"
                played.append(trial(name, f"s/{k}", copies=copies, words=f"w{p}"))
                rows += said(name, drawn(chance, 0.15 * p if copies == "several" else 0.4, 5))
    control = {"name": "copies", "icc": {"where": {"copies": "one"}, "within": 0.2}}
    asked = plan(outcome={"of": "phrasing", "factor": "words"}, controls=[control])
    analysis = analyse(asked, made(played, rows))
    mean, slope = analysis.findings
    assert mean.rejected and mean.estimate.value > 0.1 and not slope.rejected
    assert (mean.estimate.n, mean.estimate.unit) == (6, "phrasings")
    (check,) = analysis.checks
    assert check.held is True and abs(check.estimate.value) < 0.1
    (check,) = analyse(asked, made(played[:72], rows)).checks
    assert check.held is None, "the copies were not played"


# --- controls


def held(tables: Tables, kind: str, check: dict[str, Any], **more: Any) -> bool | None:
    (check_result,) = analyse(plan(controls=[{"name": "n", kind: check}], **more), tables).checks
    return check_result.held


@pytest.mark.parametrize(
    ("other", "margin", "wanted"),
    [("y", 0.1, True), ("y", 0.001, False), ("z", 0.1, False), ("w", 0.1, None)],
)
@pytest.mark.parametrize("unit", ["block", "scene"])
def test_equivalence_holds_within_its_margin_only(
    unit: str, other: str, margin: float, wanted: bool | None
) -> None:
    chance = np.random.default_rng(1)
    base = chance.integers(3, 6, size=60) / 10
    near = base + chance.choice([-0.1, 0, 0, 0.1], size=60)
    tables = crossed({"x1": base.tolist(), "y1": near.tolist(), "z1": (base + 0.2).tolist()})
    check = {"plus": X, "minus": {"first": other}, "margin": margin}
    assert held(tables, "equivalence", check, outcome={"unit": unit}) is wanted


def test_chance_holds_where_guessing_gives_the_same() -> None:
    chance = np.random.default_rng(2)
    rows: list[Row] = []
    for k in range(100):
        for i in range(4):
            rows += said(f"x{k}", drawn(chance, 0.75, 1), f"probe:never.{i}", branch=f"p{i}")
    tables = made(trials(100, "x"), rows)
    check = {"measure": "probe:never", "is": 0.25, "margin": 0.1}
    assert held(tables, "chance", check) is True
    assert held(tables, "chance", check | {"is": 0.5}) is False
    assert held(tables, "chance", check | {"measure": "probe:stated"}) is None
    assert held(tables, "chance", check | {"where": {"first": "other"}}) is None


@pytest.mark.parametrize(
    ("who", "rule", "at_most", "wanted"),
    [
        ("Ana", "filter", 0.09, True),  # none in 40 blocks: the exact upper bound is 8.8%
        ("Ana", "filter", 0.08, False),  # 400 lines without a break are no 400 units
        ("Ana", "none", 0.09, False),
        ("everybody", "filter", 0.09, False),  # Bo's lines count too
        ("Ana", "sham", 0.5, None),
    ],
)
def test_a_bound_counts_blocks_and_is_of_the_lines_that_it_is_about(
    who: str, rule: str, at_most: float, wanted: bool | None
) -> None:
    rows: list[Row] = []
    for k in range(40):
        rows += said(f"filter{k}", [1] * 10, "rule:law")
        rows += said(f"filter{k}", [0] * 5, "rule:law", who="Bo")
        rows += said(f"none{k}", lines(1, 10), "rule:law")
    tables = made(trials(40, "filter", "none", factor="rule"), rows)
    check = {"where": {"rule": rule}, "at_most": at_most}
    assert held(tables, "bound", check, outcome={"measure": "rule:law", "of_whom": who}) is wanted


def test_a_bound_of_an_arm_is_of_its_branches() -> None:
    names = [f"t{k}" for k in range(40)]
    played = [
        trial(name, block=name, **more)
        for name in names
        for more in ({}, {"branch": "b", "arm": "why: yes"})
    ]
    rows = [r for name in names for r in said(name, [0] * 4)]
    rows += [r for name in names for r in said(name, [1] * 4, branch="b")]
    tables = made(played, rows)
    assert held(tables, "bound", {"where": {ARM: "why: yes"}, "at_most": 0.1}) is True
    assert held(tables, "bound", {"where": {}, "at_most": 0.1}) is False


def test_a_bound_says_how_many_blocks_it_needs() -> None:
    tables = made(trials(40, "x"), [r for k in range(40) for r in said(f"x{k}", [1] * 50)])
    controls = [{"name": "c", "bound": {"where": X, "at_most": 0.03}}]
    (check,) = analyse(plan(controls=controls), tables).checks
    assert check.held is False
    assert (
        check.estimate.why == "40 blocks cannot hold it: at least 122 are needed, none with a break"
    )
    assert (check.estimate.n, check.estimate.unit) == (40, "blocks")


@pytest.mark.parametrize(("slope", "wanted"), [(0.0, True), (0.04, False)])
def test_flat_over_depth(slope: float, wanted: bool) -> None:
    chance = np.random.default_rng(3)
    rows: list[Row] = []
    for k in range(60):
        rows += said(f"x{k}", [float(chance.random() > 0.2 + slope * i) for i in range(12)])
    tables = made(trials(60, "x"), rows)
    assert held(tables, "flat", {"where": X, "margin": 0.02}) is wanted
    assert held(tables, "flat", {"where": Y, "margin": 0.02}) is None


# --- when nothing is decided


def test_an_arm_with_too_much_missing_stops_everything() -> None:
    tables = crossed({"x1": [0.1] * 14, "y1": [0.4] * 14})
    assert analyse(plan(X_Y), tables).doubts == ()
    of_x = tables.scores["trial"].str.startswith("x") & (tables.scores["turn"] == 10)
    gaps = Tables(tables.trials, tables.scores.copy(), tables.marks)
    gaps.scores.loc[of_x, "value"] = NAN
    (why,) = analyse(plan(X_Y), gaps).doubts
    assert (why.kind, why.cell) == (DoubtKind.MISSING_SCORES, "x · 1")
    assert why.sentence.startswith(
        "x · 1: 14 of 140 scores are missing (10.0%); more than 5% decides nothing"
    )
    assert analyse(plan(X_Y, exclude={"missing_above": 0.1}), gaps).doubts == ()


def test_an_arm_with_too_many_failures_stops_everything() -> None:
    tables = crossed({"x1": [0.1] * 14, "y1": [0.4] * 14})
    tables.trials.loc[tables.trials["trial"] == "y1-2", "status"] = "failed"
    analysis = analyse(plan(X_Y), tables)
    why = "y · 1: 1 of 14 units failed; more than 5% decides nothing"
    assert analysis.doubts == (Doubt(DoubtKind.FAILED_UNITS, why, cell="y · 1"),)
    assert [(a.failed, a.without) for a in analysis.arms] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("name", ["they cannot judge", "not calibrated on planted lines"])
def test_no_name_of_an_arm_hides_its_numbers(name: str) -> None:
    played = trials(5, name, "y")
    rows = [
        r
        for t in played
        for r in said(t["trial"], [1] * 9 + [NAN if t["condition"] == name else 1])
    ]
    analysis = analyse(None, made(played, rows))
    assert [why.kind for why in analysis.doubts] == [DoubtKind.MISSING_SCORES]
    assert name in analysis.doubts[0].sentence and not analysis.mute


@pytest.mark.parametrize("rows", [[], trials(1, "x", "y")], ids=["no trials", "no scores"])
@pytest.mark.parametrize("of", ["broken", "broke", "mean", "recovered", "time", "collision"])
def test_nothing_at_all_is_no_crash(of: str, rows: list[dict[str, Any]]) -> None:
    controls = [
        {"name": "a", "flat": {"margin": 0.1}},
        {"name": "b", "bound": {"where": X, "at_most": 0.1}},
        {"name": "d", "chance": {"measure": "probe:q", "is": 0.5, "margin": 0.1}},
        {"name": "e", "equivalence": {"plus": X, "minus": Y, "margin": 0.1}},
    ]
    analysis = analyse(plan(X_Y, outcome={"of": of}, controls=controls), made(rows))
    assert [c.held for c in analysis.checks] == [None] * 4
    (contrast,) = analysis.findings
    assert math.isnan(contrast.estimate.value) and not contrast.rejected and contrast.estimate.why
    assert analysis.doubts


def test_nothing_at_all_has_no_phrasings_and_no_exploration() -> None:
    empty = made([])
    (why,) = analyse(None, empty).doubts
    assert why == Doubt(DoubtKind.NO_SCORES, "there are no scores to analyse")
    icc = [{"name": "i", "icc": {"where": {}, "within": 0.1}}]
    analysis = analyse(plan(outcome={"of": "phrasing", "factor": "words"}, controls=icc), empty)
    assert [c.held for c in analysis.checks] == [None] and len(analysis.findings) == 2
    assert not any(c.rejected or c.estimate.value == c.estimate.value for c in analysis.findings)


def test_scores_beyond_shares_make_no_curve() -> None:
    played = trials(6, "x", "y")
    rows = [
        r
        for t in played
        for r in said(t["trial"], [-1.5, 2.0, 0.5], "likelihood", version="likelihood-1@some-model")
    ]
    asked = plan(X_Y, outcome={"of": "mean", "measure": "likelihood"})
    analysis = analyse(asked, made(played, rows))
    assert analysis.drift == () and analysis.doubts == () and not analysis.mute
    assert analysis.findings[0].estimate.value == 0 and analysis.arms[
        0
    ].value.value == pytest.approx(1 / 3)


# --- what nobody planned


def test_what_was_not_planned_is_exploratory_and_corrected_over_all_of_it() -> None:
    chance = np.random.default_rng(7)
    played, rows = trials(16, "x", "y", "z"), list[Row]()
    for t in played:
        rows += said(t["trial"], [1, 0, 1])
        for m in range(5):
            broken = 0.9 if m == 0 and t["condition"] == "x" else 0.2
            rows += said(t["trial"], drawn(chance, broken, 5), f"rule:{m}")
        rows += said(t["trial"], [3.0], "secret:turn")
    tables = made(played, rows)
    analysis = analyse(plan(X_Y), tables)
    assert len(analysis.exploratory) == 5 * 2
    assert {(c.correction, c.planned) for c in analysis.exploratory} == {("bh", False)}
    assert {c.name.split(":")[0] for c in analysis.exploratory} == {"rule"}
    first = {c.name for c in analysis.exploratory if c.rejected}
    assert first == {"rule:0: y against x", "rule:0: z against x"}
    assert all(c.adjusted >= c.p for c in analysis.exploratory)
    # A planned family is not explored as well; without a plan all is explored.
    rules = analyse(plan(X_Y, outcome={"measure": "rule"}), tables)
    assert {c.name.split(":")[0] for c in rules.exploratory} == {"sign"}
    nothing = analyse(None, tables)
    assert not nothing.planned and nothing.findings == () and len(nothing.exploratory) == 6 * 2
    assert analyse(plan(X_Y), tables, planned=False).planned is False
