"""The viewer's server: Streamlit over `app.py`, with each room's page at the room's own address.

Streamlit's page in the browser cannot know whether `/scene` is a room of a viewer at `/` or a
viewer itself. It asks both addresses for their health, and the browser reports the wrong one as an
error. So the page that this server sends names the address of the server.
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

_HERE = Path(__file__).resolve().parent
if str(_HERE.parent) not in sys.path:
    sys.path.append(str(_HERE.parent))

from ui.shared.address import LOBBY, ROOMS  # noqa: E402
from ui.shared.preload import preload  # noqa: E402

_BACKEND = '<script>window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };</script>'


# Streamlit also reads pages from a folder `pages` beside the script, and would do so when the first
# reader opens the address of a room. app.py names the rooms itself.
PagesManager.uses_pages_directory = False


# The import takes seconds, and a browser takes as long to load the page.
threading.Thread(target=preload, args=("improv.report.material",), daemon=True).start()


async def _page(_: Request) -> HTMLResponse:
    return HTMLResponse(_PAGE, headers={"Cache-Control": "no-cache"})


async def _lobby(request: Request) -> RedirectResponse:
    """Redirect the lobby's name to the root, where the lobby is."""
    return RedirectResponse(f"/?{request.url.query}".rstrip("?"))


_PAGE = (
    (Path(file_util.get_static_dir()) / "index.html")
    .read_text(encoding="utf-8")
    .replace("<head>", f"<head>{_BACKEND}", 1)
)
_ROUTES = [Route(f"/{room}", _lobby if room == LOBBY else _page) for room in ROOMS]
app = st.App(_HERE / "app.py", routes=_ROUTES)
