"""What an input came to: fine, told in a sentence, or one of three things that may not be."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import ImprovError
from tests.support.places import TOP

Words = dict[str, Any]
"""One input, as JSON can hold it: an example is kept as a file of it."""
SECONDS = 10.0
BYTES = 2 * 2**30


class Outcome(StrEnum):
    FINE = "fine"
    TOLD = "told"
    TRACEBACK = "traceback"
    SLOW = "over 10 s"
    LARGE = "over 2 GiB"


BAD = (Outcome.TRACEBACK, Outcome.SLOW, Outcome.LARGE)


@dataclass(frozen=True)
class Kind:
    """One kind of input: how to make one, and how to try it.

    `attempt` gets an input, an empty folder for its files, and the folder that `prepare` has
    filled once. It returns where all is well, and raises whatever the program raises.
    """

    name: str
    what: str
    inputs: SearchStrategy[Words]
    attempt: Callable[[Words, Path, Path], None]
    prepare: Callable[[Path], None] = lambda shared: None
    quick: int = 40
    """Inputs of the quick turn."""


@dataclass(frozen=True)
class Result:
    """What became of one input. `where` is the same for all inputs that fail in one way."""

    outcome: Outcome
    where: str = ""
    text: str = ""
    seconds: float = 0.0
    peak: int = 0

    @property
    def bad(self) -> bool:
        return self.outcome in BAD


def attempt(kind: Kind, words: Words, place: Path, shared: Path) -> Result:
    """Try one input in this process."""
    try:
        kind.attempt(words, place, shared)
    except ImprovError as e:
        if not str(e).strip():
            return Result(Outcome.TRACEBACK, f"{type(e).__name__} without a sentence")
        return Result(Outcome.TOLD, text=str(e)[:2000])
    except MemoryError as e:
        return Result(Outcome.LARGE, _where(e), _text(e))
    except Exception as e:
        return Result(Outcome.TRACEBACK, _where(e), _text(e))
    return Result(Outcome.FINE)


def command(*words: str) -> str:
    """Run a command in this process and return what it printed. Raises ImprovError where it ends
    with a sentence, and whatever else it raises."""
    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if "Traceback (most recent call last)" in done.output:
        raise AssertionError(done.output[-3000:])
    if done.exit_code:
        raise ImprovError(done.output)
    return done.output


def _where(error: BaseException) -> str:
    """Return the class of an error and the last line of ours that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if Path(f.filename).is_relative_to(TOP) and ".venv" not in f.filename]
    program = [f for f in ours if "tests" not in Path(f.filename).relative_to(TOP).parts[:1]]
    last = (program or ours or list(frames))[-1:]
    place = "".join(f" in {Path(f.filename).name} {f.name}" for f in last)
    return f"{type(error).__name__}{place}"


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-4000:]
