"""The posterior over simulacra: its weights mean what they say, and its turns are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from improv.analysis.stats.superposition import entropy, superposition


def test_weights_multiply_from_line_to_line() -> None:
    state = superposition([{"own": math.log(0.6), "other": math.log(0.2)}] * 2)
    assert state.weights[0] == pytest.approx({"own": 0.75, "other": 0.25})
    assert state.weights[1] == pytest.approx({"own": 0.9, "other": 0.1})
    assert entropy({"a": 0.5, "b": 0.5}) == pytest.approx(math.log(2))
    assert entropy({"a": 1.0, "b": 0.0}) == 0


def test_a_line_that_is_missing_is_no_evidence() -> None:
    line = {"own": -1.0, "other": -2.0}
    state = superposition([line, {"own": -1.0, "other": None}, line])
    assert state.weights[1] is None
    assert state.weights[2] == superposition([line, line]).weights[1]


def test_collapse_lasts_and_a_flip_is_a_change_of_hands() -> None:
    own, other = {"own": -1.0, "other": -6.0}, {"own": -9.0, "other": -1.0}
    state = superposition([own, own, other, other])
    assert state.collapse == 3, "at line 0 one was left, but not the one that stayed"
    assert state.flips == ((3, "own", "other"),)
    assert superposition([own]).collapse == 0
    none = superposition([{"own": -1.0, "other": -1.0}])
    assert (none.collapse, none.flips) == (None, ())
    assert superposition([]).weights == ()


def test_very_small_probabilities_do_not_vanish() -> None:
    state = superposition([{"own": -9000.0, "other": -9001.0}] * 3)
    assert state.weights[2] == pytest.approx(
        {"own": 1 / (1 + math.exp(-3)), "other": 1 / (1 + math.exp(3))}
    )


def test_lines_under_other_hypotheses_are_refused() -> None:
    with pytest.raises(ValueError, match="same hypotheses"):
        superposition([{"own": -1.0}, {"other": -1.0}])


def test_of_the_turns_with_a_weight_that_share_is_of_the_planted_simulacrum() -> None:
    rng = np.random.default_rng(19)
    names = [f"s{k}" for k in range(4)]
    says = rng.dirichlet(np.full(6, 2.0), size=4)
    weights, truths = [], []
    for _ in range(1500):
        true = int(rng.integers(4))
        said = rng.choice(6, size=5, p=says[true])
        lines = [dict(zip(names, np.log(says[:, word]).tolist(), strict=True)) for word in said]
        for each in superposition(lines).weights:
            assert each is not None
            weights += each.values()
            truths += [name == names[true] for name in names]
    bins = np.digitize(weights, np.linspace(0.1, 0.9, 9))
    for number in range(10):
        mine = bins == number
        assert mine.sum() > 200
        assert np.mean(np.array(truths)[mine]) == pytest.approx(
            np.mean(np.array(weights)[mine]), abs=0.03
        )
