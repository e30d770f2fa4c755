"""Who may play, stop and write: the reader of the address that `improv view` printed.

That address has a token, which the page keeps where no other address can read it. A page without it
shows everything and changes nothing. What changes something asks for a `Permit`, so that no click,
and no forged click, comes past this module.
"""

from __future__ import annotations

import hmac
import os
from typing import NewType

import streamlit as st

from improv.errors import RunError

TOKEN = "IMPROV_VIEWER_TOKEN"
"""The environment variable in which the server gets the token."""
HEADER = "X-Improv-Token"
"""The header in which the guard hands over the token that a page has shown."""
TOKEN_KEPT = "permission:token"
"""The session's name for the token that its page has shown."""
READ_ONLY = (
    "This page can only read, because it was opened without the token of this viewer. Open the "
    "whole address that improv view printed in the terminal, up to its end."
)

Permit = NewType("Permit", str)
"""Says that the page of this session has shown the right token. `permit` makes it."""


def keep_token() -> None:
    """Keep the token that the page has shown; call before a room is drawn."""
    if shown := st.context.headers.get(HEADER):
        st.session_state[TOKEN_KEPT] = shown


def allowed() -> bool:
    """Whether this page may play, stop and write."""
    token = os.environ.get(TOKEN, "")
    shown = str(st.session_state.get(TOKEN_KEPT, ""))
    # Without a token nobody may.
    return bool(token) and hmac.compare_digest(shown.encode(), token.encode())


def permit() -> Permit:
    """Return the permit to play, stop and write. Raises RunError where the page has none."""
    if not allowed():
        raise RunError(READ_ONLY)
    return Permit("allowed")


def explain() -> None:
    """Where the page may not, say why and what to do."""
    if not allowed():
        st.html(f'<p class="quiet" role="note">{READ_ONLY}</p>')
