"""Starts the viewer: Streamlit over `ui/`, for this machine only, until Ctrl-C.

What concerns safety stands on Streamlit's command line, where no configuration file or
environment variable of the user's can change it. What the rooms look like is not here.
"""

from __future__ import annotations

import contextlib
import os
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
from improv.storage.runs import open_run, place

ADDRESS = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that Streamlit may take to answer."""


def view(runs: str, what: str, *, port: int, browser: bool) -> int:
    """Serve the viewer until it is ended, and return the exit code.

    `what` is RUN or RUN/TRIAL, or "" for the newest. Raises RunError where there is no such run
    or trial, and MachineError where Streamlit does not start.
    """
    root = runs if "://" in runs else place(runs)[1]
    page = _page(root, what)
    at = _free(port)
    if port and at != port:
        _say(f"port {port} is taken; this is {at}")
    url = f"http://{ADDRESS}:{at}/{page}"
    # Streamlit would greet with an address of its own; what goes wrong it says on standard error.
    server = subprocess.Popen(
        _command(at), env=os.environ | {"IMPROV_RUNS": root}, stdout=subprocess.DEVNULL
    )
    # Ctrl-C reaches the server too; this process waits for it to end rather than leave it behind.
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
    """Return the path and query of the page that shows RUN or RUN/TRIAL, in full ids; without
    either the first page, which lists the runs. Raises RunError."""
    run, _, trial = what.partition("/")
    if not run:
        return ""
    folder = open_run(root, run)
    parts = {"run": folder.id}
    if trial:
        parts["trial"] = folder.transcripts.trial(trial)["trial"]
    return "scene?" + urlencode(parts)


def _free(port: int) -> int:
    """Return `port` if it is free on this machine, else one that is."""
    for wanted in (port, 0):
        with socket.socket() as tried:
            # As the server will ask for it: a port that only lingers after a close counts as free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tried.bind((ADDRESS, wanted))
                return int(tried.getsockname()[1])
    raise MachineError(f"no port of {ADDRESS} can be opened")


def _command(port: int) -> list[str]:
    options = {
        "server.address": ADDRESS,
        "server.port": str(port),
        "server.headless": "true",  # the browser is opened here, once the page answers
        "server.fileWatcherType": "none",
        "server.enableStaticServing": "false",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": ADDRESS,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "logger.level": "warning",
        "global.developmentMode": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(shipped("ui") / "server.py"), *flags]


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server answers. Raises MachineError if it ends or takes too long."""
    until = time.monotonic() + PATIENCE
    health = f"http://{ADDRESS}:{port}/_stcore/health"
    # Not through a proxy, whatever the environment says: this address is in this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        if server.poll() is not None:
            raise MachineError(
                f"Streamlit ended with code {server.returncode}; its words are above"
            )
        with contextlib.suppress(urllib.error.URLError, OSError):
            with direct.open(health, timeout=2):
                return
        time.sleep(0.1)
    raise MachineError(f"Streamlit did not answer at {ADDRESS}:{port} within {PATIENCE:.0f} s")


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
