"""The viewer's server: Streamlit over `app.py`, with each room's page at the room's own address.

Streamlit's page in the browser cannot know whether `/scene` is a room of a viewer at `/`, or is a
viewer itself; it asks both for their health, and the browser reports the wrong one as an error.
Here the page is told.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route
from streamlit import file_util
from streamlit.runtime.pages_manager import PagesManager

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.append(str(HERE.parent))

from ui.shared.address import LOBBY, ROOMS  # noqa: E402

TOLD = '<script>window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };</script>'


# A folder `pages` beside the script is Streamlit's older way to many pages, which it would take for
# the first reader's, if that one comes to a room by its address; app.py names the rooms itself.
PagesManager.uses_pages_directory = False


def _import_what_weighs() -> None:
    """Import what weighs a run, which takes seconds: a browser takes as long to load the page."""
    import improv.report.material  # noqa: F401


threading.Thread(target=_import_what_weighs, daemon=True).start()


async def _page(_: Request) -> HTMLResponse:
    return HTMLResponse(PAGE, headers={"Cache-Control": "no-cache"})


async def _lobby(request: Request) -> RedirectResponse:
    """The lobby stands at the root; whoever types its name means it."""
    return RedirectResponse(f"/?{request.url.query}".rstrip("?"))


PAGE = (
    (Path(file_util.get_static_dir()) / "index.html")
    .read_text(encoding="utf-8")
    .replace("<head>", f"<head>{TOLD}", 1)
)
ROUTES = [Route(f"/{room}", _lobby if room == LOBBY else _page) for room in ROOMS]
app = st.App(HERE / "app.py", routes=ROUTES)
