"""What the tests share: a scene that is small and whole, puppets, and one Ray for a file."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from improv.models.puppet.server import PuppetServer
from improv.ray_cluster import start_ray
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.loader import load
from improv.study.puppet_spec import Puppet
from improv.study.scene import Scene
from tests.support.run import OFF, PLAN, TEN, Serve, chairs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

    from tests.support.browser import Reader

# A process keeps the way of authentication that its first Ray had, and clusters of several nodes in
# one process have no token: so no Ray of the tests has one.
os.environ["RAY_AUTH_MODE"] = "disabled"
# A shell starts what runs in its background with SIGINT ignored, which children inherit: tests of
# Ctrl-C and of the viewer's end would wait for a signal that never comes.
signal.signal(signal.SIGINT, signal.default_int_handler)

KETTLE = """\
title: The Kettle
form: a kitchen play
premise: Ana and Bo wait for a kettle. Yes, and it never boils.
place: A kitchen
time: 12:30
world:
  - The kettle must never be opened.
cast:
  - name: Ana
    role: who waits
    card: Ana has all the time in the world.
    secret: She has unplugged it.
    traits: [{pole: honest, opposite: deceitful, kind: moral}]
    habit: {says: Never asks a question., marker: never_asks}
  - name: Bo
    role: who hurries
    card: Bo has a train to catch.
    aliases: [Robert]
  - name: Cy
    role: who lives upstairs
    offstage: true
opening:
  - {direction: The kettle hums.}
  - {who: Bo, line: "Ana, does it boil?"}
  - {who: Ana, line: "Bo, it hums.", aside_to: Bo}
turns: 6
events:
  - {turn: 3, direction: A knock., enter: [Cy]}
  - {turn: 5, exit: [Bo]}
author:
  name: Ines Okafor
  frame: Ines Okafor never lets a character turn.
  live: true
  may: [note, cue]
  bible: The kettle is unplugged.
model: puppet
"""


SLOW = ("browser", "ray", "slow", "weights")
"""Marks of tests that take long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of slow tests first, with those of browser tests evenly among them.

    Files are given to the workers one by one. Where a slow file begins last, one worker tests it
    while the others have nothing left to do. Where several browsers draw at once, the processors
    are busy with them for minutes, while tests that wait for Ray would leave them free.
    """
    slow: Counter[Path] = Counter()
    draws: set[Path] = set()
    for item in items:
        slow[item.path] += sum(item.get_closest_marker(mark) is not None for mark in SLOW)
        if item.get_closest_marker("browser"):
            draws.add(item.path)
    place: dict[Path, float] = {}
    for kind in (draws, slow.keys() - draws):
        files = sorted((path for path in kind if slow[path]), key=lambda path: (-slow[path], path))
        place |= {path: (n + 0.5) / len(files) for n, path in enumerate(files)}
    items.sort(key=lambda item: place.get(item.path, 1))  # Stable: the order in a file remains.


@pytest.fixture
def kettle(tmp_path: Path) -> Path:
    """A scene file with most of the features."""
    path = tmp_path / "kettle.yaml"
    path.write_text(KETTLE)
    return path


@pytest.fixture
def scene(kettle: Path) -> Scene:
    return load(kettle).cells[0][2]


STUDY = """\
study: kettles
question: Does the author matter to a kettle?
scenes: [kettle.yaml]
factors:
  author:
    none: {author: {live: false, frame: ""}}
    live: {author: {live: true}}
  order:
    round: {order: round-robin}
    silence: {order: by-silence}
replicates: 3
"""


@pytest.fixture
def study_file(kettle: Path) -> Path:
    path = kettle.with_name("kettles.yaml")
    path.write_text(STUDY)
    return path


@pytest.fixture
def planned(study_file: Path) -> Path:
    """A study file with a plan."""
    study_file.write_text(study_file.read_text() + PLAN)
    return study_file


@pytest.fixture
def played(study_file: Path, tmp_path: Path) -> RunFolder:
    """A finished puppet run of twelve trials."""
    return run(load(study_file), runs=tmp_path / "runs", setup=Setup(ray="off")).folder


@pytest.fixture
def puppet_server() -> Iterator[Callable[..., PuppetServer]]:
    """Start puppets on loopback; they end with the test."""
    servers: list[PuppetServer] = []

    def start(**spec: object) -> PuppetServer:
        rate = spec.pop("requests_per_second", None)
        server = PuppetServer(Puppet.model_validate(spec), requests_per_second=rate)  # type: ignore[arg-type]
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One local Ray for the tests of a file; runs join it instead of starting their own.

    It ends with the file. A test that finds it ended would join any other cluster of this machine,
    such as one that another worker's tests are about to kill.
    """
    import ray

    assert start_ray("local")
    yield
    ray.shutdown()


@pytest.fixture
def browser_path() -> str:
    """The Chromium that `make test` found; CI must have one."""
    path = os.environ.get("IMPROV_BROWSER", "")
    if not path and os.environ.get("CI") == "true":
        pytest.fail("no browser: tools/browser.sh found and installed none")
    if not path:
        pytest.skip("no browser: IMPROV_BROWSER is not set (make test sets it)")
    return path


# A module of browser tests says what there is to see in a fixture `runs`, which is made first: a
# play needs an event loop of its own, and playwright's is the thread's while a browser is open.


@pytest.fixture(scope="module")
def url(runs: Path) -> Iterator[str]:
    """The address of a running viewer, with its token, without a page."""
    from tests.support.browser import start

    server, address, _ = start(runs)
    yield address
    server.send_signal(signal.SIGINT)
    assert server.wait(120) == 0


@pytest.fixture(scope="module")
def browser(runs: Path) -> Iterator[Browser]:
    from tests.support.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    """A browser context that keeps Streamlit's compiled code; pages share nothing else."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    # One page stays, and with it the process in which those that come are opened.
    context.new_page().goto(urljoin(url, "_stcore/health"))
    yield context
    context.close()


@pytest.fixture
def reader(context: BrowserContext, url: str) -> Iterator[Reader]:
    from tests.support.browser import Reader

    page = context.new_page()
    yield Reader(page, url)
    if page.url.startswith(urljoin(url, "/")):
        page.evaluate("localStorage.clear(), sessionStorage.clear()")
    context.clear_cookies()
    page.close()


@pytest.fixture
def served(
    kettle: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> tuple[RunFolder, PuppetServer]:
    """One scene, played by a puppet behind a server that keeps no record of its requests."""
    server = puppet_server()
    patch = {"model": {"model": "puppet", "base_url": server.url}}
    folder = run(load(kettle, patch), runs=tmp_path / "runs", name="tea", setup=OFF).folder
    server.asked.clear()
    return folder, server


@pytest.fixture
def begun(puppet_server: Serve, tmp_path: Path) -> RunFolder:
    """A run of ten trials that was stopped after ten calls."""
    file = chairs(tmp_path, puppet_server().url)
    source = {"file": str(file), "patch": {}, "replicates": None}
    return run(load(file), runs=tmp_path / "runs", setup=TEN, source=source).folder
