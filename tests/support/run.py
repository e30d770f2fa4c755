"""What the tests of whole commands share: a study of ten trials, and a process that plays it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from improv.models.budget import Budget
from improv.models.puppet.server import PuppetServer
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import NULLABLE, SCHEMAS
from tests.support.weather import SCENE

Serve = Callable[..., PuppetServer]
OFF = Setup(ray="off")
TEN = Setup(ray="off", budget=Budget(calls=10))
PLAN = """\
plan:
  hypothesis: The author matters.
  outcome: {of: broken, measure: habit, of_whom: Ana}
  contrasts:
    - {name: live against none, plus: {author: live}, minus: {author: none}}
  controls:
    - {name: orders, equivalence: {plus: {order: round}, minus: {order: silence}, margin: .1}}
  blocks: 10
"""


def chairs(folder: Path, url: str | None, replicates: int = 10, **more: Any) -> Path:
    """Write a study of trials of six calls each."""
    (folder / "chairs.yaml").write_text(SCENE.replace("turns: 2", "turns: 6"))
    file = folder / "study.yaml"
    model: dict[str, Any] = {"model": "puppet"} | ({"base_url": url} if url else {})
    study = {"study": "chairs", "scenes": ["chairs.yaml"], "set": {"model": model}}
    file.write_text(json.dumps(study | {"replicates": replicates} | more, indent=1))
    return file


def change(folder: RunFolder, **changes: Any) -> None:
    folder.update(changes)


def improv(*words: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command in its own process group, as a shell does."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", "improv.cli", *words], start_new_session=True, **(pipes | more)
    )


def until(what: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def press(child: subprocess.Popen[str]) -> None:
    """Press Ctrl-C, and wait until the system has delivered it: it makes one signal of two that
    wait. Needs /proc."""
    child.send_signal(signal.SIGINT)
    status = Path(f"/proc/{child.pid}/status")

    while child.poll() is None and _pending(status.read_text()) & _SIGINT_BIT:
        time.sleep(0.001)


def _pending(status: str) -> int:
    return int(status.split("ShdPnd:")[1].split()[0], 16)


_SIGINT_BIT = 1 << (signal.SIGINT - 1)
HOSTED = [
    pytest.param(("--ray", "off"), id="off"),
    pytest.param((), id="ray", marks=pytest.mark.ray),
]
KEY = "sk-planted/0123456789-abcdefghij"


def whole_table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as one of a run's tables; what a row leaves out is empty, or 0."""
    empty = {
        field.name: _empty(field.type)
        for field in SCHEMAS[name]
        if field.name not in NULLABLE[name]
    }
    return pa.Table.from_pylist([empty | row for row in rows], SCHEMAS[name])


def _empty(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else pa.scalar(0, pa.int8()).cast(kind).as_py()
