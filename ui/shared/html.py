"""Makes other people's text harmless to show: what a model wrote is text here, never markup.

Everything that reaches `st.html` passes through `safe`, and every label through `label`. Pure.
"""

from __future__ import annotations

import html
import re

from improv.text import visible

SHOWN = 2_400
"""Characters of a line that the transcript shows; an honest line has at most 2,000."""
PIECE = 20_000
"""Characters of a long text that are shown at once where all of it can be read."""

_PILED = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{4})"
    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def inert(text: str) -> str:
    """Return `text` without characters that are not seen but do something.

    Accents piled higher than four would be drawn over the lines above.
    """
    return _PILED.sub(r"\1", visible(text))


def safe(text: str) -> str:
    """Return `text` as HTML that shows exactly these characters, in an attribute too."""
    return html.escape(inert(text), quote=True)


def cut(text: str, shown: int = SHOWN) -> tuple[str, int]:
    """Return the beginning of `text` that is shown, and how many characters are not."""
    return (text, 0) if len(text) <= shown else (text[:shown], len(text) - shown)


def clipped(text: str, shown: int = SHOWN) -> str:
    """Return `text` as HTML, with a count in place of what is too long to show."""
    head, rest = cut(text, shown)
    more = f' <span class="more">… {rest:,} more characters</span>' if rest else ""
    return safe(head) + more


def pieces(text: str, size: int = PIECE) -> list[str]:
    """Return `text` in pieces that a page can carry."""
    return [text[i : i + size] for i in range(0, len(text), size)] or [""]


def one_line(text: str, shown: int = 80) -> str:
    """Return `text` on one line of at most `shown` characters."""
    flat = " ".join(inert(text[: 4 * shown]).split())
    return flat if len(flat) <= shown else flat[: shown - 1].rstrip() + "…"


def label(text: str) -> str:
    """Return `text` for a widget's label, where Streamlit would read Markdown."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))
