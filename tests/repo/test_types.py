"""Strict mypy reports no errors. It is a test so that it runs together with the others."""

from __future__ import annotations

import subprocess
import sys

from tests.support.places import TOP


def test_mypy_is_content() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
