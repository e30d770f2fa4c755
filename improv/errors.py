"""Every way improv can fail, drawn as a tree.

    ImprovError                     a message for a person: the place, the value, what to do
    ├── StudyError                  a scene or study file is wrong; carries every problem found
    ├── ModelError                  a call to a model failed for good
    │   └── EndpointError           no call to this endpoint can succeed (key, quota, address)
    ├── RunError                    a run folder cannot be made, found, read or resumed
    └── MachineError                something this machine lacks: weights, Ray, a port

A package raises only these for other packages to catch. Any other exception that escapes is a bug
and keeps its traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from improv.text import visible


class ImprovError(Exception):
    """Base of all errors that improv raises on purpose.

    `exit_code` is what the command leaves with when the error reaches it.
    """

    exit_code = 1

    def __str__(self) -> str:
        # The message may quote a file or a model, and a traceback prints it as it is.
        return visible(super().__str__())


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file: its line and column (from 1), the path of the value, and why."""

    file: str
    line: int
    column: int
    path: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.path}: {self.what}" if self.path else f"{place}: {self.what}"


class StudyError(ImprovError):
    """A scene or study file is wrong. `problems` lists all of them, in file order."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        super().__init__("\n".join(str(p) for p in self.problems))


class ErrorKind(StrEnum):
    """Why a call or a trial failed, or a session stopped: one word for tables.

    Each HTTP status is a kind too: `ErrorKind("status 400")`.
    """

    NONE = ""
    # What an endpoint did, or did not do.
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    UNREADABLE = "unreadable"
    ENDLESS = "endless"
    UNSCORED = "unscored"
    """The endpoint returns no probabilities for the tokens of a prompt."""
    # What would make every further call fail too.
    KEY = "key"
    CERTIFICATE = "certificate"
    QUOTA = "quota"
    MODEL = "model"
    """The model is not served there, or cannot be served here."""
    BUDGET = "budget"
    UNTRUSTED = "untrusted"
    """Nobody agreed to the address, or to the key, at the command."""
    # Why a trial failed.
    CHANGED = "changed"
    """This version of improv builds another prompt than the one in the journal."""
    UNREACHED = "unreached"
    """The parent of a branch never reached the turn of the fork."""
    INTERNAL = "internal"
    """A bug in improv."""
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
    """Too many verdicts fail one after the other."""
    DECIDED = "decided"
    """All planned contrasts are decided, and the session was to play until then."""
    # A kind that another version of improv wrote and this one does not know.
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
        ErrorKind.UNTRUSTED,
    }
)
"""The kinds of failure that every further call would repeat."""


def is_weather(kind: str) -> bool:
    """Return whether a failure of this kind may pass: the same call may succeed another time."""
    if kind in (ErrorKind.TIMEOUT, ErrorKind.CONNECTION, ErrorKind.UNREADABLE):
        return True
    status = kind.removeprefix("status ")
    return kind.startswith("status 5") or status in ("408", "409", "425", "429")


class EndpointError(ModelError):
    """No call to this endpoint can succeed: a refused key, an exhausted quota, no such model."""


class RunError(ImprovError):
    """A run folder cannot be made, found, read, or resumed."""

    exit_code = 2


class MachineError(ImprovError):
    """This machine lacks something: the weights, Ray, a free port. The message names the remedy."""

    exit_code = 3


def folder_unwritable(error: OSError) -> str:
    """Return the message of a run that cannot write to its folder."""
    return f"the run's folder cannot be written: {error.strerror or error}"


def kind_of(word: str) -> ErrorKind:
    """Return the kind that a record names, or UNKNOWN if this version does not know the word."""
    try:
        return ErrorKind(word)
    except ValueError:
        return ErrorKind.UNKNOWN


def error_line(kind: str, text: str) -> str:
    """Return an error for people as "kind: text", or only the text if there is no kind."""
    return f"{kind}: {text}" if kind else text


def read_error_line(line: str) -> tuple[ErrorKind, str]:
    """Return the kind and the text of an `error_line`. Older runs store such a line as a call's
    `error`, because their calls have no `error_kind`."""
    if not line:
        return ErrorKind.NONE, ""
    word, colon, text = line.partition(": ")
    kind = kind_of(word) if word and colon else ErrorKind.UNKNOWN
    return (kind, line) if kind is ErrorKind.UNKNOWN else (kind, text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
