"""The viewer's entry: sets up the page, loads its style and registers the rooms.

`improv view` runs this file and passes the runs folder as IMPROV_RUNS. Each room has a folder whose
`page.py` draws it; code that several rooms use is in `shared/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

_SIDEBAR = 350  # pixels: wide enough for a scene's title and its condition

_HERE = Path(__file__).resolve().parent
if str(_HERE.parent) not in sys.path:
    # Streamlit puts this folder on the path, but `ui` is imported from the folder above it, in a
    # checkout and in an installed wheel. That folder goes last, so that it hides no other package.
    sys.path.append(str(_HERE.parent))

from ui.shared.address import LOBBY, ROOMS, page_file  # noqa: E402


def main() -> None:
    """Draw the room that the address names."""
    st.set_page_config(
        page_title="improv",
        page_icon=str(_HERE / "icon.png"),
        layout="wide",
        initial_sidebar_state=_SIDEBAR,
    )
    st.html(_HERE / "theme.css")
    rooms = [
        st.Page(page_file(room), title=title, url_path=room, default=room == LOBBY)
        for room, title in ROOMS.items()
    ]
    st.navigation(rooms, position="top").run()


main()
