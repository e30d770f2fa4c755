"""The viewer's rooms without a browser: the content of pages, links, and text that stays inert."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from improv.files import shipped
from improv.records import MAIN, Act, Turn
from improv.storage.runs import open_run
from improv.study.trial import plan
from tests.support.ui import (
    LONG,
    address,
    bare_run,
    contrast,
    keep,
    long_run,
    page,
    puppet_run,
    read,
    shown,
    style,
    the_study,
    vandal_run,
    well,
)
from ui.shared import transcript
from ui.shared.html import clipped, inert, label, pieces, safe, short_line

CSS = (shipped("ui") / "theme.css").read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder: a real puppet's run of four trials, and one of everything odd."""
    folder = tmp_path_factory.mktemp("runs")
    puppet_run(folder)
    vandal_run(folder)
    return folder


# --- reading a scene


def test_a_real_run_is_read_from_its_newest_trial(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="puppet")
    text = read(app)
    assert "Fair, Turning Finer" in text
    assert "a storm play for two and a stove" in text
    assert "from here on, improvised" in text
    assert text.index("Is it soup in that pot, or is it paint?") < text.index("improvised")
    assert "end of the scene" in text
    assert shown(app).count('<ol class="turns">') == 1, "one element, however long"
    assert shown(app).count('<li class="turn"') == 10
    assert address(app)["run"] == "puppet"
    assert len(address(app)["trial"]) == 12, "a link to what is shown"


def test_stepping_moves_the_mark_and_the_address(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="puppet")
    whole = [b for b in map(str, (e.proto.body for e in app.html)) if 'class="turns"' in b]
    app.button(key="next").click()
    well(app.run())
    app.button(key="next").click()
    well(app.run())
    assert address(app)["turn"] == "2"
    assert "#turn-2{--mark" in shown(app)
    again = [b for b in map(str, (e.proto.body for e in app.html)) if 'class="turns"' in b]
    assert whole == again, "the transcript itself is not sent anew"
    app.button(key="previous").click()
    well(app.run())
    assert address(app)["turn"] == "1"
    app.slider(key="slider").set_value(7)
    well(app.run())
    assert address(app)["turn"] == "7"


def test_so_far_hides_what_the_audience_has_not_heard(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="4", heard="1")
    assert "#turn-4~li{display:none}" in shown(app)
    app.segmented_control(key="shown").set_value("All")
    well(app.run())
    assert "display:none" not in style(app)
    assert "heard" not in address(app)


def test_play_turns_the_page_by_itself(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="3")
    app.button(key="play").click()
    well(app.run())
    assert app.button(key="pause").label == "Pause"
    assert "#turn-3~li{display:none}" in shown(app)
    # What the browser's timer does when the line has been read.
    app.session_state["due"] = time.monotonic() - 1
    well(app.run())
    assert address(app)["turn"] == "4"
    app.button(key="pause").click()
    well(app.run())
    assert app.button(key="play").label == "Play"


def test_the_authors_margin_can_be_closed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="vandal")
    assert "Note to Rufina" in read(app)
    assert "Reply could not be read" in read(app)
    app.toggle(key="margin").set_value(False)
    well(app.run())
    assert ".play .margin,.desk{display:none}" in style(app)
    assert address(app)["audience"] == "1"


def test_asides_silences_and_moves_are_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read(page(runs, monkeypatch, run="vandal"))
    assert "aside, heard by nobody on stage" in text
    assert "aside, to Rufina, who alone hears it" in text
    assert "says nothing" in text
    assert "Move: redemption" in text
    assert "Rufina breaks a habit" in text


# --- behind a line


def test_behind_a_line_stands_the_exact_prompt(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="3", behind="1")
    text = read(app)
    folder = open_run(runs, "puppet")
    row = folder.transcripts.trial(address(app)["trial"])
    call = next(
        c
        for c in folder.transcripts.calls(row["trial"])
        if c.draw.turn == 3 and c.draw.purpose == "line"
    )
    blocks = folder.tables.blocks(call.blocks)
    for i in call.blocks:
        assert inert(blocks[i].text) in text
    before = next(
        c
        for c in folder.transcripts.calls(row["trial"])
        if c.draw.turn == 1 and c.draw.purpose == "line"
    )
    fresh = len(call.blocks) - len(before.blocks)
    assert f"{len(call.blocks)} blocks, {fresh} of them new since turn 1" in text
    assert shown(app).count('class="new"') == fresh
    assert str(call.draw.seed) in text
    assert "max_tokens" in text
    assert f"{call.prompt_tokens:,} read" in text


def test_raw_reply_cuts_scores_and_cost_are_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = read(page(runs, monkeypatch, run="vandal", turn="1", behind="1"))
    assert "as the model wrote it" in text
    assert "cleaned by" in text
    assert "quotes" in text
    assert "habit: never asks: broken" in text
    assert "812 read (640 of them cached), 31 written" in text
    assert "1.25 s, 2 retries" in text
    assert "temperature 0.8" in re.sub(r"\s+", " ", text)
    text = read(page(runs, monkeypatch, run="vandal", turn="3", behind="1"))
    assert "No call is recorded" in text


def test_the_authors_call_is_there_only_with_its_margin(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="vandal", turn="1", behind="1")
    (choice,) = [c for c in app.segmented_control if c.label == "Which call"]
    choice.set_value(0)
    assert "What the author could see" in read(well(app.run()))
    app = page(runs, monkeypatch, run="vandal", turn="1", behind="1", audience="1")
    assert not [c for c in app.segmented_control if c.label == "Which call"]


def test_a_megabyte_is_offered_in_pieces(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="vandal", turn="5", behind="1")
    assert "more characters" in read(app)
    assert len(shown(app)) < 200_000
    assert max(len(c.value) for c in app.code) <= 20_000
    (pages,) = [p for p in app.pagination if p.key == "pages-reply"]
    pages.set_value(len(pieces(LONG)))
    well(app.run())
    assert pieces(LONG)[-1].strip() in {c.value.strip() for c in app.code}


# --- choosing, and links


def test_a_sibling_opens_at_the_same_turn(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="4")
    here = address(app)["trial"]
    control = app.segmented_control(key="sibling")
    folder = open_run(runs, "puppet")
    block = folder.transcripts.trial(here)["block"]
    others = [
        r["trial"]
        for r in folder.tables.read("trials").to_pylist()
        if r["block"] == block and r["trial"] != here
    ]
    control.set_value(others[0])
    well(app.run())
    assert address(app) == {"run": "puppet", "trial": others[0], "turn": "4"}


def test_the_filters_lead_to_what_fits(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet")
    app.selectbox(key="filter-condition").set_value("no author")
    well(app.run())
    assert (
        open_run(runs, "puppet").transcripts.trial(address(app)["trial"])["condition"]
        == "no author"
    )
    app.selectbox(key="filter-scene").set_value("parlour")
    well(app.run())
    row = open_run(runs, "puppet").transcripts.trial(address(app)["trial"])
    assert (row["scene"], row["condition"]) == ("parlour", "no author")


def test_choosing_a_run_opens_its_first_scene(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="4", behind="1")
    app.selectbox(key="run").set_value("vandal")
    well(app.run())
    assert set(address(app)) == {"run", "trial"}
    assert address(app)["run"] == "vandal"


def test_a_trial_can_be_linked_by_its_number(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="puppet", trial="2")
    assert open_run(runs, "puppet").transcripts.trial(address(app)["trial"])["index"] == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"run": "nowhere"}, "There is no run “nowhere”"),
        ({"run": "../../etc"}, "There is no run “../../etc”"),
        ({"run": "..", "trial": "0"}, "There is no run “..”"),
        ({"run": "puppet", "trial": "zzz"}, "no finished trial “zzz”"),
        ({"run": "puppet", "turn": "99"}, "no turn “99”"),
        ({"run": "puppet", "turn": "-1"}, "no turn “-1”"),
        ({"run": "puppet", "turn": "¹"}, "no turn “¹”"),
        ({"run": "puppet", "turn": "<b>"}, "no turn “<b>”"),
    ],
)
def test_a_wrong_link_is_told_and_leads_somewhere(
    runs: Path, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], message: str
) -> None:
    app = page(runs, monkeypatch, **query)
    assert message in read(app)
    assert address(app)["run"] in ("puppet", "vandal")
    assert "<b>" not in shown(app).replace("<b>system", "")


# --- states


def test_an_empty_house_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read(page(tmp_path / "none", monkeypatch))
    assert "The house is dark" in text
    assert "improv demo" in text


def test_an_empty_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_run(tmp_path, "empty")
    app = page(tmp_path, monkeypatch)
    assert "No scene is finished" in read(app)
    assert address(app) == {"run": "empty"}


def test_a_run_that_is_being_played_fills_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bare_run(tmp_path, "now", status="playing", trials=2)
    app = page(tmp_path, monkeypatch)
    assert "The actors are on" in read(app)
    trial = plan(the_study())[0].id
    keep(folder, [Turn(trial, MAIN, 1, 0, "line", "Rufina", "Sit down.")])
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3)
    well(app.run())
    assert "Sit down." in read(app)
    assert app.button(key="again").label == "Look again"


def test_a_failed_trial_shows_its_reason_and_its_last_call(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="vandal", turn="6", behind="1")
    text = read(app)
    assert "This scene broke off at turn 6 (timeout)" in text
    assert "Eliseo: no answer in 120 s" in text
    assert "The call failed." in text


def test_a_torn_run_is_told_not_thrown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = long_run(tmp_path, 3)
    shard = next(Path(folder.path).glob("shards/*.turns.parquet"))
    shard.write_bytes(b"PAR1 torn")
    assert "This cannot be read" in read(page(tmp_path, monkeypatch))


def test_a_study_of_another_version_leaves_its_scenes_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = long_run(tmp_path, 3)
    Path(folder.path, "study.yaml").write_text("{}")
    text = read(page(tmp_path, monkeypatch))
    assert "Fair, Turning Finer" in text
    assert "3. I have buried two mules" in text


# --- what is shown is inert


def test_nothing_hostile_reaches_the_page_as_markup(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in ("0", "1", "5", "6"):
        app = page(runs, monkeypatch, run="vandal", turn=turn, behind="1")
        drawn = shown(app)
        assert "&lt;script&gt;" in drawn
        for bad in ("<script", "<img", 'onerror="', "\u202e", "\u2066", "\x1b", "\x07", "[31m"):
            assert bad not in drawn
        assert not app.markdown, "no text of ours is Markdown"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, as ever", "plain, as ever"),
        ("a\u202eb\u2066c\u200ed", "abcd"),
        ("a\x1b[31mred\x1b[0m\x07\x00b", "aredb"),
        ("\x1b]8;;http://x\x07link", "link"),
        ("one\r\ntwo\u2028three", "one\ntwo\nthree"),
        ("z" + "\u0301" * 50, "z" + "\u0301" * 4),
        ("\u200dनमस्\u200dते 👩\u200d🚀", "नमस्\u200dते 👩\u200d🚀"),
        ("\ufeff\u2063x\U000e0041\ud800", "x"),
    ],
)
def test_inert_text_has_nothing_that_acts_unseen(text: str, seen: str) -> None:
    assert inert(text) == seen
    assert inert(seen) == seen


def test_text_helpers() -> None:
    assert safe("""<a b="c" d='e'>&""") == "&lt;a b=&quot;c&quot; d=&#x27;e&#x27;&gt;&amp;"
    assert clipped("abcdef", 4) == 'abcd <span class="more">… 2 more characters</span>'
    assert short_line("a\n b\t" + "c" * 100, 10) == "a b ccccc…"
    assert label("![x](http://y) :material/home: **b**").count("\\") >= 10
    assert "".join(pieces("x" * 45_001)) == "x" * 45_001
    assert pieces("") == [""]


# --- colour and speed


def test_every_colour_can_be_read_on_every_ground() -> None:
    pairs = dict(re.findall(r"--([\w]+): (light-dark\([^)]+\))", CSS))
    colour = {n: re.findall(r"#[0-9a-f]{6}", v) for n, v in pairs.items()}
    paper = ("#fbf8f1", "#16140f")
    for theme in (0, 1):
        grounds = [paper[theme], colour["leaf"][theme], colour["glow"][theme]]
        for name in ["ink", "faint", "accent", *(f"v{i}" for i in range(transcript.VOICE_COLOURS))]:
            for ground in grounds:
                assert contrast(colour[name][theme], ground) >= 4.5, (name, theme, ground)


def test_the_look_is_never_taken_for_markup() -> None:
    assert not re.search(r"<[a-zA-Z/!?]", CSS), "Streamlit would throw all of it out, unsaid"


def test_a_name_says_who_speaks_whatever_the_colour() -> None:
    turns = [Turn("t", MAIN, n, 0, "line", f"Voice {n}", "Hm.") for n in range(1, 13)]
    colours = transcript.voices(turns, None)
    assert set(colours.values()) == set(range(transcript.VOICE_COLOURS))
    row = {"status": "done", "failure_turn": None}
    drawn = transcript.transcript(turns, row, colours, [], "?run=x&trial=t", {})
    assert all(f">Voice {n}</span>" in drawn for n in range(1, 13))
    assert 'href="?run=x&amp;trial=t&amp;turn=3&amp;behind=1"' in drawn


def test_a_thousand_turns_are_set_in_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_run(tmp_path, 1000)
    app = page(tmp_path, monkeypatch)
    assert shown(app).count('<li class="turn"') == 1000
    app.button(key="next").click()
    began = time.process_time()
    well(app.run())
    assert time.process_time() - began < 1.0


def test_every_act_of_an_author_has_its_words() -> None:
    acts = tuple(Act(k, "Rufina", "x") for k in ("note", "cue", "move", "end", "nothing", "unread"))
    turns = [Turn("t", MAIN, 1, 0, "line", "Rufina", "Hm.", acts=acts)]
    drawn = transcript.transcript(turns, {"status": "done"}, {}, [], "?", {})
    assert drawn.count('class="act ') == len(acts)
    assert 'class="play noted"' in drawn
