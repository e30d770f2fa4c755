"""The viewer in a browser in which a stranger's page is open too: at a name of its own, at a name
that leads to this machine, and at another port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.runs import list_runs
from improv.study.loader import load
from tests.support.browser import START, Reader, chromium
from ui.guard import PREFIX
from ui.shared import processes

pytestmark = pytest.mark.browser

NAME = "stranger.example"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    study = load("cold-pass", {"model": "puppet", "turns": 4})
    run(study, runs=folder, name="w", setup=Setup(ray="off"))
    return folder


@pytest.fixture(scope="module")
def browser(runs: Path) -> Iterator[Browser]:
    """A browser for which the stranger's name leads to this machine, as its owner can make it."""
    with chromium(f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as browser:
        yield browser


class _Page(BaseHTTPRequestHandler):
    """An empty page, at which the test plays the stranger's script."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Referer')} {self.headers.get('Cookie')}")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A stranger</title><h1>Hello</h1>")

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of the stranger's server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


ATTACK = """async (viewer) => {
  const results = {};
  const body = JSON.stringify({page: "stagedoor"});
  const type = {"Content-Type": "text/plain"};
  const tried = async (name, work) => {
    try { results[name] = String(await work()); } catch (e) { results[name] = "refused"; }
  };
  const read = async (path, how) => (await fetch(viewer + path, how)).status;
  await tried("page", () => read("stagedoor"));
  await tried("credentials", () => read("stagedoor", {credentials: "include"}));
  await tried("host config", () => read("_stcore/host-config"));
  await tried("agent", () => read("_stcore/agent/interact", {method: "POST", body, headers: type}));
  await tried("upload", () => read("_stcore/upload_file/a/b", {method: "PUT", body}));
  await tried("script", () => new Promise((good, bad) => {
    const script = document.createElement("script");
    script.src = viewer + "_stcore/health";
    script.onload = () => good("loaded"); script.onerror = bad;
    document.head.append(script);
  }));
  for (const words of [["streamlit"], ["streamlit", "PLACEHOLDER_AUTH_TOKEN", "PREFIXguess"]])
    await tried(`socket ${words.length}`, () => new Promise((good, bad) => {
      const socket = new WebSocket(viewer.replace("http", "ws") + "_stcore/stream", words);
      socket.onopen = () => good("open"); socket.onerror = bad;
    }));
  results.stored = JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie;
  return results;
}""".replace("PREFIX", PREFIX)


@pytest.mark.parametrize("host", [NAME, "127.0.0.1", "localhost"])
def test_a_strangers_page_reads_nothing_and_starts_nothing(
    reader: Reader, runs: Path, host: str, port: int
) -> None:
    victim = reader.open("?scene=cold-pass", room="stagedoor")
    expect(victim.get_by_role("button", name="Raise the curtain")).to_be_enabled()
    _Page.asked.clear()
    page = victim.context.new_page()
    page.goto(f"http://{host}:{port}/")
    results: dict[str, Any] = page.evaluate(ATTACK, reader.top)
    stored = results.pop("stored")
    assert set(results.values()) == {"refused"}, results

    looks_into_a_frame(page, reader.top + "stagedoor?scene=cold-pass")
    looks_into_a_window(page, reader.top + "stagedoor?scene=cold-pass")
    page.close()
    token = reader.url.partition("token=")[2]
    # Nor has the browser sent the token along: another port of a machine gets its cookies.
    assert token and token not in f"{stored} {_Page.asked} {victim.context.cookies()}"
    assert not (runs / processes.FOLDER).exists()
    reader.check()


def looks_into_a_frame(page: Page, at: str) -> None:
    with page.expect_console_message(lambda m: "frame" in m.text.lower(), timeout=START * 1000):
        page.evaluate(
            """(at) => new Promise((done) => {
                 const frame = document.createElement("iframe");
                 frame.onload = done; frame.src = at; document.body.append(frame);
               })""",
            at,
        )
    assert not [frame for frame in page.frames if frame.url.startswith(at)]


def looks_into_a_window(page: Page, at: str) -> None:
    """The window opens, as any link does; the page that opened it no longer holds it."""
    with page.expect_popup() as popup:
        page.evaluate("(at) => { window.theirs = open(at); }", at)
    popup.value.wait_for_load_state()
    page.wait_for_function("() => window.theirs.closed", timeout=START * 1000)
    popup.value.close()


def test_a_name_that_was_made_to_lead_here_is_not_answered(reader: Reader) -> None:
    reader.open(room="")
    at = urlsplit(reader.url)
    page = reader.page.context.new_page()
    answer = page.goto(f"http://{NAME}:{at.port}/stagedoor?scene=cold-pass")
    assert answer is not None and answer.status == 403
    expect(page.locator("body")).to_contain_text("open the address that it printed")
    results = page.evaluate(ATTACK, f"http://{NAME}:{at.port}/")
    assert results.pop("stored") == "{}{}"
    assert set(results.values()) <= {"403", "refused"}, results
    page.close()


EVERYTHING = (
    "stagedoor?scene=cold-pass&run=new&model=puppet&start=1&door:start=true&trust=stranger.example",
    "stagedoor?run=w&resume=1&door:resume=true",
    "multiverse?run=w&branch=main&turn=2&grow=1&grow:count=50&regenerate=1",
    "rate?run=w&measure=habit&answer=1",
)


def test_a_link_starts_nothing(reader: Reader, port: int, runs: Path) -> None:
    reader.open(room="")
    page = reader.page
    for link in EVERYTHING:
        page.goto(f"http://{NAME}:{port}/")
        page.evaluate("(at) => { location.href = at; }", reader.top + link)
        page.wait_for_selector(".stMain h1")
        reader.still()
    assert not (runs / processes.FOLDER).exists()
    assert [folder.id for folder in list_runs(runs)] == ["w"]


def test_a_page_without_the_token_only_reads(reader: Reader, runs: Path) -> None:
    url, reader.url = reader.url, reader.top + "#"
    page = reader.open("?scene=cold-pass", room="stagedoor")
    button = page.get_by_role("button", name="Raise the curtain")
    expect(button).to_be_disabled()
    notice = page.get_by_text("This page can only read")
    expect(notice).to_be_visible()
    # The words of a button that cannot be pressed are read as those that say why.
    colour = notice.evaluate("(text) => getComputedStyle(text).color")
    expect(button.locator("p")).to_have_css("color", colour)
    reader.check()

    # The whole address makes it the reader's own, at once and after a reload; its # is emptied.
    page.goto(url.replace("#", "stagedoor?scene=cold-pass#"))
    expect(button).to_be_enabled()
    assert "token" not in page.url
    page.reload()
    expect(button).to_be_enabled()
    expect(notice).to_be_hidden()
    reader.check()
    assert not (runs / processes.FOLDER).exists()
