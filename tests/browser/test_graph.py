"""The Graph room in a real browser: arrows are clicked, turns are chosen, graphs are downloaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from improv.graph.build import load_conversation
from improv.graph.file_formats import from_bytes
from improv.graph.graph import build_network
from improv.storage.runs import open_run
from tests.support.browser import Reader
from tests.support.graph import company_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    company_run(folder)
    return folder


def test_a_reader_clicks_an_arrow_and_reads_its_lines(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=company&trial=0", room="graph")
    expect(page.get_by_role("heading", level=1)).to_have_text("The Honey Job")
    names = page.locator(".stMain svg text")
    expect(names.filter(has_text=re.compile("^Odo$"))).to_be_visible()
    expect(page.locator(".net-said li").first).to_be_visible()
    # An arrow whose middle no other crosses, below its number.
    reader.still()
    numbers = page.locator(".stMain svg text").filter(has_text=re.compile(r"^\d+(\.\d+)?$"))
    clicked = False
    for i in range(numbers.count()):
        box = numbers.nth(i).bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        try:
            expect(page).to_have_url(re.compile("[?&]edge="), timeout=20_000)
        except AssertionError:
            continue
        clicked = True
        break
    assert clicked, "no arrow could be clicked"
    reader.still()
    source, _, target = reader.address()["edge"].partition(">")
    chosen = page.get_by_role("combobox", name="Lines from one to another")
    expect(chosen).to_have_value(
        re.compile(f"^{source.replace('author', '(the )?author')} to {target}$")
    )
    reader.check()

    reader.click(page.locator(".net-said a").first)
    expect(page).to_have_url(re.compile("/scene.*[?&]turn="))


def test_keys_lead_everywhere(reader: Reader) -> None:
    page = reader.open("?run=company&trial=0", room="graph")
    low = page.get_by_role("slider").first
    low.focus()
    reader.press("ArrowRight")
    expect(page).to_have_url(re.compile("[?&]from=2"))
    reader.click(page.get_by_text("answers", exact=True))
    expect(page).to_have_url(re.compile("[?&]kind=answers"))
    reader.click(page.get_by_text("With guesses"))
    expect(page).to_have_url(re.compile("[?&]sure=1"))
    reader.click(page.get_by_text("As a table"))
    expect(page.locator('[data-testid="stDataFrame"]').first).to_be_visible()
    reader.check()
    page.go_back()
    expect(page).not_to_have_url(re.compile("[?&]sure=1"))


def test_two_conditions_are_set_apart_and_taken_along(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=company&trial=0&condition=live&against=none", room="graph")
    expect(page.get_by_text("live less none").first).to_be_visible()
    expect(page.get_by_role("heading", name="Differences of the network measures")).to_be_visible()
    reader.check()
    reader.click(page.get_by_role("button", name="Download", exact=True))
    with page.expect_download() as waiting:
        reader.click(page.get_by_role("button", name="GEXF, for Gephi"))
    graph = from_bytes(waiting.value.path().read_bytes(), "gexf")
    whole = load_conversation(open_run(runs, "company")).select(condition="live")
    assert set(graph.edges(keys=True)) == set(build_network(whole).edges(keys=True))
    reader.check()


def test_the_room_fits_a_telephone(reader: Reader) -> None:
    page = reader.page
    page.set_viewport_size({"width": 390, "height": 844})
    reader.open("?run=company&trial=1", room="graph")
    expect(page.locator(".stMain svg text").filter(has_text=re.compile("^Odo$"))).to_be_visible()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    reader.check()
