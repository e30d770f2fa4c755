"""A digest of code tells two programs apart, and refuses a place where no code is."""

from __future__ import annotations

import pytest

from improv.version import code_digest


def test_packages_and_modules_have_digests_of_their_own() -> None:
    places = ("improv.graph", "improv.records", "improv.version")
    digests = {code_digest(place) for place in places}
    assert len({*digests, code_digest(*places)}) == 4


@pytest.mark.parametrize("place", ["improv.no_such_place", "improv.graph.no_such", "ui", "json"])
def test_a_place_without_code_is_refused_by_name(place: str) -> None:
    with pytest.raises(ValueError, match=place):
        code_digest("improv.records", place)
