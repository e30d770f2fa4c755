"""The planted truths of `make truth` at small size: puppets, storage, scores and tests.

Since sizes are small, a figure may leave its band by three Monte-Carlo errors.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.truth.crew import CHECKS
from tools.truth.planting import Check, Figure, averaged


def test_there_are_ten() -> None:
    assert [c.number for c in CHECKS] == list(range(1, 11))


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_a_planted_truth_is_found(check: Check, tmp_path: Path) -> None:
    figures = check.figures(1, tmp_path, **check.quick)
    missed = [f for f in figures if not f.near()]
    assert figures and not missed


def test_a_figure_off_its_band_is_told() -> None:
    assert Figure("", 0.06, 0.01, 0.03, 0.07).held
    assert not Figure("", 0.08, 0.01, 0.03, 0.07).held
    assert Figure("", 0.08, 0.01, 0.03, 0.07).near()
    assert not Figure("", 0.11, 0.01, 0.03, 0.07).near()
    assert not Figure("", 0.0, 0.5, 0.9, 1.0).near(), "what is hardly known excuses nothing"
    assert (
        averaged("", [1.0, 0.9, 1.0], 1.0, 1.0).error == 0
        and not averaged("", [1.0, 0.9, 1.0], 1.0, 1.0).near()
    ), "certainty allows for no error"
