"""Contrasts at equal length: nothing is left of what length alone makes, and an effect stays."""

from __future__ import annotations

import numpy as np
import pytest

from improv.analysis.decision import Doubt, DoubtKind, Verdict, decide
from improv.analysis.stats.contrast import Contrast
from improv.analysis.stats.interval import Estimate
from improv.analysis.stats.matching import Lines, beyond_exposure, comparable, equal_length

BLOCKS, EACH = 400, 6
FIRST_LESS_SECOND = np.array([1.0, -1.0])


def played(seed: int, *, ratio: float = 1.0, effect: float = 0.0, rant: bool = False) -> Lines:
    """Return lines of two cells whose words have the same chance of a break, but for `effect` (on
    the log) in the first, where lines are `ratio` as long. A `rant` is as long as it is broken."""
    chance = np.random.default_rng(seed)
    block = np.repeat(np.arange(BLOCKS), EACH)
    broken, words = [], []
    for shorter, change in ((ratio, effect), (1.0, 0.0)):
        length = np.maximum(1, np.floor(chance.integers(14, 35, len(block)) * shorter))
        rate = np.where(block % 2, 0.02, 0.008) * np.exp(change)
        breaks = (chance.random(len(block)) < -np.expm1(-rate * length)).astype(float)
        broken.append(breaks)
        words.append(np.where(breaks == 1, 25.0, 7.0) if rant else length)
    cell = np.repeat([0, 1], len(block))
    twice = np.tile(block, 2)
    return comparable(Lines(np.concatenate(broken), np.concatenate(words), twice % 2, cell, twice))


def differences(lines: Lines) -> tuple[float, float, float]:
    """Return the difference of broken lines: plain, at equal length, and by the word."""
    left = beyond_exposure(lines, lines.broken, np.ones(len(lines.broken), dtype=bool))
    first = lines.cell == 0
    plain, by_word = (float(v[first].mean() - v[~first].mean()) for v in (lines.broken, left))
    return plain, float(equal_length(lines, FIRST_LESS_SECOND).mean()), by_word


@pytest.mark.parametrize("ratio", [0.5, 0.8, 2.0])
def test_what_length_alone_makes_is_gone(ratio: float) -> None:
    plain, matched, by_word = differences(played(1, ratio=ratio))
    assert abs(plain) > 0.03 and np.sign(plain) == np.sign(ratio - 1)
    # Where few lines are as long as any of the other side, what is left may point the other way.
    assert np.sign(plain) * matched < 0.03 and np.sign(plain) * by_word < 0.03
    assert max(abs(matched), abs(by_word)) < abs(plain) / 2


@pytest.mark.parametrize(("ratio", "rant"), [(1.0, False), (0.8, False), (1.0, True)])
def test_an_effect_stays(ratio: float, rant: bool) -> None:
    plain, matched, by_word = differences(played(2, ratio=ratio, effect=-0.9, rant=rant))
    assert plain < -0.08 and matched < -0.08 and by_word < -0.08


def test_lengths_that_no_other_line_has_give_a_wide_answer_and_no_crash() -> None:
    lines = played(3, ratio=0.2)
    at_blocks = equal_length(lines, FIRST_LESS_SECOND)
    assert len(at_blocks) == BLOCKS and np.isfinite(at_blocks).all()


def found(name: str, *, p: float = 0.01) -> Contrast:
    estimate = Estimate(-0.1, -0.15, -0.05, 0.95, 40, "blocks")
    return Contrast(name, estimate, p, 40, (), 0.1, True, p, p <= 0.05, "holm")


def test_a_doubt_leaves_its_own_contrast_undecided_and_a_general_one_all() -> None:
    both = [found("a"), found("b"), found("c", p=0.5)]
    own = Doubt(DoubtKind.MISSING_BOUNDS, "Gone.", contrast="a", short="4 lines missing")
    a, b, c = decide(both, [own], 0.05)
    assert (a.verdict, a.decided, a.sentence) == (
        Verdict.NOT_DECIDED,
        None,
        "Not decided: 4 lines missing.",
    )
    assert b.verdict is Verdict.SHOWN and "Shown at α = 0.05: less" in b.sentence
    assert c.verdict is Verdict.NOT_SHOWN and c.decided is False
    general = decide(both, [Doubt(DoubtKind.CONTROL, "It failed.")], 0.05)
    assert [d.sentence for d in general] == ["Not decided."] * 3


def test_a_record_with_gaps_takes_the_p_away() -> None:
    (decision,) = decide([found("a")], [Doubt(DoubtKind.RECORD, "Not all is here.")], 0.05)
    assert (
        not decision.shows_p and np.isnan([decision.contrast.p, decision.contrast.adjusted]).all()
    )
