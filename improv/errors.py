"""Every way improv can fail, drawn as a tree.

    ImprovError                     a message for a person: the place, the value, what to do
    ├── StudyError                  a scene or study file is wrong; carries every problem found
    ├── ModelError                  a call to a model failed for good
    │   └── EndpointError           no call to this endpoint can succeed (key, quota, address)
    ├── RunError                    a run folder cannot be made, found, read or resumed
    └── MachineError                something this machine lacks: weights, Ray, a port

Only these cross a room's wall. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class ImprovError(Exception):
    """Base of all errors that improv raises on purpose.

    `exit_code` is what the command leaves with when the error reaches it.
    """

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file: where (1-based line and column), the path inside, and what."""

    file: str
    line: int
    column: int
    path: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.path}: {self.what}" if self.path else f"{place}: {self.what}"


class StudyError(ImprovError):
    """A scene or study file is wrong. `problems` lists everything found, in file order."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        super().__init__("\n".join(str(p) for p in self.problems))


class ErrorKind(StrEnum):
    """Why a call or a trial failed, or a session stopped, in a word for tables.

    A status of HTTP is a kind of its own: `ErrorKind("status 400")`.
    """

    NONE = ""
    # What an endpoint did, or did not do.
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    UNREADABLE = "unreadable"
    ENDLESS = "endless"
    UNSCORED = "unscored"
    """It gives no probabilities of tokens that were given to it."""
    # What every further call would meet as well.
    KEY = "key"
    CERTIFICATE = "certificate"
    QUOTA = "quota"
    MODEL = "model"
    """The model is not served there, or cannot be served here."""
    BUDGET = "budget"
    # What befell a trial.
    CHANGED = "changed"
    """This version of improv shows something else than the journal's call was shown."""
    UNREACHED = "unreached"
    """A branch whose fork its parent never came to."""
    INTERNAL = "internal"
    """A fault of improv's own."""
    # What stops a session.
    HALTED = "halted"
    DISK = "disk"
    RAY = "ray"
    HOSTS = "hosts"
    """No host is left, or a trial's hosts keep dying."""
    LOST = "lost"
    """Another process has taken the run over."""
    FAILURES = "failures"
    """More trials failed than `fail_on_error` allows."""
    HOPELESS = "hopeless"
    """Verdicts fail one after the other."""
    # What a record of another version says and this one does not know.
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> ErrorKind | None:
        if not isinstance(value, str) or not _STATUS.fullmatch(value):
            return None
        kind = str.__new__(cls, value)
        kind._name_, kind._value_ = value.upper().replace(" ", "_"), value
        return kind


_STATUS = re.compile(r"status -?\d+")


class ModelError(ImprovError):
    """A call to a model failed for good, after the client's own retries.

    `kind` says why in a word, for tables.
    """

    def __init__(self, message: str, *, kind: ErrorKind) -> None:
        super().__init__(message)
        self.kind = kind


SHARED = frozenset(
    {
        ErrorKind.KEY,
        ErrorKind.CERTIFICATE,
        ErrorKind.QUOTA,
        ErrorKind.MODEL,
        ErrorKind.BUDGET,
    }
)
"""Kinds of failure that every further call would share."""


class EndpointError(ModelError):
    """No call to this endpoint can succeed: a refused key, an exhausted quota, no such model."""


class RunError(ImprovError):
    """A run folder cannot be made, found, read, or resumed."""

    exit_code = 2


class MachineError(ImprovError):
    """This machine lacks something: the weights, Ray, a free port. The message says the remedy."""

    exit_code = 3


def folder_unwritable(error: OSError) -> str:
    """Return the message of a run that cannot write to its folder."""
    return f"the run's folder cannot be written: {error.strerror or error}"


def kind_of(word: str) -> ErrorKind:
    """Return the kind that a record names; UNKNOWN where another version of improv named it."""
    try:
        return ErrorKind(word)
    except ValueError:
        return ErrorKind.UNKNOWN


def error_line(kind: str, text: str) -> str:
    """Return an error for people: "kind: text", and nothing where there is none."""
    return f"{kind}: {text}" if kind else text


def read_error_line(line: str) -> tuple[ErrorKind, str]:
    """Return kind and text of an `error_line`, which is what runs kept as a call's `error` before
    calls had an `error_kind`."""
    if not line:
        return ErrorKind.NONE, ""
    word, colon, text = line.partition(": ")
    kind = kind_of(word) if word and colon else ErrorKind.UNKNOWN
    return (kind, line) if kind is ErrorKind.UNKNOWN else (kind, text)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
