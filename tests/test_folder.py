"""A folder's files are reached through no link, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from improv.errors import RunError
from improv.files import check_writable, create_file, make_folder, remove_file, write_file
from improv.folder import Folder

OPENERS: dict[str, Callable[[Folder, str], object]] = {
    "read": lambda folder, name: folder.read(name),
    "write": lambda folder, name: folder.write(name, b"new"),
    "append": lambda folder, name: folder.open_to_append(name),
    "in place": lambda folder, name: folder.open_in_place(name, make=True),
    "is_file": lambda folder, name: folder.is_file(name),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    victim = tmp_path / "elsewhere" / "victim"
    victim.write_text("precious")
    return victim


@pytest.fixture
def folder(tmp_path: Path, victim: Path) -> Folder:
    (tmp_path / "runs" / "r" / "part").mkdir(parents=True)
    return Folder(tmp_path / "runs", "r")


@pytest.mark.parametrize("use", OPENERS)
def test_a_link_is_refused_by_name(use: str, folder: Folder, victim: Path) -> None:
    (folder.path / "file").symlink_to(victim)
    (folder.path / "gone").symlink_to(victim.with_name("gone"))
    (folder.path / "way").symlink_to(victim.parent)
    for name in ("file", "gone", "way/victim", "way/new"):
        with pytest.raises(RunError, match=r"r/(file|gone|way): is a symbolic link.*put the f"):
            OPENERS[use](folder, name)
    linked = Folder(folder.trusted, "linked")
    linked.path.symlink_to(folder.path)
    with pytest.raises(RunError, match="linked: is a symbolic link"):
        OPENERS[use](linked, "new")
    assert victim.read_text() == "precious" and [*victim.parent.iterdir()] == [victim]


@pytest.mark.parametrize("use", OPENERS)
def test_what_is_no_file_is_refused_and_never_waited_for(use: str, folder: Folder) -> None:
    os.mkfifo(folder.path / "pipe")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder.path / "socket"))
    for name, what in (("pipe", "a named pipe"), ("socket", "a socket"), ("part", "a folder")):
        if (use, name) == ("is_file", "part"):
            assert not folder.is_file(name)
            continue
        with pytest.raises(RunError, match=f"{name}: is {what}, where a file should be"):
            OPENERS[use](folder, name)


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/x", "a//b", ".", "a\0b"])
def test_no_name_leads_out(name: str, folder: Folder) -> None:
    for use in OPENERS.values():
        with pytest.raises(RunError, match="is not the name of a file"):
            use(folder, name)


def test_a_file_with_a_second_name_is_replaced_and_not_appended_to(
    folder: Folder, victim: Path
) -> None:
    for name in ("file", "lines"):
        os.link(victim, folder.path / name)
    folder.write("file", b"new")
    assert folder.read("file") == b"new"
    with pytest.raises(RunError, match="lines: has a second name"):
        folder.open_to_append("lines")
    folder.remove("lines")
    os.close(folder.open_to_append("lines"))
    assert victim.read_text() == "precious"


def test_a_file_is_written_whole_or_not_at_all(folder: Folder) -> None:
    folder.write("file", b"old")
    with folder.writing("file") as sink:
        sink.write(b"new")
        assert folder.read("file") == b"old"
    with contextlib.suppress(ZeroDivisionError), folder.writing("file") as sink:
        sink.write(b"part")
        raise ZeroDivisionError
    assert folder.read("file") == b"new"
    folder.create("new", b"1")
    with pytest.raises(FileExistsError):
        folder.create("new", b"2")
    assert stat.S_IMODE((folder.path / "file").stat().st_mode) == 0o600
    assert [e.name for e in folder.entries()] == ["file", "new", "part"]
    assert folder.entries("nowhere") == [] and folder.entry("nowhere/x") is None


def test_links_are_removed_and_renamed_themselves(folder: Folder, victim: Path) -> None:
    (folder.path / "a").symlink_to(victim)
    folder.write("b", b"mine")
    folder.rename("b", "a")
    assert folder.read("a") == b"mine"
    (folder.path / "b").symlink_to(victim)
    folder.remove("b")
    folder.remove("b")
    assert victim.read_text() == "precious"


def test_a_users_own_link_is_followed_to_the_output(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "out.html").symlink_to(victim)
    (tmp_path / "way").symlink_to(victim.parent)
    (tmp_path / "new.html").symlink_to(victim.with_name("new"))
    victim.chmod(0o640)
    for name in ("out.html", "way/victim", "new.html"):
        check_writable(str(tmp_path / name))
        write_file(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert (tmp_path / "out.html").is_symlink() and stat.S_IMODE(victim.stat().st_mode) == 0o640
    assert victim.with_name("new").read_text() == "new.html"
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(RunError, match="cannot be written"):
        write_file(tmp_path / "round", "x")
    write_file("/dev/null", "x")
    assert not Path("/dev/null").is_file()


def test_an_output_in_a_run_goes_through_no_link(folder: Folder, victim: Path) -> None:
    folder.write("run.json", b"{}")
    run = folder.path
    (run / "out.html").symlink_to(victim)
    (run / "way").symlink_to(victim.parent)
    (run.parent / "mine").symlink_to(run / "part")
    (run / "part" / "out.html").symlink_to(victim)
    (run.parent / "own.html").symlink_to(run / "out.html")
    for name in ("r/out.html", "r/way/victim", "mine/out.html", "own.html", "r/part/../out.html"):
        with pytest.raises(RunError, match="is a symbolic link, which improv does not follow"):
            write_file(run.parent / name, "x")
        with pytest.raises(RunError, match="is a symbolic link"):
            check_writable(str(run.parent / name))
    with pytest.raises(RunError, match="way: is a symbolic link"):
        make_folder(run / "way" / "more")
    with pytest.raises(FileExistsError):
        create_file(run / "out.html", "x")
    make_folder(run / "site" / "deep")
    make_folder(run)
    write_file(run / "site" / "deep" / "out.html", "x")
    remove_file(run / "out.html")
    assert victim.read_text() == "precious" and [*victim.parent.iterdir()] == [victim]
