"""The Multiverse in a real browser: clicks on points, bundles that unfold, new branches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.edit import Edit
from improv.study.loader import load
from tests.support.browser import Reader
from tests.support.ui import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    off = Setup(ray="off")
    made = run(load("cold-pass", {"model": "puppet", "turns": 6}), runs=folder, name="w", setup=off)
    branch(made.folder, "0", 2, edit=Edit(line=HOSTILE[:1500]), setup=off)
    branch(made.folder, "0", 4, again=True, draws=8, setup=off)
    return folder


def label(page: Page, words: str) -> Locator:
    return page.locator(".stMain svg text").filter(has_text=re.compile(words)).first


def press(reader: Reader, words: str) -> None:
    """Click the point to the left of the label with this text."""
    box = reader.box(label(reader.page, words))
    reader.page.mouse.click(box["x"] - 12, box["y"] + box["height"] / 2)


def test_a_reader_walks_the_tree(reader: Reader, runs: Path) -> None:
    page = reader.open("?run=w", room="multiverse")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fair, Turning Finer")
    expect(label(page, "8 draws, ")).to_be_visible()
    assert page.title() == "improv"

    press(reader, "8 draws, ")
    expect(page).to_have_url(re.compile("[?&]open="))
    fold = page.get_by_role("button", name="Fold again")
    expect(fold).to_be_visible()
    expect(label(page, "8 draws, ")).to_be_hidden()
    reader.click(fold)
    expect(label(page, "8 draws, ")).to_be_visible()

    press(reader, "^line: ")
    [edited] = [
        r for r in open_run(runs, "w").transcripts.branches(trial_of(runs)) if "line" in r["edit"]
    ]
    expect(page).to_have_url(re.compile(f"branch={edited['branch']}"))
    expect(page.get_by_role("heading", name="Changed, and played on")).to_be_visible()
    text = json.loads(edited["edit"])["line"]
    assert "<script>" in text
    expect(page.locator(".diff .in").first).to_contain_text("document.title='owned'")

    reader.click(page.get_by_role("button", name="Set beside its parent"))
    expect(page).to_have_url(re.compile("left=main"))
    expect(page.locator("table.both caption")).to_be_visible()
    reader.still()
    page.go_back()
    expect(page.locator("table.both")).to_be_hidden()
    reader.check()


def test_branches_grow(reader: Reader, runs: Path) -> None:
    before = len(open_run(runs, "w").transcripts.branches(trial_of(runs)))
    page = reader.open("?run=w&branch=main&turn=3", room="multiverse")
    count = page.get_by_label("How many")
    reader.fill(count, "2")
    expect(page.locator(".st-key-growing code")).to_contain_text("@3 -n 2")
    reader.dblclick(page.get_by_role("button", name="Grow", exact=True))
    grown = page.get_by_text("2 branches have grown")
    # On a busy machine they may have grown before the page looks again.
    expect(page.get_by_role("button", name="Stop").or_(grown).first).to_be_visible()
    page.reload()
    expect(grown).to_be_visible()
    assert len(open_run(runs, "w").transcripts.branches(trial_of(runs))) == before + 2
    expect(label(page, "^new$")).to_be_visible()
    reader.check()


def trial_of(runs: Path) -> str:
    return str(open_run(runs, "w").transcripts.trial("0")["trial"])
