"""The journal: appended calls are read back, also from a torn file."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from improv.folder import Folder
from improv.records import Block, Call, Draw
from improv.storage.journal import Journal, Journaled, parse_calls
from tests.support.call import made_call
from tests.support.disk import largest_file

CALL = made_call(
    Draw("t1", "main", 1, "Bo", "line"),
    blocks=("a", "b"),
    prompt_tokens=10,
    completion_tokens=2,
    cached_tokens=None,
    started=1.5,
    latency=0.25,
    retries=1,
    retried=("429",),
    served="m fp",
)


def grown(turns: int, role: str = "Bo", trial: str = "t1", script: bool = False) -> list[Call]:
    """Return calls of one thread: each prompt has the blocks of the last one and a few more."""
    calls = []
    blocks: tuple[str, ...] = ("head",)
    for turn in range(1, turns + 1):
        blocks = (*blocks, f"{role}-heard-{turn}")
        shown = (*blocks, "cue") if script else blocks
        calls.append(replace(CALL, draw=Draw(trial, "main", turn, role, "line"), blocks=shown))
        blocks = (*blocks, f"{role}-said-{turn}")
    return calls


def written(path: Path, calls: list[Call]) -> Path:
    journal = Journal(Folder(path), "h.jsonl")
    for call in calls:
        journal.append(call, [Block("x", "note", "A\nnote")])
    journal.close()
    return path / "h.jsonl"


@pytest.mark.parametrize("script", [False, True])
def test_calls_come_back_as_they_were(tmp_path: Path, script: bool) -> None:
    bo, ana = grown(40, script=script), grown(40, "Ana", script=script)
    calls = [c for pair in zip(bo, ana, strict=True) for c in pair]
    file = written(tmp_path, calls)
    assert list(Journaled(Folder(tmp_path)).refresh().calls()) == calls
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_long_scene_does_not_swell_its_journal(tmp_path: Path) -> None:
    one = written(tmp_path, grown(100)).stat().st_size
    two = (tmp_path / "two").resolve()
    two.mkdir()
    # Whole lists of blocks would grow with the square of the turns.
    assert written(two, grown(200)).stat().st_size < 2.2 * one


def test_what_comes_after_a_trial_was_forgotten_stands_on_its_own(tmp_path: Path) -> None:
    calls = grown(20)
    journal = Journal(Folder(tmp_path), "h.jsonl")
    for call in calls:
        if call is calls[10]:
            journal.forget("t1")
        journal.append(call, ())
    journal.close()
    assert list(Journaled(Folder(tmp_path)).refresh().calls()) == calls
    shared = [line[1][0] for line in map(orjson.loads, (tmp_path / "h.jsonl").open())]
    assert [i for i, n in enumerate(shared) if not n] == [0, 10]


@pytest.mark.parametrize("cut", [1, 7, 60, 200])
def test_a_torn_end_costs_the_last_call_alone(tmp_path: Path, cut: int) -> None:
    calls = grown(20)
    file = written(tmp_path, calls)
    file.write_bytes(file.read_bytes()[:-cut])
    whole = list(Journaled(Folder(tmp_path)).refresh().calls())
    assert whole == calls[: len(whole)] and len(whole) >= 18


def test_a_line_lost_in_the_middle_takes_along_only_what_builds_on_it(tmp_path: Path) -> None:
    bo, ana = grown(20), grown(20, "Ana")
    file = written(tmp_path, [*bo[:10], *ana, *bo[10:]])
    lines = file.read_bytes().split(b"\n")
    at = next(i for i, line in enumerate(lines) if line.startswith(b'[["t1","main",5,"Bo"'))
    lines[at] = lines[at][:25]
    file.write_bytes(b"\n".join(lines))
    journal = Journaled(Folder(tmp_path)).refresh()
    calls = list(journal.calls())
    # No call has other blocks than it had. Calls that share blocks with a lost one are made again.
    assert all(c in bo or c in ana for c in calls)
    assert [c for c in calls if c.draw.role == "Ana"] == ana
    assert [c.draw.turn for c in calls if c.draw.role == "Bo"] == [1, 2, 3, 4]
    assert journal.strange == {file: 1}


def test_after_a_failed_write_the_next_line_stands_on_its_own(tmp_path: Path) -> None:
    calls = grown(3)
    journal = Journal(Folder(tmp_path), "h.jsonl")
    journal.append(calls[0], [])
    with largest_file((tmp_path / "h.jsonl").stat().st_size + 20), pytest.raises(OSError):
        journal.append(calls[1], [])
    journal.append(calls[2], [])
    journal.close()
    assert list(Journaled(Folder(tmp_path)).refresh().calls()) == [calls[0], calls[2]]


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    calls = grown(6)
    journal = Journal(Folder(tmp_path), "h.jsonl")
    journal.append(calls[0], [])
    known = Journaled(Folder(tmp_path)).refresh()
    assert list(known.calls()) == calls[:1]
    for call in calls[1:]:
        journal.append(call, [])
    assert list(known.refresh().calls()) == calls
    assert known.lines_of("t2") == [] and parse_calls(known.lines_of("t1")) == calls
    journal.close()


def test_foreign_files_do_no_harm(tmp_path: Path) -> None:
    calls = grown(2)
    written(tmp_path, calls)
    (tmp_path / "z.jsonl").write_bytes(b'{"a": 1}\n\xff\xfe\n[["t1"]\n[["t1",2],[0,[]],[]]\n[[[\n')
    journal = Journaled(Folder(tmp_path)).refresh()
    assert list(journal.calls()) == calls
    assert journal.strange[tmp_path / "z.jsonl"] >= 3
