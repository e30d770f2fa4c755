"""The Start room in a real browser: a run is configured, started once, watched and stopped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from improv.storage.runs import list_runs
from tests.support.browser import Reader

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_run_is_started_once_watched_and_stopped(reader: Reader, runs: Path) -> None:
    page = reader.open("?scene=cold-pass", room="stagedoor")
    expect(page.get_by_role("heading", level=1)).to_have_text("Stage door")
    reader.click(page.get_by_text("A puppet, which"))
    turns = page.get_by_label("Turns")
    reader.fill(turns, "60")
    expect(page.get_by_text("One scene, 60 lines")).to_be_visible()
    reader.check()

    reader.dblclick(page.get_by_role("button", name="Raise the curtain"))
    expect(page).to_have_url(re.compile("[?&]run="))
    run = reader.address()["run"]
    lines = page.locator(".arriving .leaf li")
    expect(lines.nth(2)).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fair, Turning Finer")

    page.reload()
    expect(lines.nth(2)).to_be_visible()
    had = lines.count()
    expect(lines.nth(had + 1)).to_be_visible()  # they go on arriving
    page.get_by_role("button", name="Stop").click()  # the page is never still while lines come
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_text("Stopped: interrupted")).to_be_visible()
    reader.check()

    [folder] = list_runs(runs)
    assert folder.id == run
    assert folder.meta()["status"] == "stopped"
    assert len(list((runs / ".viewer").glob("*.yaml"))) == 1


def test_a_file_that_is_no_scene_starts_nothing(reader: Reader, runs: Path) -> None:
    (runs / "odd.yaml").write_text("title: <img src=http://198.51.100.7/x.png>\n")
    page = reader.open(room="stagedoor")
    reader.click(page.get_by_role("combobox", name="Scene"))
    reader.click(page.get_by_role("option", name="A file"))
    name = page.get_by_label("The file’s name")
    reader.fill(name, str(runs / "odd.yaml"))
    expect(page.locator(".notice.wrong")).to_contain_text("required")
    expect(page.get_by_role("button", name="Raise the curtain")).to_be_hidden()
    reader.check()
