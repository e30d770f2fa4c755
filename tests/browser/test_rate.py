"""The Rate room in a real browser: a person judges with ten keys and sees only the question."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring import human_ratings
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.conftest import KETTLE
from tests.support.browser import Reader
from tests.support.ui_runs import BLINDED_STUDY
from ui.rate.questions import READ

pytestmark = pytest.mark.browser
ANN = human_ratings.judge_name("Ann Lee")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rate")
    (home / "kettle.yaml").write_text(KETTLE)
    (home / "blinded.yaml").write_text(BLINDED_STUDY)
    run(load(home / "blinded.yaml"), runs=home / "runs", name="blind", setup=Setup(ray="off"))
    return home / "runs"


def begin(reader: Reader, name: str = "Ann Lee") -> Locator:
    reader.fill(reader.page.get_by_role("textbox", name="Your name"), name)
    question = reader.page.locator(".ask")
    expect(question).to_be_visible()
    return question


def rated(reader: Reader, many: int) -> None:
    page = reader.page
    expect(page.get_by_text(re.compile(f"^{many} of \\d+ rated$"))).to_be_visible()
    reader.still()
    page.wait_for_timeout(1_200 * READ)  # a person reads first; what comes sooner is a held key


def test_a_person_rates_with_keys_alone(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=blind", room="rate")
    expect(page.get_by_role("heading", level=1)).to_have_text("Would you judge?")
    reader.check()
    question = begin(reader)
    rated(reader, 0)
    assert reader.address() == {"run": "blind", "measure": "state"}
    first = question.inner_text()
    wanted = page.locator(".st-key-answer-2 button").inner_text().split("\n")[0]
    reader.check()

    reader.press("2")
    rated(reader, 1)
    expect(question).not_to_have_text(first)
    expect(page.get_by_role("button", name="Undo the last")).to_be_visible()
    reader.press("u")
    rated(reader, 0)
    expect(question).to_have_text(first, use_inner_text=True)
    reader.press("0")
    rated(reader, 1)
    reader.press("1")
    rated(reader, 2)
    answers = {r["answer"] for r in human_ratings.ratings_of(open_run(runs, "blind"), ANN).values()}
    assert human_ratings.CANNOT_TELL in answers and len(answers) == 2
    assert wanted
    reader.check()

    page.reload()  # the name is the session's; the ratings are the run's
    begin(reader)
    rated(reader, 2)
    reader.check()


def test_the_page_knows_no_condition(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=blind", room="rate")
    begin(reader, "Ben")
    folder = open_run(runs, "blind")
    rows = folder.tables.read("trials").to_pylist()
    hidden = {str(r[c]) for r in rows for c in ("trial", "condition", "block")}
    hidden |= {i.id for i in human_ratings.rating_items(folder, folder.study(), "state")}
    for many in range(1, 4):
        expect(page.locator(".st-key-answer-0 button")).to_be_visible()
        html = page.content()
        assert "Another person" in html
        assert not [h for h in hidden if h in html]
        reader.press("3")
        rated(reader, many)
    reader.still()
    reader.click(page.get_by_text("Contradictions", exact=True))
    expect(page).to_have_url(re.compile("[?&]measure=l2l"))
    reader.check()
    page.go_back()
    expect(page).to_have_url(re.compile("[?&]measure=state"))
    expect(page.locator(".rate-title")).to_have_text("Traits")
    reader.still()
    reader.click(page.get_by_role("button", name="Another person"))
    expect(page.get_by_role("textbox", name="Your name")).to_be_visible()
    reader.check()


def test_the_room_fits_a_telephone(reader: Reader) -> None:
    page = reader.page
    page.set_viewport_size({"width": 390, "height": 844})
    reader.open("?run=blind", room="rate")
    begin(reader, "Cyd")
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    assert wide <= 390
    for k in range(4):
        box = page.locator(f".st-key-answer-{k} button").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert box["height"] >= 40 or k == 0
    reader.still()
    reader.click(page.locator(".st-key-answer-1 button"))
    rated(reader, 1)
    reader.check()
