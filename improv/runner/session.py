"""What a session of playing is told, what it owes, and how it stands. Plain data.

A run may take several sessions: each plays what the folder does not hold yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from improv.errors import ErrorKind
from improv.models.budget import Budget
from improv.records import TrialOutcome
from improv.study.branch import Branch
from improv.study.trial import Trial

LIVES = 3
"""How often a trial may lose its host before it is given up for this session."""


@dataclass(frozen=True)
class Setup:
    """How a study is played, none of which changes what is drawn: `ray` is "local", "off", or a
    cluster's address; `hosts` and `stages` (at once in each) are chosen where they are None.

    `fail_on_error` is the share of failed trials that stops a run. `trusted` are addresses that
    a study may name and have the key sent to; `anyway` resumes a run that has changed since.
    """

    ray: str = "local"
    hosts: int | None = None
    stages: int | None = None
    connections: int = 64
    limit: int | None = None
    budget: Budget = field(default_factory=Budget)
    fail_on_error: float | None = None
    trusted: tuple[str, ...] = ()
    anyway: bool = False


@dataclass
class Progress:
    """How a session stands, for whoever shows it. Branches count as trials of their condition."""

    planned: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    calls: int = 0
    tokens: int = 0
    stopping: bool = False
    """Whether somebody interrupted it."""
    began: float = field(default_factory=time.monotonic)

    def count(self, outcome: TrialOutcome) -> None:
        missed = outcome.failure is not None and outcome.failure.kind != ErrorKind.UNREACHED
        table = self.failed if missed else self.done
        table[outcome.condition] = table.get(outcome.condition, 0) + 1
        self.turns += outcome.turns
        self.calls += outcome.calls
        self.tokens += outcome.completion_tokens

    @property
    def over(self) -> int:
        return sum(self.done.values()) + sum(self.failed.values())

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.began, 1e-9)


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What is owed of one trial: itself, or only some of its branches."""

    trial: Trial
    main: bool
    branches: tuple[Branch, ...] = ()

    @property
    def size(self) -> int:
        return self.main + len(self.branches)
