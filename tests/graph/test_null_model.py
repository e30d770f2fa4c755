"""The null model: the measures of a graph by chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from improv.graph.metrics import (
    FIGURES,
    UNSHUFFLED_FIGURES,
    figures,
)
from improv.graph.null_model import LINES_AT_ONCE, compare_with_null, shuffle
from improv.records import seed_of
from tests.support.graph import ferry, planted, read, written


def test_the_null_model_keeps_who_speaks_when_and_how_often_each_is_addressed() -> None:
    talk = planted(np.random.default_rng(3), 30, cast=4)
    mixed = shuffle(talk, 1)
    for column in ("who", "to"):
        for scene in range(0, talk.scenes, 7):
            rows = talk.lines.scene == scene
            before, after = (getattr(t.lines, column)[rows] for t in (talk, mixed))
            assert sorted(before) == sorted(after)
    assert (mixed.lines.who != mixed.lines.to).all(), "nobody speaks to himself"
    assert (mixed.lines.who == talk.lines.who).all(), "the order of speaking is kept"
    assert (mixed.lines.to != talk.lines.to).mean() > 0.4
    pairs = [Counter(zip(t.lines.who, t.lines.to, strict=True)) for t in (talk, mixed)]
    assert pairs[0] != pairs[1]


def test_a_written_opening_is_not_shuffled() -> None:
    talk = ferry()
    mixed = shuffle(talk, 5)
    assert mixed.lines.who[0] == talk.lines.who[0]
    assert sorted(mixed.mentions[:, 1]) == sorted(talk.mentions[:, 1])


def test_null_models_drawn_together_are_those_drawn_alone() -> None:
    talk = planted(np.random.default_rng(4), 150, cast=4)
    assert LINES_AT_ONCE // len(talk.lines) < 25, "they are drawn in several lots"
    together = compare_with_null(talk, seed=6, draws=25)
    alone = [figures(shuffle(talk, seed_of("null", 6, i))) for i in range(25)]
    for name in set(FIGURES) - UNSHUFFLED_FIGURES:
        means = [np.nanmean(values[name]) for values in alone if np.isfinite(values[name]).any()]
        assert together[name].draws == len(means)
        if means:
            assert together[name].null == pytest.approx(np.mean(means)), name
            assert together[name].low == pytest.approx(np.quantile(means, 0.025)), name


def test_a_repeated_conversation_holds_equal_copies() -> None:
    talk = ferry()
    more = talk.repeated(3)
    assert more.scenes == 3 * talk.scenes and len(more.lines) == 3 * len(talk.lines)
    for i in range(3):
        mask = np.arange(more.scenes) // talk.scenes == i
        assert repr(more.subset(mask)) == repr(talk)


def test_only_a_conversation_that_is_not_random_differs_from_the_null() -> None:
    chance = np.random.default_rng(11)
    names = ("reciprocity", "answered", "usurped", "taken", "transitivity")
    below = Counter(dict.fromkeys(names, 0))
    for i in range(50):
        # A conversation drawn from the null model itself.
        talk = shuffle(planted(chance, 6, conditions=1), i)
        compared = compare_with_null(talk, seed=i, draws=39)
        below.update(name for name in names if compared[name].p <= 0.05)
    assert all(n <= 8 for n in below.values()), below


NAMES = ("Mara", "Bo", "Inès")


def test_what_the_order_of_speaking_fixes_is_no_finding() -> None:
    """A fixed round, in which each line is to the one who spoke before, by the order alone."""

    lines = [(t + 1, NAMES[t % 3], "So.", NAMES[(t - 1) % 3], "order", []) for t in range(30)]
    compared = compare_with_null(read(written(lines)), seed=1, draws=99)
    assert {compared[name].p for name in FIGURES if compared[name].p == compared[name].p} == {1.0}
    assert compared["surprise"].fixed and compared["floor"].fixed and compared["balance"].fixed


def test_an_addressee_who_speaks_next_by_the_rule_is_no_finding() -> None:
    chance = np.random.default_rng(2)
    who = [0]
    for _ in range(40):
        who.append(int(chance.choice([k for k in range(3) if k != who[-1]])))
    lines = [
        (t + 1, NAMES[one], "So.", NAMES[after], "said", [])
        for t, (one, after) in enumerate(pairwise(who))
    ]
    free = read(written(lines))
    ruled = replace(free, by_address=np.ones(free.scenes, dtype=np.bool_))
    assert compare_with_null(free, seed=1, draws=99)["taken"].p <= 0.02
    assert compare_with_null(ruled, seed=1, draws=99)["taken"].p > 0.5


def test_a_sample_of_scenes_is_compared_with_itself() -> None:
    talk = shuffle(planted(np.random.default_rng(5), 400, conditions=1, lines=10), 2)
    compared = compare_with_null(talk, seed=3, draws=60, most=60)
    assert compared["reciprocity"].p > 0.02
    assert abs(compared["reciprocity"].value.value - compared["reciprocity"].null) < 0.05
