"""Starts the viewer: `ui/server.py`, for this machine only, until Ctrl-C.

The address that is printed has a token behind its `#`. A page that was opened without it can only
read. The pages themselves, and what the server answers, are in `ui/`.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from urllib.parse import urlencode

from improv.errors import MachineError
from improv.files import shipped
from improv.import_path import child_environment, python
from improv.storage.runs import open_run, runs_filesystem

_ADDRESS = "127.0.0.1"
_START_LIMIT = 60.0
"""Seconds until the server must answer."""


def view(runs: str, what: str, *, port: int, browser: bool) -> int:
    """Serve the viewer until Ctrl-C or SIGTERM, and return the exit code.

    `what` is RUN, RUN/TRIAL, or "" for the list of runs. Raises RunError if there is no such run
    or trial, and MachineError if the server does not start.
    """
    root = runs if "://" in runs else runs_filesystem(runs)[1]
    page = _page(root, what)
    at = _free(port)
    if port and at != port:
        _say(f"port {port} is taken; this is {at}")
    token = secrets.token_urlsafe(24)
    url = f"http://{_ADDRESS}:{at}/{page}#token={token}"
    # Errors go to standard error.
    server = subprocess.Popen(
        python(str(shipped("ui") / "server.py"), str(at)),
        env=_environment() | {"IMPROV_RUNS": root, "IMPROV_VIEWER_TOKEN": token},
        stdout=subprocess.DEVNULL,
    )
    # Ctrl-C reaches the server too. This process waits until the server has ended.
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        _wait(server, at)
        _say(f"The viewer is at {url}  (Ctrl-C ends it)")
        if browser:
            webbrowser.open(url)
        code = server.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        signal.signal(signal.SIGTERM, before)
        _end(server)
    return 0 if code in (0, -signal.SIGINT, -signal.SIGTERM, 130) else 1


def _page(root: str, what: str) -> str:
    """Return the path and query of the page that shows RUN or RUN/TRIAL, with full ids.

    "" is the first page, the list of runs. Raises RunError.
    """
    run, _, trial = what.partition("/")
    if not run:
        return ""
    folder = open_run(root, run)
    parts = {"run": folder.id}
    if trial:
        parts["trial"] = folder.transcripts.trial(trial)["trial"]
    return "scene?" + urlencode(parts)


def _free(port: int) -> int:
    """Return `port` if it is free on this machine, else another, free port."""
    for wanted in (port, 0):
        with socket.socket() as tried:
            # The server opens the port with the same option: a port in TIME_WAIT counts as free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tried.bind((_ADDRESS, wanted))
                return int(tried.getsockname()[1])
    raise MachineError(f"no port of {_ADDRESS} can be opened")


def _environment() -> dict[str, str]:
    """Return the server's environment. Streamlit's settings are the viewer's own: a variable can
    open another program's page to other addresses, but not this one."""
    return {k: v for k, v in child_environment().items() if not k.startswith("STREAMLIT_")}


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server answers. Raises MachineError if it ends or takes too long."""
    until = time.monotonic() + _START_LIMIT
    health = f"http://{_ADDRESS}:{port}/_stcore/health"
    # Without the proxy of the environment: this address is on this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        if server.poll() is not None:
            raise MachineError(
                f"the viewer's server ended with code {server.returncode}; its messages are above"
            )
        with contextlib.suppress(urllib.error.URLError, OSError):
            with direct.open(health, timeout=2):
                return
        time.sleep(0.1)
    raise MachineError(
        f"the viewer did not answer at {_ADDRESS}:{port} within {_START_LIMIT:.0f} s"
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
