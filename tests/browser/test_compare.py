"""The Compare room in a real browser: from a number to its scenes, by mouse and by keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from improv.analysis.inference import Analysis
from improv.analysis.loader import analyse_run
from improv.storage.runs import open_run
from tests.support.browser import Reader
from tests.support.ui_runs import STAGE_RUN, stage_run
from ui.compare.view import LINES_AT_FIRST

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    stage_run(folder)
    return folder


def opened(reader: Reader, query: str = "") -> Page:
    page = reader.open(f"?run={STAGE_RUN}{query}", room="compare")
    expect(page.locator(".abreast")).to_be_attached()
    reader.still()
    return page


def chart(page: Page, name: str) -> Locator:
    """The chart below a heading."""
    own = page.locator('[data-testid="stVegaLiteChart"] svg.marks')
    chart_of_name = own.nth(["contrasts", "conditions", "survival", "drift"].index(name))
    chart_of_name.scroll_into_view_if_needed()
    expect(chart_of_name).to_be_visible()
    return chart_of_name


def click_a_break(reader: Reader, analysis: Analysis) -> tuple[str, int]:
    """Click a point of a condition's drift at which somebody broke. Return the condition and
    the turn."""
    drawn = [c for c in analysis.drift if c.name in analysis.compared[:LINES_AT_FIRST]]
    places = [(c.name, p[0], p[1]) for c in drawn for p in c.points]
    # One that no other lies upon.
    at, (name, turn, _) = next(
        (i, here)
        for i, here in enumerate(places)
        if here[2] < 1
        and all(abs(here[2] - o[2]) > 0.1 for o in places if o[1] == here[1] and o != here)
    )
    points = chart(reader.page, "drift").locator("g.mark-symbol.role-mark").last.locator("path")
    expect(points).to_have_count(len(places))
    reader.click(points.nth(at))
    return name, int(turn)


def test_from_a_contrast_to_its_blocks_and_their_scenes(reader: Reader, runs: Path) -> None:
    page = opened(reader)
    expect(page.get_by_role("heading", level=1)).to_have_text("author-context")
    expect(page.get_by_role("heading", name="Planned result")).to_be_visible()
    reader.check()

    rows = chart(page, "contrasts")
    box = reader.box(rows)
    reader.click(rows, position={"x": box["width"] * 0.7, "y": 33})
    expect(page).to_have_url(re.compile("[?&]contrast=brief\\+against\\+none"))
    behind = page.locator(".st-key-behind")
    expect(behind).to_contain_text("6 blocks: the first side")
    reader.check()

    first = behind.locator(".pairs tbody a").first
    reader.still()
    block = first.inner_text()
    reader.click(first)
    expect(page).to_have_url(re.compile("[?&]block="))
    assert reader.address()["block"] == block
    table = page.locator(".abreast")
    expect(table).to_be_in_viewport()
    expect(table.locator("thead th")).to_have_count(5)
    page.reload()
    expect(behind).to_contain_text("6 blocks: the first side")
    assert reader.address()["block"] == block

    page.go_back()
    expect(page).not_to_have_url(re.compile("[?&]block="))
    expect(behind).to_be_visible()
    reader.press("Escape")
    expect(page).not_to_have_url(re.compile("[?&]contrast="))
    expect(behind).to_be_hidden()
    reader.check()


def test_from_a_point_of_a_curve_to_the_line_that_broke(reader: Reader, runs: Path) -> None:
    page = opened(reader)
    for title in ("Time to the first break", "Drift over turns", "Flips and returns"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    expect(page.locator(".chains img")).to_have_count(8)
    for image in page.locator(".chains img").all():
        assert image.evaluate("i => i.complete && i.naturalWidth > 0")
    analysis = analyse_run(open_run(runs, STAGE_RUN)).whole()
    name, turn = click_a_break(reader, analysis)
    expect(page).to_have_url(re.compile("[?&]of=line"))
    assert (reader.address()["condition"], reader.address()["turn"]) == (name, str(turn))
    behind = page.locator(".st-key-behind")
    expect(behind).to_contain_text(re.compile("broken lines? at turn"))
    reader.check()

    fallen = next(c for c in analysis.chains if c.chain.counts.n01)
    reader.click(
        page.get_by_role("link", name=re.compile(f"falls? under {re.escape(fallen.cell)}"))
    )
    expect(page).to_have_url(re.compile("[?&]of=fall"))
    expect(behind).to_contain_text(f"{fallen.chain.counts.n01} falls")
    reader.click(behind.locator(".found a").first)
    expect(page).to_have_url(re.compile(r"/scene\?.*turn="))
    expect(page.locator(".play")).to_be_visible()
    expect(page.locator(".behind .block").first).to_be_attached()
    reader.still()
    reader.check()
    page.go_back()
    reader.still()
    if "of=fall" not in page.url:
        # On its way to another room Streamlit leaves that room's query under this one's path.
        page.go_back()
    expect(page).to_have_url(re.compile(r"/compare\?.*of=fall"))
    expect(behind).to_contain_text("falls")


def test_keys_lead_everywhere(reader: Reader) -> None:
    page = opened(reader)
    choice = page.get_by_role("combobox", name="The scenes behind").nth(1)
    reader.still()
    choice.focus()
    page.keyboard.type("none")
    expect(page.get_by_role("option")).to_have_count(1)
    reader.press("Enter")
    expect(page).to_have_url(re.compile("[?&]condition=none"))
    expect(page.locator(".st-key-behind .found li").first).to_be_visible()
    link = page.locator(".st-key-behind .found a").first
    reader.still()
    link.focus()
    expect(link).to_be_focused()
    reader.press("Escape")
    expect(page.locator(".st-key-behind")).to_be_hidden()
    reader.still()

    page.get_by_role("button", name="Next block").focus()
    reader.press("Enter")
    expect(page).to_have_url(re.compile("[?&]block="))
    reader.still()
    table = page.locator(".abreast")
    table.focus()
    expect(table).to_be_focused()
    for title in ("The contrasts as a table", "Drift over turns, as a table"):
        page.locator("summary").filter(has_text=title).focus()
        reader.press("Enter")
    expect(page.locator('[data-testid="stDataFrame"]:visible').first).to_be_visible()
    reader.check()


def test_the_room_fits_a_telephone_in_the_dark(reader: Reader) -> None:
    page = reader.page
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    opened(reader, "&contrast=brief+against+placebo")
    expect(page.locator(".st-key-behind")).to_contain_text("blocks: the first side")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    for plot in page.locator('[data-testid="stVegaLiteChart"]').all():
        box = plot.bounding_box()
        assert box is None or box["x"] + box["width"] <= 391
    reader.check()
