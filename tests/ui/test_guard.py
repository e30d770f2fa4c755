"""The viewer's server, started in a stranger's folder, and asked by a stranger's page."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.browser import start
from tests.support.hostile import hostile_folder
from tests.support.places import TOP

VARIABLES = {
    "STREAMLIT_SERVER_ENABLE_AGENT_API": "true",
    "STREAMLIT_SERVER_ENABLE_CORS": "false",
    "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
    "STREAMLIT_SERVER_BASE_URL_PATH": "elsewhere",
}
SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "streamlit, PLACEHOLDER_AUTH_TOKEN",
}
STREAM = "/_stcore/stream"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("theirs")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The address of a viewer that was started in a stranger's folder."""
    imported = hostile_folder(folder)
    server, printed, _ = start(folder / "runs", folder=folder, **VARIABLES)
    yield printed
    server.send_signal(signal.SIGINT)
    assert server.wait(120) == 0
    assert not imported.exists()


def ask(
    address: str, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> http.client.HTTPResponse:
    """Send a request; a header's name has _ for -."""
    at = urlsplit(address)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": at.netloc} | named)
    answer = connection.getresponse()
    if answer.status != 101:
        answer.read()
    connection.close()
    return answer


def test_the_address_has_a_token_that_no_server_sees(address: str) -> None:
    at = urlsplit(address)
    assert at.hostname == "127.0.0.1"
    assert at.fragment.startswith("token=") and len(at.fragment) > 30
    assert not at.query


@pytest.mark.parametrize("path", ["/", "/scene", "/stagedoor?scene=cold-pass", "/_stcore/health"])
def test_a_page_is_answered_and_is_in_nobodys_frame(address: str, path: str) -> None:
    answer = ask(address, path)
    assert answer.status == 200
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "host",
    [
        "stranger.example",
        "stranger.example:{port}",
        "127.0.0.1.stranger.example:{port}",
        "localhost.stranger.example",
        "127.0.0.1@stranger.example",
        "127.0.0.2:{port}",
        "0.0.0.0:{port}",
        "",
    ],
)
def test_another_name_of_this_machine_is_not_answered(address: str, host: str) -> None:
    host = host.format(port=urlsplit(address).port)
    assert ask(address, "/", Host=host).status == 403
    assert ask(address, STREAM, Host=host, Origin=f"http://{host}", **SOCKET).status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://stranger.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}.stranger.example",
        "https://share.streamlit.io",
        "file://",
        "null",
        None,
    ],
)
def test_a_socket_opens_for_the_viewers_own_page_only(address: str, origin: str | None) -> None:
    port = urlsplit(address).port
    named = {} if origin is None else {"Origin": origin.format(port=port)}
    assert ask(address, STREAM, **SOCKET, **named).status == 403
    assert ask(address, STREAM, **SOCKET, Origin=f"http://127.0.0.1:{port}").status == 101


@pytest.mark.parametrize("path", ["interact", "mcp", "openapi.json"])
def test_nothing_drives_the_viewer_without_a_page(address: str, path: str) -> None:
    own = f"http://{urlsplit(address).netloc}"
    for origin in ("http://stranger.example", own):
        body = json.dumps({"page": "stagedoor"})
        answer = ask(address, f"/_stcore/agent/{path}", "POST", body, Origin=origin)
        assert answer.status == 403
    assert ask(address, f"/_stcore/agent/{path}").status == 403


CONFIGURED = """
import json, os
from ui import server
from streamlit import config
from streamlit.web.bootstrap import prepare_streamlit_environment
server.apply_settings(1)
prepare_streamlit_environment(server.__file__)
names = [n for n in config.get_config_options() if config.is_manually_set(n)]
print(json.dumps([os.environ.get("OPENAI_BASE_URL"), {n: config.get_option(n) for n in names}]))
"""


def test_no_setting_and_no_secret_comes_from_the_working_folder(tmp_path: Path) -> None:
    def configured() -> list[object]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CONFIGURED],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            check=True,
        )
        return list(json.loads(done.stdout))

    before = configured()
    hostile_folder(tmp_path)
    assert configured() == before
    (tmp_path / ".streamlit" / "config.toml").write_text("[[[")
    assert configured() == before
    url, settings = before
    assert url is None
    assert isinstance(settings, dict) and settings["server.address"] == "127.0.0.1"
