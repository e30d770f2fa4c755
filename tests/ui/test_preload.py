"""A failed import ahead of use is logged, so that a broken installation does not stay silent."""

from __future__ import annotations

import pytest

from ui.shared.preload import preload


def test_a_failed_preload_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    preload("improv.no_such_module")
    assert "improv.no_such_module could not be imported" in caplog.text
    assert "ModuleNotFoundError" in caplog.text
