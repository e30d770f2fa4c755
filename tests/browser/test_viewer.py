"""The viewer as a person meets it: a real `improv view`, a real Chromium, every key and click.

Any console error, any request that leaves this machine, and any serious finding of axe fails.
"""

from __future__ import annotations

import re
import signal
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from improv.cli.viewer import view
from improv.errors import RunError
from improv.storage.runs import open_run
from tests.support.browser import Reader, start
from tests.support.ui import long_run, puppet_run, vandal_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    puppet_run(folder)
    vandal_run(folder)
    long_run(folder, 1000)
    return folder


def turn_is(page: Page, number: int) -> None:
    expect(page).to_have_url(re.compile(rf"[?&]turn={number}(&|$)"))
    expect(page.locator(f"#turn-{number} .no")).to_have_attribute("aria-current", "true")


def test_a_reader_opens_a_link_and_reads_on(reader: Reader, runs: Path) -> None:
    trial = open_run(runs, "puppet").transcripts.trial("0")
    page = reader.open(f"?run=puppet&trial={trial['trial']}&turn=4")
    expect(page.get_by_role("heading", level=1)).to_have_text(trial["title"])
    turn_is(page, 4)
    expect(page.locator("#turn-4")).to_be_in_viewport()

    reader.press("ArrowRight")
    turn_is(page, 5)
    reader.click(page.get_by_role("button", name="Next"))
    turn_is(page, 6)
    reader.press("ArrowLeft")
    turn_is(page, 5)
    reader.check()

    page.go_back()
    turn_is(page, 6)


def test_so_far_and_play(reader: Reader) -> None:
    page = reader.open("?run=puppet&turn=2")
    reader.click(page.get_by_text("So far", exact=True))
    expect(page.locator("#turn-3")).to_be_hidden()
    expect(page.locator("#turn-2")).to_be_visible()
    reader.press("p")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    turn_is(page, 3)
    expect(page.locator("#turn-3")).to_be_visible()
    reader.press("p")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    reader.click(page.get_by_text("All", exact=True))
    expect(page.locator("#turn-10")).to_be_visible()
    reader.check()


def test_a_click_on_a_line_shows_what_its_character_could_see(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=puppet&trial=0")
    reader.click(page.locator("#turn-3 .said"))
    turn_is(page, 3)
    expect(page.get_by_role("heading", name="Behind turn 3")).to_be_visible()
    folder = open_run(runs, "puppet")
    calls = folder.transcripts.calls(folder.transcripts.trial(reader.address()["trial"])["trial"])
    call = next(c for c in calls if c.draw.turn == 3 and c.draw.purpose == "line")
    expect(page.locator(".behind .block")).to_have_count(len(call.blocks))
    cue = folder.tables.blocks(call.blocks)[call.blocks[-1]].text
    expect(page.locator(".behind .block").last).to_contain_text(cue)
    expect(page.locator(".behind .block").last).to_contain_text("new")
    reader.click(page.get_by_text("heard or read before"))
    expect(page.locator(".behind .old .block").last).to_be_visible()
    reader.click(page.get_by_text("The whole prompt as text"))
    expect(page.locator(".stExpander code").first).to_contain_text(cue)
    reader.click(page.get_by_text("The author’s call", exact=True))
    expect(page.get_by_role("heading", name="What the author could see")).to_be_visible()
    reader.check()
    reader.press("Escape")
    expect(page.get_by_role("heading", name="Behind turn 3")).to_be_hidden()
    assert "behind" not in reader.address()


def test_the_margin_opens_and_closes(reader: Reader) -> None:
    page = reader.open("?run=vandal")
    expect(page.get_by_text("Note to Rufina")).to_be_visible()
    reader.click(page.get_by_text("Author’s margin"))
    expect(page.get_by_text("Note to Rufina")).to_be_hidden()
    expect(page).to_have_url(re.compile("audience=1"))
    reader.click(page.get_by_text("Author’s margin"))
    expect(page.get_by_text("Note to Rufina")).to_be_visible()


def test_what_a_model_wrote_is_text(reader: Reader) -> None:
    page = reader.open("?run=vandal&turn=1&behind=1")
    said = page.locator("#turn-1 .said")
    expect(said).to_contain_text("<script>document.title='owned'</script>")
    expect(said).to_contain_text("# not a heading ![p](http://198.51.100.7/p.png)")
    assert "\u202e" not in page.content()
    assert page.title() == "improv"
    assert page.locator(".stMain img, .stMain .play script, .play h1").count() == 0
    reader.click(page.locator("#turn-5 .no"))
    expect(page.get_by_role("heading", name="Behind turn 5")).to_be_visible()
    expect(page.locator("#turn-5 .more")).to_contain_text("more characters")
    reader.check()
    assert page.title() == "improv"


def test_every_link_that_is_wrong_is_told(reader: Reader) -> None:
    page = reader.open("?run=..%2F..%2Fetc&trial=x")
    expect(page.locator(".notice")).to_contain_text("There is no run “../../etc”")
    page.goto(reader.top + "scene?run=puppet&turn=99")
    expect(page.locator(".notice")).to_contain_text("There is no turn “99”")
    expect(page.locator(".stException")).to_have_count(0)
    reader.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone(browser: Browser, url: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        color_scheme=scheme,
        has_touch=True,  # type: ignore[arg-type]
    )
    reader = Reader(context.new_page(), url)
    page = reader.open("?run=vandal&turn=2")
    expect(page.locator("#turn-2")).to_be_in_viewport()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    reader.check()
    reader.click(page.locator("#turn-3 .said"))
    expect(page.get_by_role("heading", name="Behind turn 3")).to_be_in_viewport()
    reader.check()
    context.close()


def test_a_thousand_turns_are_there_at_once(reader: Reader) -> None:
    page = reader.open("?run=puppet&turn=1")
    turn_is(page, 1)
    page.goto(reader.top + "scene?run=long&turn=700")
    turn_is(page, 700)
    expect(page.locator("#turn-700")).to_be_in_viewport()
    reader.still()
    # The next turn is shown without another thousand turns drawn anew.
    drawn = page.evaluate(
        """async () => {
          const drawn = [];
          const turns = node => node.nodeType === 1
            ? [...node.querySelectorAll("li.turn"), ...(node.matches("li.turn") ? [node] : [])]
            : [];
          const seen = new MutationObserver(changes => changes.forEach(
            change => change.addedNodes.forEach(node => drawn.push(...turns(node)))));
          seen.observe(document.querySelector(".stMain"), {childList: true, subtree: true});
          document.querySelector(".st-key-next button").click();
          while (!document.querySelector("#turn-701 .no[aria-current]"))
            await new Promise(requestAnimationFrame);
          seen.disconnect();
          return drawn.length;
        }"""
    )
    assert drawn == 0
    assert not reader.wrong


def test_the_viewer_serves_this_machine_only(runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server, address, said = start(runs, "puppet/0", port=port)
    try:
        assert f"port {port} is taken" in said
        at = urlsplit(address)
        assert at.hostname == "127.0.0.1"
        assert at.port != port
        assert re.fullmatch(r"run=puppet&trial=[0-9a-f]{12}", at.query)
        assert said.count("http://") == 1, "one URL is printed"
        with urllib.request.urlopen(f"http://127.0.0.1:{at.port}/_stcore/health") as answer:
            assert answer.status == 200
        with socket.socket() as outside, pytest.raises(OSError):
            # Every address of 127/8 is this machine's; bound to one alone, the others refuse.
            outside.connect(("127.0.0.2", at.port))
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0
    with socket.socket() as after, pytest.raises(OSError):
        after.connect(("127.0.0.1", at.port))


@pytest.mark.parametrize("what", ["nowhere", "../etc", "puppet/zzz"])
def test_what_is_not_there_is_said_before_anything_starts(runs: Path, what: str) -> None:
    with pytest.raises(RunError):
        view(str(runs), what, port=0, browser=False)
