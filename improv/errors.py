"""Every way improv can fail, drawn as a tree.

    ImprovError                     a message for a person: the place, the value, what to do
    ├── StudyError                  a scene or study file is wrong; carries every problem found
    ├── PromptError                 a prompt cannot be built (too long for its model, say)
    ├── ModelError                  a call to a model failed for good
    │   └── EndpointError           no call to this endpoint can succeed (key, quota, address)
    ├── RunError                    a run folder cannot be made, found, read or resumed
    └── MachineError                something this machine lacks: weights, Ray, a port

Only these cross a room's wall. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass


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


class PromptError(ImprovError):
    """A prompt cannot be built for the model that should read it."""


class ModelError(ImprovError):
    """A call to a model failed for good, after the client's own retries.

    `kind` is one word for tables (timeout, connection, status, unreadable, ...).
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


SHARED = frozenset({"key", "certificate", "quota", "model", "budget"})
"""Kinds of failure that every further call would share."""


class EndpointError(ModelError):
    """No call to this endpoint can succeed: a refused key, an exhausted quota, no such model."""


class RunError(ImprovError):
    """A run folder cannot be made, found, read, or resumed."""

    exit_code = 2


class MachineError(ImprovError):
    """This machine lacks something: the weights, Ray, a free port. The message says the remedy."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
