"""The list of runs and the tools of a scene in a real browser: clicks, keys, marks, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.edit import Edit
from improv.study.loader import load
from tests.support.browser import Reader
from tests.support.ui import bare_run, vandal_run
from tests.support.ui_runs import broken_run

pytestmark = pytest.mark.browser
OFF = Setup(ray="off")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    broken_run(folder)
    vandal_run(folder)
    bare_run(folder, "going", status="playing", trials=4)
    made = run(
        load("cold-pass", {"model": "puppet", "turns": 6}), runs=folder, name="tree", setup=OFF
    ).folder
    branch(made, "0", 3, edit=Edit(line="Nobody sold me anything."), setup=OFF)
    return folder


def turn_is(page: Page, number: int) -> None:
    expect(page).to_have_url(re.compile(rf"[?&]turn={number}(&|$)"))
    expect(page.locator(f"#turn-{number} .no")).to_have_attribute("aria-current", "true")


def wait_for_usher(page: Page) -> None:
    page.wait_for_selector("html[data-usher]", state="attached")


def test_one_click_leads_from_the_lobby_into_a_run(reader: Reader) -> None:
    page = reader.open(room="")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    expect(page.locator(".playbill tbody tr")).to_have_count(4)
    expect(page.locator(".playbill tr.on")).to_contain_text("being played")
    wait_for_usher(page)
    reader.check()
    # Anywhere in the row, and without loading the page anew.
    page.evaluate("window.stayed = true")
    row = page.locator(".playbill tbody tr").filter(has_text="broken")
    box = reader.box(row.locator("td").nth(2))
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 6)
    expect(page).to_have_url(re.compile(r"/scene\?run=broken&trial="))
    expect(page.locator("#turn-3")).to_contain_text("Line 3")
    assert page.evaluate("window.stayed") is True
    page.go_back()
    expect(page.locator(".playbill")).to_be_visible()
    wait_for_usher(page)
    reader.click(page.get_by_role("link", name="Multiverse of run tree"))
    expect(page).to_have_url(re.compile(r"/multiverse\?run=tree"))
    assert not reader.wrong


def test_the_lobby_is_there_by_its_name_too(reader: Reader) -> None:
    page = reader.open("?seek=broken", room="runs")
    expect(page).to_have_url(f"{reader.top}?seek=broken")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    expect(page.locator(".playbill tbody tr")).to_have_count(1)
    reader.check()


def test_the_lobby_is_walked_by_keyboard(reader: Reader) -> None:
    page = reader.open(room="")
    wait_for_usher(page)
    link = page.get_by_role("link", name="open the scenes of run vandal")
    reader.still()
    link.focus()
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Graph of run vandal"
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/scene\?run=vandal"))


def test_keys_and_marks_lead_through_a_scene(reader: Reader) -> None:
    page = reader.open("?run=broken&turn=1")
    turn_is(page, 1)
    reader.press("b")
    turn_is(page, 3)
    reader.press("m")
    turn_is(page, 4)
    reader.press("k")
    expect(page).to_have_url(re.compile(r"[?&]marks=4(&|$)"))
    row = page.locator(".tally .marks").first
    box = reader.box(row)
    # Between marks; the nearest turn that has one is meant.
    reader.click(row, position={"x": box["width"] * 10.2 / 12, "y": 5})
    turn_is(page, 11)
    reader.click(page.get_by_role("link", name="Bookmark: turn 4"))
    turn_is(page, 4)
    mark = page.locator("#turn-4 .no").evaluate("e => getComputedStyle(e, '::after').content")
    assert "❧" in mark
    reader.check()


def test_what_is_searched_for_is_lit(reader: Reader) -> None:
    page = reader.open("?run=broken&turn=1")
    turn_is(page, 1)
    reader.press("/")
    page.keyboard.type("line 1")
    reader.press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]find=line\+1(&|$)"))
    expect(page.locator(".hits")).to_contain_text("of 4 turns")
    page.wait_for_function("CSS.highlights.get('improv-found')?.size === 4")
    reader.click(page.get_by_role("button", name="On"))
    turn_is(page, 10)
    reader.check()


def test_the_strip_has_a_table_twin(reader: Reader) -> None:
    page = reader.open("?run=broken&turn=8&behind=1")
    expect(page.get_by_role("heading", name="Behind turn 8")).to_be_visible()
    expect(page.locator(".behind .score")).to_contain_text("despairing")
    reader.click(page.get_by_text("The scores as a table"))
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    reader.check()


def test_a_scene_is_taken_home(reader: Reader) -> None:
    page = reader.open("?run=broken")
    reader.click(page.get_by_role("button", name="Download"))
    with page.expect_download() as waiting:
        reader.click(page.get_by_role("button", name="Fountain"))
    assert waiting.value.suggested_filename == "broken-0.fountain"
    text = Path(waiting.value.path()).read_text()
    assert "@Eliseo\nLine 1, straße <b>." in text
    reader.check()


def test_a_branch_and_its_parent_are_one_click_apart(reader: Reader, runs: Path) -> None:
    folder = open_run(runs, "tree")
    trial = folder.transcripts.trial("0")["trial"]
    grown = folder.transcripts.branches(trial)[1]["branch"]
    page = reader.open(f"?run=tree&trial={trial}&branch={grown}&turn=3")
    expect(page.locator(".branch-line")).to_contain_text("A branch of the scene")
    expect(page.locator("#turn-3")).to_contain_text("Nobody sold me anything.")
    wait_for_usher(page)
    reader.click(page.get_by_role("link", name="the scene as it was first played"))
    expect(page.locator("#turn-3")).not_to_contain_text("Nobody sold me anything.")
    turn_is(page, 3)
    assert "branch" not in reader.address()
    reader.click(page.get_by_role("link", name="the Multiverse"))
    expect(page).to_have_url(re.compile(rf"/multiverse\?run=tree&trial={trial}"))
    assert not reader.wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_rooms_fit_a_phone(browser: Browser, url: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=True,
    )
    reader = Reader(context.new_page(), url)
    page = reader.open(room="")
    expect(page.locator(".playbill tr").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    reader.check()
    page.goto(reader.top + "scene?run=broken&turn=7&find=line&marks=3.7")
    turn_is(page, 7)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    reader.check()
    context.close()
