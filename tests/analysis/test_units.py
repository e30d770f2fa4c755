"""From scores to the one number of each unit, on tables made by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pytest

from improv.analysis.units import by_cell, cell_weights, outcome_units, scores_of, sequences
from improv.records import MAIN
from improv.study.measure_spec import DERIVED
from improv.study.plan import ARM, Outcome
from tests.support.table import NAN, SIGN, Row, crossed, made, said, trial

Of = Literal["broken", "broke", "mean", "recovered", "time", "collision", "phrasing"]


def value(of: Of, scores: Iterable[Row], moves: Iterable[Row] = (), **more: Any) -> float:
    """The outcome of the one trial "t"."""
    (value,) = outcome_units(Outcome(of=of, **more), made([trial("t")], scores, moves))["value"]
    return float(value)


@pytest.mark.parametrize(
    ("of", "values", "wanted"),
    [
        ("broken", [1, 0, 1, 0], 1 / 2),
        ("broken", [1, 0.5, 0, 0.5], 1 / 4),  # neither is readable, and no break
        ("broken", [1, NAN, 0, NAN], 1 / 2),  # missing is neither kept nor broken
        ("broken", [NAN, NAN], NAN),
        ("broken", [], NAN),
        ("broke", [1, 1, 0], 1),
        ("broke", [1, 0.5, NAN], 0),
        ("broke", [NAN], NAN),
        ("mean", [1, 0.5, NAN, 0], 1 / 2),
        ("collision", [0.25, NAN, 0.75], 1 / 2),
        ("time", [1, NAN, 0, 1, 0], 3),
        ("time", [1, 1, NAN], 2),  # censored where it was last seen unbroken
        ("time", [NAN, NAN], NAN),
        ("recovered", [1, 0, NAN, 0, 1, 1], 1),  # the third line after the break
        ("recovered", [1, 0, 0, 0.5, 0, 1], 0),  # neither is no way back; the fourth is too late
        ("recovered", [0, 0, 0, 0, 1], 0),
        ("recovered", [1, 1, 1], NAN),  # never broke
        ("recovered", [1, 1, 0], NAN),  # nothing came after
        ("recovered", [0, NAN, NAN, NAN, 1], NAN),  # nothing that could be read
    ],
)
def test_a_unit_has_one_number(of: Of, values: Sequence[float], wanted: float) -> None:
    assert value(of, said("t", values)) == pytest.approx(wanted, nan_ok=True)


def test_times_say_whether_they_end_in_a_break() -> None:
    rows = [*said("a", [1, 0, 1]), *said("b", [1, 1]), *said("c", [NAN])]
    units = outcome_units(Outcome(of="time"), made([trial(t) for t in "abc"], rows))
    assert units["value"].tolist()[:2] == [2, 2] and math.isnan(units["value"][2])
    assert units["event"].tolist()[:2] == [True, False]


def test_an_outcome_counts_the_turns_and_the_people_it_names() -> None:
    rows = [*said("t", [0, 1, 1, 1]), *said("t", [0, 0, 0, 1], who="Bo")]
    assert value("broken", rows) == 4 / 8
    assert value("broken", rows, of_whom="Bo") == 3 / 4
    assert value("broken", rows, of_whom="Bo", first=3) == 1 / 2
    assert math.isnan(value("broken", rows, of_whom="Cy"))
    assert value("time", rows, first=2) == 2
    # A score of the whole scene has no turn that could be too early.
    whole = [("t", MAIN, NAN, "Ana", "l2l", "l2l-1", 0.75)]
    assert value("mean", whole, measure="l2l", first=5) == 0.75


def test_recovery_is_of_whoever_broke_and_on_the_trait_that_broke() -> None:
    fallen = [*said("t", [1, 0, 0, 0], step=2)]
    back = [*said("t", [1, 0, 0, 1], step=2)]
    others = [*said("t", [1, 1, 1, 1], who="Bo", first=2, step=2)]
    assert value("recovered", [*fallen, *others]) == 0
    assert value("recovered", [*fallen, *said("t", [1, 1, 1, 1], "sign:c/d", step=2)]) == 0
    assert value("recovered", [*back, *others]) == 1
    assert value("recovered", [*back, *others], within=1) == 0


def test_recovery_counts_from_the_first_mark_where_moves_are_made() -> None:
    rows = [*said("t", [1, 0, 0, 0, 0, 1, 1])]
    assert value("recovered", rows) == 0
    assert value("recovered", rows, [("t", MAIN, 5)]) == 1
    assert value("recovered", rows, [("t", MAIN, 3), ("t", MAIN, 5)]) == 0
    # In a run with moves a scene without one has no time zero, and so no number.
    tables = made([trial("t"), trial("u")], [*rows, *said("u", [0, 1])], [("t", MAIN, 5)])
    assert outcome_units(Outcome(of="recovered"), tables)["value"].isna().tolist() == [False, True]


def test_less_takes_away_the_same_number_of_another_measure() -> None:
    rows = [*said("t", [0, 0, 1, 1]), *said("t", [1, 1, 1, 0], "rule:unrelated")]
    assert value("broken", rows, less="rule:unrelated") == 1 / 2 - 1 / 4
    assert math.isnan(value("broken", said("t", [0, 1]), less="rule:unrelated"))


def test_what_is_missing_is_counted_and_a_failed_trial_has_no_number() -> None:
    rows = [*said("t", [1, NAN, 0.5, 0, NAN]), *said("t", [NAN], "rule:other")]
    rows += said("failed", [0, 0])
    tables = made([trial("failed", status="failed"), trial("t"), trial("u")], rows)
    units = outcome_units(Outcome(), tables)
    assert units["lines"].tolist() == [2, 5, 0] and units["missing"].tolist() == [0, 2, 0]
    assert units["value"].isna().tolist() == [True, False, True]


def test_arms_of_branches_are_units_of_their_own() -> None:
    arms = [(f"{arm}{k}", f"why: {arm}") for arm in ("yes", "no") for k in (0, 1)]
    rows = [*said("t", [0, 0])]
    for branch, _ in arms:
        rows += said("t", [1, branch != "yes0"], branch=branch)
    tables = made([trial("t"), *(trial("t", branch=b, arm=arm) for b, arm in arms)], rows)
    units = outcome_units(Outcome(), tables, arms=True)
    assert units["branch"].tolist() == ["no0", "no1", "yes0", "yes1"]
    assert [lv[ARM] for lv in units["levels"]] == ["why: no"] * 2 + ["why: yes"] * 2
    assert by_cell(units) == {
        "as written · why: no": {"s/0": 0.0},
        "as written · why: yes": {"s/0": 0.25},
    }
    assert outcome_units(Outcome(), tables)["value"].tolist() == [1.0]


def test_probes_count_for_the_trial_they_were_put_in() -> None:
    rows = [
        row
        for name, measure, branch, answer in [
            ("t", "fact", "p1", 1),
            ("t", "fact", "p2", 0),
            ("t", "fact", "p3", NAN),
            ("u", "fact", "p1", 1),
            ("u", "other", "p1", 0),
        ]
        for row in said(name, [answer], f"probe:{measure}", branch=branch)
    ]
    units = outcome_units(
        Outcome(of="mean", measure="probe:fact"), made([trial("t"), trial("u")], rows)
    )
    assert units["value"].tolist() == [0.5, 1.0] and units["missing"].tolist() == [1, 0]


def test_a_family_is_named_by_colon_or_dot_without_what_is_derived_from_it() -> None:
    names = [
        SIGN,
        "sign:c/d",
        "signs:x",
        "probe:fact.1",
        "probe:fact.2",
        "probe:factory",
        *DERIVED,
        "secret",
        "likelihood",
        "superposition",
        "stylometry",
        "dispersion",
    ]
    tables = made([trial("t")], [r for name in names for r in said("t", [1], name)])

    def measures_of(measure: str) -> set[str]:
        return set(scores_of(tables.scores, measure)["measure"])

    assert measures_of("sign") == {SIGN, "sign:c/d"} and measures_of(SIGN) == {SIGN}
    assert measures_of("probe:fact") == {"probe:fact.1", "probe:fact.2"}
    for derived in DERIVED:
        family = derived.partition(":")[0]
        assert measures_of(family) == {family}, "its numbers are in another unit"
        assert measures_of(derived) == {derived}


def test_sequences_are_each_characters_and_traits_own_in_order() -> None:
    rows = [*said("t", [1, 0, NAN]), *said("t", [0, 1], "sign:c/d"), *said("t", [1], who="Bo")]
    tables = made(
        [trial("t"), trial("u", status="failed")],
        [*reversed(rows), *said("u", [0]), *said("t", [0], branch="b")],
    )
    values = sequences(tables, "sign").set_index(["character", "measure"])["values"].to_dict()
    assert set(values) == {("Ana", SIGN), ("Ana", "sign:c/d"), ("Bo", SIGN)}
    assert values["Ana", SIGN] == pytest.approx([1, 0, NAN], nan_ok=True)


def test_conditions_stand_in_the_studys_order() -> None:
    rows = [trial("a", who="z"), trial("b", who="a"), trial("c", who="m")]
    tables = made(rows, conditions=["m", "z", "a"])
    assert tables.trials["condition"].tolist() == ["m", "z", "a"]


def test_weights_are_means_of_cells_and_sums_of_sides() -> None:
    units = outcome_units(Outcome(), crossed({cell: [0.1] for cell in ("x1", "x2", "y1", "y2")}))
    assert cell_weights(units, [{"first": "x"}], [{"first": "y"}]) == {
        "x · 1": 0.5,
        "x · 2": 0.5,
        "y · 1": -0.5,
        "y · 2": -0.5,
    }
    one, other = (
        [{"first": a, "second": b}, {"first": c, "second": d}] for a, b, c, d in ("x1y2", "x2y1")
    )
    assert cell_weights(units, one, other) == {"x · 1": 1, "x · 2": -1, "y · 1": -1, "y · 2": 1}
    # What stands on both sides is in neither.
    assert cell_weights(units, [{"first": "x"}], [{"first": "x", "second": "1"}]) == {
        "x · 1": -0.5,
        "x · 2": 0.5,
    }
    with pytest.raises(ValueError, match=r"no condition is \{first: w\}"):
        cell_weights(units, [{"first": "w"}], [{"first": "y"}])
