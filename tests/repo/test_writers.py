"""Only `improv.folder` opens files for writing, so that no link in a run is ever written through.

What looks like a write elsewhere is named here with the reason why it is none into a run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
OWNER = "improv/folder.py"

ALLOWED = {
    ("improv/cli/options.py", "os.open"): "the null device takes the rest of the output",
    ("improv/export/block_store.py", ".open"): "files of a temporary folder of its own",
    ("improv/files.py", ".open"): "a device or pipe of the user's",
    ("improv/files.py", ".mkdir"): "a folder that the user names outside of any run",
    ("improv/runner/doctor.py", ".create_dir"): "a folder of runs on an object store",
    ("improv/runner/doctor.py", ".delete_file"): "a folder of runs on an object store",
    ("improv/runner/doctor.py", ".open_output_stream"): "a folder of runs on an object store",
    ("improv/storage/run_folder.py", ".rmtree"): "the run that was made just now",
}
"""A file and what it calls: the reason."""

WRITES = {
    *{"write_text", "write_bytes", "touch", "mkdir", "makedirs", "symlink_to", "hardlink_to"},
    *{"create_dir", "copy_file", "delete_file", "open_output_stream", "open_append_stream"},
    *{"NamedTemporaryFile", "TemporaryFile", "mkstemp", "FileHandler", "RotatingFileHandler"},
    *{"savefig", "to_parquet", "to_csv", "tofile", "savez", "savetxt", "rmtree", "copytree"},
}
"""Names of functions and methods that write to a path."""
OS = {
    *{"open", "link", "symlink", "rename", "replace", "renames", "mkdir", "mknod", "mkfifo"},
    "truncate",
}
SHUTIL = {"copy", "copy2", "copyfile", "move", "make_archive", "unpack_archive"}
SINKS = {"write_table": 1, "ParquetWriter": 0, "new_file": 0, "new_stream": 0, "write_feather": 1}
"""Writers of tables, and the place of the argument that is an open file, called `sink`, `buffer`,
`whole` or `blocks`, and never a path."""
OPEN_FILES = {"sink", "buffer", "whole", "blocks"}


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every call that opens a file for writing, or may."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call, method = node.func, isinstance(node.func, ast.Attribute)
        name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
        home = call.value.id if isinstance(call, ast.Attribute) and _is_name(call.value) else ""
        if (home == "os" and name in OS) or (home == "shutil" and name in SHUTIL):
            yield node.lineno, f"{home}.{name}"
        elif name in WRITES:
            yield node.lineno, f".{name}" if method else name
        elif name in SINKS and home not in OPEN_FILES:
            sink = node.args[SINKS[name]] if len(node.args) > SINKS[name] else None
            if not (isinstance(sink, ast.Name) and sink.id in OPEN_FILES):
                yield node.lineno, f".{name}" if method else name
        elif name in ("open", "ZipFile", "OSFile", "memory_map") and home != "tarfile":
            mode = _mode(node, 0 if name == "open" and method and home not in ("io", "os") else 1)
            if set(mode) & set("wax+?"):
                yield node.lineno, f".{name}" if method else name


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def _mode(node: ast.Call, place: int) -> str:
    """Return the mode of a call of `open`, "?" if it cannot be seen."""
    for keyword in node.keywords:
        if keyword.arg == "mode":
            value = keyword.value
            return value.value if isinstance(value, ast.Constant) else "?"
    if len(node.args) <= place:
        return "r"
    value = node.args[place]
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) and len(value.value) < 4 else "r"
    return "r" if place == 0 else "?"


def _files() -> list[Path]:
    return [f for part in ("improv", "ui") for f in sorted((TOP / part).rglob("*.py"))]


def test_only_one_module_opens_files_for_writing() -> None:
    strangers, used = [], set()
    for file in _files():
        where = file.relative_to(TOP).as_posix()
        if where == OWNER:
            continue
        for line, name in writes(ast.parse(file.read_text(encoding="utf-8"))):
            if (where, name) in ALLOWED:
                used.add((where, name))
            else:
                strangers.append(f"{where}:{line}: {name}; write through improv.folder or files")
    assert not strangers, "\n".join(strangers)
    assert used == set(ALLOWED), "some reasons are no longer needed"


@pytest.mark.parametrize(
    "code",
    [
        'open("a", "w")',
        'open("a", mode="ab")',
        "open(a, how)",
        'Path("a").open("x")',
        'a.open("r+b", buffering=0)',
        'Path("a").write_text("x")',
        'a.write_bytes(b"")',
        "pq.write_table(table, path)",
        'pq.ParquetWriter("a", schema)',
        "os.open(a, flags)",
        "os.replace(a, b)",
        "shutil.move(a, b)",
        'zipfile.ZipFile(a, "w")',
        "tempfile.NamedTemporaryFile(dir=folder)",
        "fs.open_output_stream(a)",
        "frame.to_parquet(a)",
    ],
)
def test_a_write_is_seen(code: str) -> None:
    assert len(list(writes(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    ["open(a)", 'a.open("rb")', "a.open()", "pq.write_table(table, sink)", "webbrowser.open(url)"],
)
def test_a_reader_is_let_be(code: str) -> None:
    assert not list(writes(ast.parse(code)))
