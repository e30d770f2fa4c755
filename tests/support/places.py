"""Where the tests find the repository and their own data."""

from __future__ import annotations

from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
"""The repository."""
DATA = TOP / "tests" / "data"
CARDS = TOP / "tests" / "cards"
