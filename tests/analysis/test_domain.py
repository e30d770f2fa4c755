"""Where a planned test cannot hold: few blocks, lopsided arms, rare events, no outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from improv.analysis.decision import DoubtKind, Verdict, decide
from improv.analysis.domain import domain_doubts
from improv.analysis.stats.contrast import Contrast, contrast, holm, unpaired
from improv.analysis.stats.mean_test import lopsided_p, unseen_chance
from improv.study.plan import Plan, fewest_blocks_of
from tests.support.table import X_Y, plan
from tests.support.table import contrast as comparison


def found(a: Sequence[float], b: Sequence[float], seed: int = 1) -> Contrast:
    values = {
        name: {f"{i:03d}": float(v) for i, v in enumerate(arm)}
        for name, arm in (("a", a), ("b", b))
    }
    made = contrast(values, {"a": 1, "b": -1}, name="main", seed=seed, planned=True, draws=999)
    return holm([made])[0]


def doubts(finding: Contrast, asked: Plan) -> list[DoubtKind]:
    return [doubt.kind for doubt in domain_doubts(asked, [finding])]


def test_a_rare_catastrophe_is_not_shown_at_any_size() -> None:
    """One arm breaks every line of a tenth of its scenes, the other a tenth of the lines of all."""
    chance = np.random.default_rng(5)
    for blocks in (8, 10, 20, 40):
        rejected = shown = 0
        for k in range(150):
            often = chance.binomial(10, 0.1, size=blocks) / 10
            rarely = (chance.random(blocks) < 0.1).astype(float)
            finding = found(often, rarely, k)
            asked = plan(X_Y, blocks=blocks)
            [decision] = decide([finding], list(domain_doubts(asked, [finding])), 0.05)
            rejected += finding.rejected
            shown += decision.verdict is Verdict.SHOWN
        assert shown <= 15, f"{shown} of 150 at {blocks} blocks"
        if blocks <= 20:
            assert rejected > 12, "the permutation test alone rejects more than one in twenty"


def test_a_plain_effect_has_no_doubt() -> None:
    chance = np.random.default_rng(6)
    finding = found(chance.binomial(10, 0.5, 40) / 10, chance.binomial(10, 0.2, 40) / 10)
    assert finding.rejected and not doubts(finding, plan(X_Y, blocks=40))


def test_the_doubt_says_how_rare_an_event_would_undo_the_finding() -> None:
    finding = found([0.1] * 9 + [0.2] * 3, [0.0] * 12)
    (doubt,) = domain_doubts(plan(X_Y, blocks=12), [finding])
    share, missed = unseen_chance(0.125, 12, (-1, 1))
    assert doubt.kind is DoubtKind.RARE_EVENT and share == pytest.approx(1 / 9)
    assert missed == pytest.approx((8 / 9) ** 12)
    assert "11.1% of all blocks" in doubt.sentence and "with a chance of 24%" in doubt.sentence


def test_outcomes_of_0_and_1_have_one_shape_and_no_such_doubt() -> None:
    finding = found([1.0] * 8 + [0.0] * 52, [0.0] * 60)
    assert finding.rejected and not doubts(finding, plan(X_Y, blocks=60))


@pytest.mark.parametrize(
    ("contrasts", "alpha", "fewest"), [(1, 0.05, 6), (2, 0.05, 7), (3, 0.05, 7), (1, 0.01, 8)]
)
def test_the_fewest_blocks_are_those_whose_smallest_p_rejects(
    contrasts: int, alpha: float, fewest: int
) -> None:
    several = [comparison({"first": "x"}, {"first": "y"}, name=f"c{k}") for k in range(contrasts)]
    asked = plan(*several, alpha=alpha, blocks=fewest)
    assert fewest_blocks_of(asked) == fewest

    def all_one_way(blocks: int) -> Contrast:
        same = [found([1.0] * blocks, [0.0] * blocks)] * contrasts
        return holm(same, alpha)[0]

    assert all_one_way(fewest).rejected and not all_one_way(fewest - 1).rejected
    assert DoubtKind.TOO_FEW in doubts(all_one_way(fewest - 1), asked)
    assert DoubtKind.TOO_FEW not in doubts(all_one_way(fewest), asked)


def test_scenes_that_are_not_paired_need_as_many_as_can_be_exchanged() -> None:
    asked = plan(X_Y, outcome={"of": "recovered", "unit": "scene"})
    assert fewest_blocks_of(asked) == 4, "2 of 70 ways to choose four of eight"
    sides = [{str(i): value for i in range(3)} for value in (1.0, 0.0)]
    finding = unpaired(*sides, name="main", seed=1, planned=True)
    (doubt,) = domain_doubts(asked, [finding])
    assert doubt.sentence.endswith("at least 8 scenes are needed")


def test_a_measure_that_is_no_outcome_decides_nothing() -> None:
    finding = found([0.9] * 30, [0.1] * 30)
    for name in ("l2l", "stylometry"):
        asked = plan(X_Y, outcome={"of": "mean", "measure": name}, blocks=30)
        assert DoubtKind.NO_OUTCOME in doubts(finding, asked)


def test_a_test_of_the_mean_allows_for_skew() -> None:
    chance = np.random.default_rng(7)
    skewed = chance.exponential(size=(2000, 30)) - 1
    assert np.mean(lopsided_p(skewed) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert (
        np.isnan(lopsided_p(np.ones((1, 9)))).all() and np.isnan(lopsided_p(np.ones((1, 1)))).all()
    )
