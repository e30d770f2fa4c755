"""The colours of charts in the light and the dark theme.

They repeat those of theme.css, because a chart cannot read the style of the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True)
class Palette:
    """The colours of one theme. `voices` are for characters and for categories."""

    ink: str
    faint: str
    rule: str
    paper: str
    accent: str
    voices: tuple[str, ...]
    serif: str = '"Iowan Old Style", Palatino, "Source Serif 4", "Source Serif", Georgia, serif'


LIGHT = Palette(
    "#25211c",
    "#6a6156",
    "#ddd3c2",
    "#fbf8f1",
    "#7a3b2e",
    ("#005a9c", "#a83f00", "#00664b", "#8f3a74", "#7a5600", "#1f6680"),
)
DARK = Palette(
    "#ebe5d9",
    "#a69c8c",
    "#3b352b",
    "#16140f",
    "#e3a284",
    ("#6cb8ee", "#f0894d", "#45c49c", "#e39ac6", "#e6b23c", "#8fd0dc"),
)


def current() -> Palette:
    """Return the palette of the reader's theme."""
    return DARK if st.context.theme.type == "dark" else LIGHT
