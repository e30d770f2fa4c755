"""Hostile text in every place that a command prints: no control character reaches the reader."""

from __future__ import annotations

import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import ErrorKind, ModelError, Problem, StudyError
from improv.import_path import child_environment
from improv.output import CleanStream, cleaned_output, logger
from improv.storage.table_rules import KNOWN_WORDS
from tests.support.places import CARDS, TOP
from tests.support.weather import SCENE, command

HOSTILE = (
    "\x1b]0;PWNED\x07\x1b[2J\x1b[8m\x1b[1A\x9b31m\x9d0;x\x9c\x1bP1$r\x1b\\\r\x08\x00\x7f"
    "\u202eevil\u2066\u200b\u200f\u2060\ufeff\U000e0041[bold red]x[/bold red][/][link=http://x]"
)
"""Titles, clearing, concealing, C1 controls, direction of writing, tags, and Rich's markup."""
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
OWN = re.compile("\x1b\\[(?:0|1|2|3|31|32|33|35|36|38;[25];[0-9;]+|[0-9;]*;[0-9;]+)m|\r\n")
"""The colours that improv uses itself, and how a terminal ends a line."""


def clean(text: str) -> None:
    assert not FORBIDDEN.search(text), repr(text[:2000])


def hostile(value: object) -> object:
    """Return a value of JSON or of a table whose every text is hostile."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [hostile(v) for v in value]
    if isinstance(value, dict):
        return {k: hostile(v) for k, v in value.items()}
    return value


# `params` and `edit` are JSON in a column.
JOINED = {
    "trial",
    "branch",
    "id",
    "blocks",
    "origin",
    "parent",
    "status",
    "measure",
    "levels",
    "params",
    "edit",
    *(column.partition(".")[0] for _, column in KNOWN_WORDS),
}
"""Columns by which tables are joined, and words that must be known, are spoiled one by one."""


def spoil(table: Path, wanted: Callable[[str], bool]) -> None:
    """Append hostile text to each text of a table's columns."""
    rows = pq.read_table(table)
    for i, field in enumerate(rows.schema):
        if wanted(field.name):
            values = [hostile(v) for v in rows.column(i).to_pylist()]
            rows = rows.set_column(i, field, pa.array(values, field.type))
    pq.write_table(rows, table)


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A copy of the sample run, hostile in every text that no other table refers to."""
    run = tmp_path / "r" / "esc"
    shutil.copytree(TOP / "runs" / "sample", run)
    for table in run.glob("*.parquet"):
        spoil(table, lambda name: name not in JOINED)
    meta = orjson.loads((run / "run.json").read_bytes())
    for key in ("study", "scenes", "conditions", "models", "versions", "stopped", "platform"):
        meta[key] = hostile(meta[key])
    (run / "run.json").write_bytes(orjson.dumps(meta))
    return run


READING = [
    ("list",),
    ("show", "esc"),
    ("show", "esc/0", "--notes", "--prompts"),
    ("show", "esc/" + HOSTILE),
    ("show", HOSTILE.replace("\0", "")),
    ("report", "esc"),
    ("graph", "esc"),
    ("graph", "esc", "--kinds", HOSTILE),
    ("graph", "esc", "-o", "x" + HOSTILE.replace("\0", "").replace("/", "")),
    ("score", "esc", "--judge", "puppet"),
    ("score", "esc", "--measure", HOSTILE),
    ("replay", "esc"),
    ("resume", "esc", "--ray", "off"),
    ("resume", "esc", "--ray", "off", "--anyway"),
    ("branch", "esc/0@2", "--edit", f"line={HOSTILE}", "--anyway"),
    ("branch", "esc/0@2", "--edit", f"{HOSTILE}={HOSTILE}"),
    ("export", "esc", "--to", "chat"),
    ("export", "esc", "--to", HOSTILE),
]


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words)[:24].split("\x1b")[0])
def test_a_hostile_run_is_printed_clean(
    spoiled: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(spoiled.parent.parent)
    done = command(*words, "--runs", "r", code=None)
    clean(done.output)
    assert done.output.strip()
    if words[1:] == ("esc/0", "--notes", "--prompts"):
        assert "[bold red]x[/bold red][/][link=http://x]" in done.output.replace("\n", "")


@pytest.mark.parametrize("column", sorted(JOINED))
def test_a_hostile_key_is_printed_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    run = tmp_path / "r" / "esc"
    shutil.copytree(TOP / "runs" / "sample", run)
    for table in run.glob("*.parquet"):
        spoil(table, lambda name: name == column)
    monkeypatch.chdir(tmp_path)
    for words in (("show", "esc"), ("show", "esc/0", "--notes", "--prompts")):
        clean(CliRunner().invoke(app, [*words, "--runs", "r"]).output)


def hostile_study() -> dict[str, object]:
    scene = yaml.safe_load(SCENE)
    return {"title": "T", "scenes": [hostile(scene)], "factors": [], "model": HOSTILE} | {
        HOSTILE: HOSTILE
    }


FILES: dict[str, Callable[[], str]] = {
    "study.yaml": lambda: yaml.safe_dump(hostile_study()),
    "scene.yaml": lambda: yaml.safe_dump(hostile(yaml.safe_load(SCENE)) | {"model": "puppet"}),
    "card.json": lambda: orjson.dumps(
        hostile(orjson.loads((CARDS / "v2.json").read_bytes()))
    ).decode(),
    "play.fountain": lambda: f"INT. {HOSTILE}\n\nANA{HOSTILE}\n{HOSTILE}\n\nBO\nYes.\n",
}
WRITING = [
    ("validate", "study.yaml", "scene.yaml"),
    ("run", "study.yaml", "--ray", "off"),
    ("run", "scene.yaml", "--ray", "off"),
    ("run", "scene.yaml", "--dry-run"),
    ("run", "scene.yaml", "--mode", HOSTILE),
    ("run", "scene.yaml", "--base-url", f"http://127.0.0.1:9/{HOSTILE}", "--ray", "off"),
    ("power", "study.yaml"),
    ("import-card", "card.json"),
    ("import-card", HOSTILE),
    ("import-fountain", "play.fountain"),
    ("export-card", "scene.yaml"),
    ("export-card", "scene.yaml", f"Ana{HOSTILE}"),
    ("new", "scene", HOSTILE),
    ("doctor", "--ray", HOSTILE, "--runs", "r" + HOSTILE),
    ("run", "scene.yaml", "--turns", HOSTILE),
    (HOSTILE,),
]


@pytest.mark.parametrize("words", WRITING, ids=lambda words: " ".join(words)[:24].split("\x1b")[0])
def test_a_hostile_file_is_answered_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text(), encoding="utf-8")
    done = command(*words, code=None)
    clean(done.output)
    assert done.output.strip()


def test_a_card_that_cannot_be_printed_whole_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"name": "Ana", "extensions": {"kept": "a\u202eb"}}
    Path("c.json").write_text(orjson.dumps({"spec": "chara_card_v2", "data": data}).decode())
    done = command("import-card", "c.json")
    clean(done.output)
    assert "with -o FILE" in done.stderr
    command("import-card", "c.json", "-o", "s.yaml")
    assert "\u202e" in Path("s.yaml").read_text(encoding="utf-8")


def on_a_terminal(*words: str, cwd: Path, text: str = "") -> str:
    """Return what a command writes to a terminal."""
    master, slave = pty.openpty()
    line = [sys.executable, *(("-c", text) if text else ("-m", "improv.cli", *words))]
    env = child_environment() | {"TERM": "xterm-256color", "COLUMNS": "100"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(line, cwd=cwd, env=env, stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    parts = list(_parts(master))
    process.wait()
    os.close(master)
    return b"".join(parts).decode()


def _parts(master: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(master, 65_536)
        except OSError:
            return  # the other end is closed
        if not part:
            return
        yield part


def test_a_terminal_gets_the_colours_of_the_program_and_no_others(spoiled: Path) -> None:
    home = spoiled.parent.parent
    for words in (("show", "esc/0", "--notes", "--prompts"), ("list",), ("show", "esc")):
        shown = on_a_terminal(*words, "--runs", "r", cwd=home)
        assert OWN.search(shown)
        clean(OWN.sub("", shown))
    assert "\x1b[" in on_a_terminal("--help", cwd=home)
    assert "\x1b[" in on_a_terminal("show", "--help", cwd=home)
    clean(on_a_terminal("show", "--" + HOSTILE.replace("\0", ""), cwd=home).replace("\r\n", ""))


def test_the_bars_of_a_run_take_no_markup_from_a_condition(tmp_path: Path) -> None:
    scene = yaml.safe_load(SCENE)
    name = f"{HOSTILE}[/nothing]"
    study = {
        "title": "T",
        "scenes": [scene],
        "factors": [{"name": "f", "levels": {name: {"turns": 1}, "b": {"turns": 2}}}],
        "model": "puppet",
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    shown = on_a_terminal("run", "s.yaml", "--ray", "off", "--runs", "r", cwd=tmp_path)
    assert "Traceback" not in shown
    moves = re.compile(r"\x1b\[(?:\?25[lh]|2K|1A)|\r")
    clean(moves.sub("", OWN.sub("", shown)).replace("\x1b[1A", ""))


def test_an_exception_that_nobody_catches_is_printed_clean(tmp_path: Path) -> None:
    code = (
        "import sys; from improv.output import clean_output; clean_output(); "
        f"print({HOSTILE!r}); print({HOSTILE!r}, file=sys.__stderr__); "
        f"import logging, warnings; logging.warning({HOSTILE!r}); warnings.warn({HOSTILE!r}); "
        f"raise ValueError({HOSTILE!r} + chr(0xd800))"
    )
    shown = on_a_terminal(cwd=tmp_path, text=code)
    assert shown.count("evil") >= 5
    clean(shown.replace("\r\n", ""))


def test_an_error_of_improv_is_clean_for_a_program_that_prints_it() -> None:
    errors = [
        ModelError(HOSTILE, kind=ErrorKind.KEY),
        StudyError([Problem(HOSTILE, 1, 1, HOSTILE, HOSTILE)]),
    ]
    for error in errors:
        clean(str(error))
        clean("".join(traceback.format_exception(error)))


def test_a_message_of_the_log_is_clean_wherever_it_goes() -> None:
    sink = StringIO()
    handler = logging.StreamHandler(sink)
    logger().addHandler(handler)
    try:
        logger().warning("%s is set aside", HOSTILE)
    finally:
        logger().removeHandler(handler)
    assert sink.getvalue().endswith("is set aside\n")
    clean(sink.getvalue())


def test_a_clean_stream_has_no_way_around_it() -> None:
    stream = CleanStream(StringIO())
    for name in ("buffer", "detach"):
        assert not hasattr(stream, name)
    stream.writelines([HOSTILE, "b"])
    clean(stream.raw.getvalue())  # type: ignore[attr-defined]
    before = sys.stdout
    with cleaned_output():
        assert isinstance(sys.stdout, CleanStream)
    assert sys.stdout is before


def test_only_the_writer_makes_consoles_and_knows_the_raw_streams() -> None:
    ways = re.compile(r"\bConsole\(\w*\)|\.buffer\b|os\.write\(|sys\.__std|StreamHandler")
    own = {"improv/cli/console.py", "improv/output.py"}
    sources = [*(TOP / "improv").rglob("*.py"), *(TOP / "ui").rglob("*.py")]
    writers = {
        f"{name}: {line.strip()}"
        for file in sources
        if (name := str(file.relative_to(TOP))) not in own
        for line in file.read_text(encoding="utf-8").splitlines()
        if ways.search(line)
    }
    assert writers == {
        "improv/storage/jsonl.py: data = data[os.write(self._file, data) :]",
        # It ends a program that is held, maybe by the writer itself, with a message of our own.
        "improv/interrupts.py: os.write(2, message.encode())",
    }
