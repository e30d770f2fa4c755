"""Where the reader stands, kept in the address: any run, trial and turn is a link.

The address and the session are one thing seen twice. After a click the session is right and the
address follows; after Back, or a link, the address is right and the session follows.
"""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

NAMES = ("run", "trial", "turn", "heard", "audience", "behind")
"""Everything that the address holds; a name that is not there is empty."""


def get(name: str) -> str:
    """Return what the session holds under a name of the address."""
    return str(_held().get(name, ""))


def go(**changes: str | int | bool) -> None:
    """Change where the reader stands, for a callback: the address follows at the end of the run."""
    held = _held()
    for name, value in changes.items():
        held[name] = "" if value is False or value == 0 else "1" if value is True else str(value)
    st.session_state["link:moved"] = True


def put(**values: str) -> None:
    """Put down what was found to be so while drawing, such as the run where none was named."""
    _held().update(values)


def arrive() -> None:
    """Take over the address where it is newer than the session; call before anything is read.

    While a callback has moved the reader, the browser's address may be a step behind: it was sent
    before the last answer reached it.
    """
    moved = st.session_state.pop("link:moved", False)
    now = {name: st.query_params.get(name, "") for name in NAMES}
    if not moved and now != st.session_state.get("link:written"):
        st.session_state["link:held"] = now


def settle() -> None:
    """Write the address anew where it differs; call when what is shown is known."""
    held = {name: get(name) for name in NAMES}
    if {name: st.query_params.get(name, "") for name in NAMES} != held:
        st.query_params.from_dict({name: value for name, value in held.items() if value})
    st.session_state["link:written"] = held


def address(**parts: str) -> str:
    """Return a relative address of these parts."""
    return "?" + urlencode({name: value for name, value in parts.items() if value})


def _held() -> dict[str, str]:
    held: dict[str, str] = st.session_state.setdefault("link:held", {})
    return held
