"""The plain data of a session: its setup, the work that it owes, and its progress.

A run may take several sessions. Each one plays what the run's folder does not hold yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from improv.errors import ErrorKind
from improv.models.budget import Budget
from improv.records import Delivery, TrialOutcome
from improv.study.branch import Branch
from improv.study.limits import MAX_TRIALS
from improv.study.model_spec import Price
from improv.study.trial import Trial

LIVES = 3
"""How many hosts may die with a trial before the session gives the trial up."""


@dataclass(frozen=True)
class Setup:
    """How a study is played. Nothing here changes what is drawn.

    `ray` is "local", "off", or a cluster's address. `hosts` is the number of hosts and `stages` the
    number of scenes that each one plays at once; None lets improv choose. `connections` is the
    number of requests in flight to one endpoint, and `limit` the number of trials. `fail_on_error`
    is the share of failed trials above which a run stops. `trusted` are addresses that a study may
    send the key to. `anyway` plays on a run although its study or program has changed.
    `max_trials` is the most trials, branches included, that a study may ask for. `failed` plays all
    failed trials again, not only those whose failure may pass. `price` is for models to which the
    study gives none; it is kept with the run. With `batch`, calls to remote endpoints are sent in
    batches. `until_decided` plays up to each look of the plan and stops when all is decided;
    `to_the_end` resumes such a run and plays all of it.
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
    max_trials: int = MAX_TRIALS
    price: Price | None = None
    batch: bool = False
    failed: bool = False
    until_decided: bool = False
    to_the_end: bool = False


@dataclass
class Progress:
    """The progress of a session, for the display. A branch counts as a trial of its condition.

    `planned`, `done` and `failed` count trials by condition; `tokens` are completion tokens.
    """

    planned: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    calls: int = 0
    tokens: int = 0
    estimated: int = 0
    """Calls whose tokens are estimated, because their endpoint does not count them."""
    delivery: dict[str, Delivery] = field(default_factory=dict)
    """What did not arrive, by condition."""
    batches: tuple[int, int, int] = (0, 0, 0)
    """How many batches are waited for, their requests, and how many of these are answered."""
    stopping: bool = False
    """Whether the user interrupted the session."""
    look: str = ""
    """What the last look at the results said, in a session that plays until all is decided."""
    began: float = field(default_factory=time.monotonic)

    def count(self, outcome: TrialOutcome) -> None:
        """Count a trial or branch. One whose parent ended before the fork has not failed."""
        failed = outcome.failure is not None and outcome.failure.kind != ErrorKind.UNREACHED
        counts = self.failed if failed else self.done
        counts[outcome.condition] = counts.get(outcome.condition, 0) + 1
        self.turns += outcome.turns
        self.calls += outcome.calls
        self.tokens += outcome.completion_tokens
        self.estimated += outcome.estimated
        before = self.delivery.get(outcome.condition, Delivery())
        self.delivery[outcome.condition] = before + outcome.delivery

    @property
    def over(self) -> int:
        return sum(self.done.values()) + sum(self.failed.values())

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.began, 1e-9)


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What a session owes of one trial: itself (`main`), branches of it, or both."""

    trial: Trial
    main: bool
    branches: tuple[Branch, ...] = ()

    @property
    def size(self) -> int:
        return self.main + len(self.branches)
