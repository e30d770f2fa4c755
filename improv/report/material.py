"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from improv.analysis import Analysis
from improv.graph.made import Made
from improv.judged import Judged
from improv.ledger import Exposure
from improv.record import Json

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Material:
    """What a report is made of: run.json, the study's words, rows of tables, and what was found.

    `calls` rows need endpoint, model, latency, error, retried and the token counts. `costs` maps
    a model to its dollars so far, None where it has no price. `lengths` are the rows that
    lengths.lengths made before the first call. `talk` has a graph of who speaks to whom for each
    condition.
    """

    run: str
    meta: Json
    question: str
    about: str
    trials: Sequence[Json]
    calls: Sequence[Json]
    limits: Sequence[Json]
    analysis: Analysis
    exposure: Exposure
    judges: Sequence[Judged] = ()
    costs: Mapping[str, float | None] = field(default_factory=dict)
    lengths: Sequence[Json] = ()
    talk: Sequence[Made] = ()

    @property
    def embedded(self) -> bool:
        return EMBEDDED in self.meta.get("models", [])
