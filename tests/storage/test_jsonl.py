"""Files of JSON lines: appended lines are read back, and a torn line spoils no other."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from improv.errors import RunError
from improv.folder import Folder
from improv.storage.jsonl import JsonLines, read_rows, read_whole_lines
from tests.support.disk import largest_file


def test_a_line_is_never_put_on_to_a_torn_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with JsonLines(Folder(file.parent), file.name) as lines:
        lines.append({"a": 1}, {"a": 2})
    file.write_bytes(file.read_bytes()[:-3])
    with JsonLines(Folder(file.parent), file.name) as lines:
        lines.append({"a": 3})
    assert file.read_bytes() == b'{"a":1}\n{"a":\n{"a":3}\n'
    assert list(read_rows(file.read_bytes())) == [{"a": 1}, {"a": 3}]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_no_object_is_no_row() -> None:
    assert list(read_rows(b'[1]\n\n7\nno\n{"a": 1}\n\xff\n{"b"')) == [{"a": 1}]


def test_whole_lines_are_read_on_from_where_reading_stopped(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"[1]\n[2")
    lines, end, torn = read_whole_lines(Folder(tmp_path), file.name)
    assert [*filter(None, lines)] == [b"[1]"] and end == 4 and torn
    file.write_bytes(b"[1]\n[2]\n")
    lines, end, torn = read_whole_lines(Folder(tmp_path), file.name, end)
    assert [*filter(None, lines)] == [b"[2]"] and end == 8 and not torn


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / "rows.jsonl").symlink_to(elsewhere)
    with pytest.raises(RunError, match=r"rows\.jsonl: is a symbolic link"):
        JsonLines(Folder(tmp_path), "rows.jsonl")
    assert not elsewhere.stat().st_size


def test_after_a_disk_was_full_the_next_line_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with JsonLines(Folder(file.parent), file.name) as lines:
        lines.append({"a": 1})
        with largest_file(10), pytest.raises(OSError):
            lines.append({"a": 2})
        lines.append({"a": 3})
    assert file.read_bytes() == b'{"a":1}\n{"\n{"a":3}\n'
    assert list(read_rows(file.read_bytes())) == [{"a": 1}, {"a": 3}]
