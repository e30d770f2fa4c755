"""A reader in a real browser: `improv view`, Chromium, and a list of every error on the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--process-per-site",
]
START = 120
"""Most seconds that a page, a server or a process may take on a busy machine."""


def start(
    runs: Path, *what: str, port: int = 0, folder: Path | None = None, **variables: str
) -> tuple[subprocess.Popen[str], str, str]:
    """Start `improv view` in a working folder; return the process, its URL, and its output."""
    command = [sys.executable, "-P", "-m", "improv.cli", "view", *what, "--no-browser"]
    server = subprocess.Popen(
        [*command, "--runs", str(runs), "--port", str(port)],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    assert server.stdout is not None
    for line in server.stdout:
        said += line
        if match := re.search(r"The viewer is at (\S+)", line):
            return server, match[1], said
    raise AssertionError(said)


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start the Chromium of this machine, else that of playwright."""
    names = [os.environ.get("IMPROV_BROWSER"), "chromium", "chromium-browser", "google-chrome"]
    path = next((executable for name in names if name and (executable := shutil.which(name))), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).is_file():
            if os.environ.get("CI"):
                pytest.fail("no Chromium to open the viewer with")
            pytest.skip("no Chromium to open the viewer with")
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        yield browser
        browser.close()


expect.set_options(timeout=START * 1000)
SHOWN = {"scene": "html[data-prompter] .stMain:has(.play):has(.st-key-shown)"}
"""Room → a selector that matches once its page is complete; other rooms have a heading only."""

COUNT_MESSAGES = """(() => {
    // Streamlit answers whatever the page sends. Until it has, the page is about to change.
    const Socket = window.WebSocket
    window.__unanswered = null
    window.WebSocket = class extends Socket {
        constructor(...how) {
            super(...how)
            this.addEventListener('message', () => { window.__unanswered = null })
        }
        send(data) {
            window.__unanswered = performance.now()
            super.send(data)
        }
    }
})()"""
"""Run in a page before its own scripts."""

QUIET = """([question, long]) => {
    const state = document.querySelector('.stApp')?.dataset.testScriptState
    const stale = document.querySelector('.stMain :is([data-stale="true"], .stSkeleton)')
    const seen = `${question} ${location.href} ${document.querySelector('.stMain')?.scrollHeight}`
    const now = performance.now()
    const unanswered = window.__unanswered && now - window.__unanswered < 10 * long
    const busy = unanswered || state !== 'notRunning' || stale
    if (busy || window.__seen !== seen) window.__since = now
    window.__seen = seen
    return now - window.__since > long
}"""
"""Whether the page has waited for no answer of its server, its script has not run, and its address
and height have not changed, for `long` milliseconds since the first call with this `question`. A
few messages have no answer: none is waited for ten times as long."""
STILL = 300
"""Milliseconds, longer than Streamlit's pause between two runs of a script."""

AT_REST = """() => document.getAnimations().every(a => a.playState !== 'running'
    || a.effect?.getTiming().iterations === Infinity)"""
"""Whether every transition and animation that ends has ended."""


@dataclass
class Reader:
    """A page, and the list of its errors: console, exceptions, requests to other machines."""

    page: Page
    url: str
    """The viewer's address, with its token."""
    wrong: list[str] = field(default_factory=list)
    questions: int = 0
    """Number of calls of `still`."""

    @property
    def top(self) -> str:
        """The viewer's address without its token, which the page has when it was opened once."""
        return self.url.partition("#")[0]

    def open(self, query: str = "", room: str = "scene") -> Page:
        page = self.page
        page.on("console", lambda m: self._note(m.type in ("error", "warning"), m.text))
        page.on("pageerror", lambda e: self._note(True, str(e)))
        page.on("request", lambda r: self._note(not self._here(r.url), f"request to {r.url}"))
        page.add_init_script(COUNT_MESSAGES)
        page.goto(self.url.replace("#", f"{room}{query}#"))
        page.set_default_timeout(START * 1000)
        page.wait_for_selector(SHOWN.get(room, ".stMain h1"))
        self.still()
        return page

    def still(self) -> None:
        """Wait until the page is complete: a click or a key can be lost while its target is
        replaced or moves."""
        self.questions += 1
        question = [self.questions, STILL]
        self.page.wait_for_function(QUIET, arg=question, polling=50, timeout=START * 1000)

    def press(self, key: str) -> None:
        self.still()
        self.page.keyboard.press(key)

    def click(self, target: Locator, **how: Any) -> None:
        self.still()
        target.click(**how)

    def dblclick(self, target: Locator) -> None:
        self.still()
        target.dblclick()

    def fill(self, field: Locator, text: str) -> None:
        """Write into a field and press Enter."""
        self.still()
        field.fill(text)
        field.press("Enter")

    def box(self, target: Locator) -> FloatRect:
        """Return the bounding box of `target` once the page is still."""
        expect(target).to_be_visible()
        self.still()
        box = target.bounding_box()
        assert box is not None
        return box

    def address(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.page.url).query).items()}

    def check(self) -> None:
        """Fail on an error noted so far, and on a serious or critical violation that axe
        reports."""
        assert not self.wrong
        # Text that is fading in has too little contrast for as long as that takes.
        self.still()
        self.page.wait_for_function(AT_REST, timeout=START * 1000)
        # Without the rules that are kept, and without fetching style sheets that none of the rules
        # reads, axe takes a quarter of the time.
        options = {"resultTypes": ["violations"], "preload": False}
        violations = Axe().run(self.page, options=options).response["violations"]
        grave = [
            f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}"
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]
        assert not grave, "\n".join(grave)

    def _note(self, wrong: bool, what: str) -> None:
        if wrong:
            self.wrong.append(what)

    @staticmethod
    def _here(address: str) -> bool:
        return address.startswith(("data:", "blob:")) or (
            urlsplit(address).hostname in ("127.0.0.1", "localhost")
        )
