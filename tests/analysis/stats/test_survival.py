"""Times to the first break: textbook numbers, planted hazards, and scenes without information."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM

from improv.analysis.stats.contrast import Contrast, contrast
from improv.analysis.stats.survival import (
    Spell,
    Step,
    hazard_ratios,
    restricted_times,
    survival_curve,
)

# Freireich et al. (1963), weeks of remission; + is censored.
MP6 = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def spells(condition: str, times: str) -> list[Spell]:
    return [
        Spell(condition, f"{condition}{i}", int(t.rstrip("+")), not t.endswith("+"))
        for i, t in enumerate(times.split())
    ]


def curves(breaks: Sequence[Spell]) -> dict[str, list[Step]]:
    by_condition = {s.condition: [x for x in breaks if x.condition == s.condition] for s in breaks}
    return {
        condition: survival_curve(np.array([s.turn for s in own]), np.array([s.event for s in own]))
        for condition, own in by_condition.items()
    }


def played(
    chance: np.random.Generator, n: int, effect: float, hazard: float = 0.1, turns: int = 12
) -> list[Spell]:
    """Paired scenes under "none" and "brief", whose log hazard is moved by `effect`."""
    scenes = []
    for condition, moved in (("none", 0.0), ("brief", effect)):
        risk = 1 - (1 - hazard) ** math.exp(moved)
        breaks = chance.geometric(risk, size=n)
        for i, turn in enumerate(breaks):
            slug = f"slug{i % 4}"
            spell = Spell(condition, f"{slug}/{i}", min(int(turn), turns), turn <= turns)
            scenes.append(spell)
    return scenes


def test_the_curve_of_a_textbook() -> None:
    curve = curves([*spells("6-MP", MP6), *spells("placebo", PLACEBO)])["6-MP"]
    shown = {s.turn: round(s.survival.value, 4) for s in curve if s.events}
    assert shown == {
        6: 0.8571,
        7: 0.8067,
        10: 0.7529,
        13: 0.6902,
        16: 0.6275,
        22: 0.5378,
        23: 0.4482,
    }
    assert [s.at_risk for s in curve if s.turn in (6, 7, 23)] == [21, 17, 6]
    # The log-log interval by its formula, from the errors of statsmodels.
    whole = SurvfuncRight([s.turn for s in spells("x", MP6)], [s.event for s in spells("x", MP6)])
    for time, error in zip(whole.surv_times, whole.surv_prob_se, strict=True):
        step = next(s for s in curve if s.turn == time)
        share = step.survival.value
        spread = 1.959964 * error / (share * math.log(share))
        ends = (share ** math.exp(-spread), share ** math.exp(spread))
        assert (step.survival.low, step.survival.high) == pytest.approx(ends, abs=1e-4)


def test_the_curve_where_nothing_or_everything_has_broken() -> None:
    by_condition = curves([*spells("kept", "5+ 5+ 5+ 2+"), *spells("lost", "1 1 2 2")])
    kept, lost = by_condition["kept"], by_condition["lost"]
    assert [s.survival.value for s in kept] == [1.0] * 6
    assert kept[0].survival.low == pytest.approx(0.025 ** (1 / 4))
    assert kept[5].survival.low == pytest.approx(0.025 ** (1 / 3))  # one was seen no longer
    assert [s.survival.value for s in lost] == [1.0, 0.5, 0.0]
    assert lost[2].survival.low == 0.0 and lost[2].survival.high == lost[1].survival.high
    assert curves([]) == {}


def means(breaks: Sequence[Spell], a: str, b: str, horizon: int | None = None) -> tuple[float, int]:
    """How much longer scenes of `a` last on average, and the horizon."""
    times, end = restricted_times(breaks, a, b, horizon=horizon)
    apart = np.mean(list(times[a].values())) - np.mean(list(times[b].values()))
    return float(apart), end


def longer(breaks: Sequence[Spell], horizon: int | None = None) -> Contrast:
    times, _ = restricted_times(breaks, "brief", "none", horizon=horizon)
    return contrast(times, {"brief": 1, "none": -1}, name="longer", seed=1, planned=True, draws=999)


@pytest.mark.parametrize(
    "breaks", [[], spells("a", "1 2 3"), [*spells("a", "5+ 5+"), *spells("b", "5+ 4+")]]
)
def test_nothing_to_test_gives_a_reason(breaks: Sequence[Spell]) -> None:
    assert restricted_times(breaks, "a", "z") == ({"a": {}, "z": {}}, 0)
    assert all(h.ratio.why and math.isnan(h.p) for h in hazard_ratios(breaks, "a"))


def test_restricted_means_are_areas_under_curves() -> None:
    breaks = [*spells("a", "2 4+ 4+ 4+"), *spells("b", "1 2 3 4+")]
    assert means(breaks, "a", "b") == (pytest.approx(3.5 - 2.5), 4)
    assert means(breaks, "a", "b", horizon=2) == (pytest.approx(0.25), 2)
    # An arm that has broken altogether is known for ever; the other to its fourth turn.
    gone = [*spells("a", "4+ 4+ 4+"), *spells("b", "1 1 2")]
    assert means(gone, "a", "b") == (pytest.approx(4 - 4 / 3), 4)


def test_a_scene_that_was_followed_has_its_own_time() -> None:
    breaks = [*spells("a", "2 9+ 9+ 9+"), *spells("b", "1 2 3 9+")]
    times, _ = restricted_times(breaks, "a", "b")
    assert list(times["a"].values()) == pytest.approx([2, 9, 9, 9])
    assert list(times["b"].values()) == pytest.approx([1, 2, 3, 9])


def test_pseudo_values_of_a_textbook_leave_one_scene_out() -> None:
    """Two of three scenes were lost at turn 2 and 4: each pseudo-value by its definition."""
    mine = spells("a", "1 2+ 3 4+ 5")
    times, end = restricted_times([*mine, *spells("b", "5 5")], "a", "b", horizon=5)

    def area(own: Sequence[Spell]) -> float:
        steps = survival_curve(np.array([s.turn for s in own]), np.array([s.event for s in own]))
        return sum(s.survival.value for s in steps if s.turn < end)

    left_out = [5 * area(mine) - 4 * area([s for s in mine if s is not one]) for one in mine]
    assert list(times["a"].values()) == pytest.approx(left_out)


def test_restricted_means_of_planted_hazards_are_covered() -> None:
    planted = sum(0.9 ** (math.exp(-0.6) * t) - 0.9**t for t in range(12))
    chance = np.random.default_rng(1)
    differences = [longer(played(chance, 40, -0.6)).estimate for _ in range(150)]
    assert np.mean([f.value for f in differences]) == pytest.approx(planted, abs=0.25)
    assert np.mean([f.low <= planted <= f.high for f in differences]) > 0.89
    assert {(f.n, f.unit) for f in differences} == {(40, "blocks")}


def test_pairing_narrows_the_interval() -> None:
    chance = np.random.default_rng(2)
    data = []
    for i in range(60):
        broke = int(chance.integers(1, 12))
        data += [
            Spell("none", f"b{i}", broke, True),
            Spell("brief", f"b{i}", broke + int(chance.integers(0, 3)), True),
        ]
    mixed = dict(zip(chance.permutation(60).tolist(), range(60), strict=True))
    apart = [
        Spell(s.condition, f"b{mixed[int(s.block[1:])]}", s.turn, s.event)
        if s.condition == "none"
        else s
        for s in data
    ]
    paired, unpaired = longer(data, 13).estimate, longer(apart, 13).estimate
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


def test_without_an_effect_the_tests_of_times_reject_one_time_in_twenty() -> None:
    chance = np.random.default_rng(3)
    studies = [played(chance, 30, 0.0) for _ in range(200)]
    flips = np.mean([longer(s).p <= 0.05 for s in studies])
    ratios = np.mean([hazard_ratios(s, "none")[0].p <= 0.05 for s in studies[:120]])
    assert 0.005 <= flips <= 0.1 and ratios <= 0.11


def test_a_planted_hazard_ratio_is_found() -> None:
    chance = np.random.default_rng(4)
    ratios = [hazard_ratios(played(chance, 60, -0.6), "none")[0].ratio for _ in range(100)]
    assert np.mean([f.value for f in ratios]) == pytest.approx(-0.6, abs=0.08)
    assert np.mean([f.low <= -0.6 <= f.high for f in ratios]) > 0.87


def test_hazards_are_those_of_the_model_of_all_scenes_and_turns() -> None:
    breaks = played(np.random.default_rng(5), 60, -0.4)
    (ratio,) = hazard_ratios(breaks, "none")
    rows = [(s, t) for s in breaks for t in range(1, s.turn + 1)]
    x = np.array([[*(t == k for k in range(1, 13)), s.condition == "brief"] for s, t in rows])
    y = np.array([s.event and t == s.turn for s, t in rows])
    blocks = np.unique([s.block for s, _ in rows], return_inverse=True)[1]
    family = families.Binomial(link=families.links.CLogLog())
    fit = GLM(y.astype(float), x.astype(float), family=family).fit(
        cov_type="cluster", cov_kwds={"groups": blocks}, use_t=True
    )
    assert ratio.ratio.value == pytest.approx(fit.params[-1], abs=1e-5)
    error = (ratio.ratio.high - ratio.ratio.low) / 2 / stats.t.ppf(0.975, 59)
    assert error == pytest.approx(fit.bse[-1], rel=0.03)  # expected against observed information
    assert ratio.p == pytest.approx(fit.pvalues[-1], abs=0.01)


def test_a_condition_without_breaks_has_no_ratio_and_spoils_no_other() -> None:
    breaks = [*played(np.random.default_rng(6), 40, -0.3), *spells("kept", "12+ 12+ 12+ 12+ 9+")]
    brief, kept = hazard_ratios(breaks, "none")
    assert (brief.condition, kept.condition) == ("brief", "kept")
    assert math.isnan(kept.ratio.value) and "no finite estimate" in kept.ratio.why
    alone = hazard_ratios([s for s in breaks if s.condition != "kept"], "none")[0]
    assert brief.ratio.value == pytest.approx(alone.ratio.value, abs=1e-6)


def test_conditions_that_break_in_turns_of_their_own_are_told() -> None:
    # All of a break at turn 1 or last past 3, where only b breaks: turn 3 has both, but one way.
    breaks = [*spells("a", "2+ 2+ 3+ 3+"), *spells("b", "3 3 3+ 4+")]
    assert math.isnan(hazard_ratios(breaks, "a")[0].ratio.value)
    assert (
        "fewer than three"
        in hazard_ratios([*spells("a", "1"), *spells("b", "2")], "a")[0].ratio.why
    )
    assert "no scene of z" in hazard_ratios(breaks, "z")[0].ratio.why
