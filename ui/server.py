"""The viewer's server: Streamlit over `app.py`, with each room's page at the room's own address.

Streamlit's page in the browser cannot know whether `/scene` is a room of a viewer at `/` or a
viewer itself. It asks both addresses for their health, and the browser reports the wrong one as an
error. So the page that this server sends names the address of the server.

`improv view` runs this file, with the port as its one argument.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

_HERE = Path(__file__).resolve().parent
if str(_HERE.parent) not in sys.path:
    sys.path.append(str(_HERE.parent))

from improv.output import clean_output  # noqa: E402

if __name__ == "__main__":
    clean_output()  # before the loggers of Streamlit take the streams

import streamlit as st  # noqa: E402
import uvicorn  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import HTMLResponse, RedirectResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402
from streamlit import config, file_util  # noqa: E402
from streamlit.runtime.pages_manager import PagesManager  # noqa: E402

from ui.guard import Guard  # noqa: E402
from ui.shared.address import LOBBY, ROOMS  # noqa: E402
from ui.shared.preload import preload  # noqa: E402

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
"""The names under which this machine is its own; no other name is answered."""
SETTINGS = {
    "server.address": ADDRESS,
    "server.baseUrlPath": "",  # the pages of the viewer are at the root of its own port
    "server.headless": True,  # `improv view` opens the browser, once the page answers
    "server.fileWatcherType": "none",
    "server.enableStaticServing": False,
    "server.enableCORS": True,  # Streamlit's name for: other origins are refused
    "server.corsAllowedOrigins": [],
    "server.allowedHosts": list(HOSTS),
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "strict",
    "server.enableAgentApi": False,
    "server.trustedUserHeaders": {},
    "browser.gatherUsageStats": False,
    "browser.serverAddress": ADDRESS,
    "client.allowedOrigins": [],  # pages that may steer ours from a frame
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "logger.level": "warning",
    "logger.hideWelcomeMessage": True,
    "global.developmentMode": False,
    "secrets.files": [],
}
"""Streamlit's settings that concern safety; those of the page's look are in .streamlit/."""


def main(port: int) -> None:
    """Serve the viewer until a signal ends it."""
    apply_settings(port)
    # Streamlit also reads pages from a folder `pages` beside the script, and would do so when the
    # first reader opens the address of a room. app.py names the rooms itself.
    PagesManager.uses_pages_directory = False
    # The import takes seconds, and a browser takes as long to load the page.
    threading.Thread(target=preload, args=("improv.report.material",), daemon=True).start()
    page = _page()

    async def room(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    routes = [Route(f"/{name}", _lobby if name == LOBBY else room) for name in ROOMS]
    app = st.App(_HERE / "app.py", routes=[Route("/", room), *routes])
    uvicorn.run(
        Guard(app, HOSTS),
        host=ADDRESS,
        port=port,
        ws="websockets-sansio",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nothing stands before it
    )


def apply_settings(port: int) -> None:
    """Give Streamlit all of its settings; it reads no others."""
    config.get_config_files = _own_files
    config.get_config_options(
        force_reparse=True, options_from_flags=SETTINGS | {"server.port": port}
    )


def _own_files(file_name: str) -> list[str]:
    """Return the files of settings that Streamlit reads: the viewer's own, which has the theme. It
    would also read those of the working folder, which may be a stranger's, and of the user, whose
    other pages may need what this one must not have."""
    return [str(_HERE / ".streamlit" / file_name)]


def _page() -> str:
    """Return Streamlit's page with this viewer's own script before all others."""
    script = (_HERE / "page_head.js").read_text(encoding="utf-8")
    plain = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    return plain.replace("<head>", f"<head><script>\n{script}</script>", 1)


async def _lobby(request: Request) -> RedirectResponse:
    """Redirect the lobby's name to the root, where the lobby is."""
    return RedirectResponse(f"/?{request.url.query}".rstrip("?"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
