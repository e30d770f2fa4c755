"""Escapes text of models, studies and users, so that the page shows it as text and never as markup.

Every such text that reaches `st.html` passes through `safe`, and every label through `label`. Pure.
"""

from __future__ import annotations

import html
import re

from improv.text import visible

LINE_SHOWN = 2_400
"""Characters of a line that the transcript shows. A regular line has at most 2,000."""
PIECE = 20_000
"""Characters on one page of a text that can be read whole."""

_PILED = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{4})"
    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def inert(text: str) -> str:
    """Return `text` without invisible control characters, and with at most four combining marks in
    a row, since more of them are drawn over the lines above."""
    return _PILED.sub(r"\1", visible(text))


def safe(text: str) -> str:
    """Return `text` escaped for HTML, in an attribute too."""
    return html.escape(inert(text), quote=True)


def cut(text: str, shown: int = LINE_SHOWN) -> tuple[str, int]:
    """Return the first `shown` characters of `text`, and the number of the characters after
    them."""
    return (text, 0) if len(text) <= shown else (text[:shown], len(text) - shown)


def clipped(text: str, shown: int = LINE_SHOWN) -> str:
    """Return the first `shown` characters of `text` as HTML, and the number of the others, if
    any."""
    head, rest = cut(text, shown)
    more = f' <span class="more">… {rest:,} more characters</span>' if rest else ""
    return safe(head) + more


def pieces(text: str, size: int = PIECE) -> list[str]:
    """Return `text` in pieces of `size` characters; an empty text is one empty piece."""
    return [text[i : i + size] for i in range(0, len(text), size)] or [""]


def short_line(text: str, shown: int = 80) -> str:
    """Return `text` on one line of at most `shown` characters."""
    flat = " ".join(inert(text[: 4 * shown]).split())
    return flat if len(flat) <= shown else flat[: shown - 1].rstrip() + "…"


def label(text: str) -> str:
    """Return `text` for a widget's label, where Streamlit would read Markdown."""
    return _MARKDOWN.sub(r"\\\1", short_line(text))
