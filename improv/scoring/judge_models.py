"""The judges of a scoring, and how each of them is asked: from the command, or from the study.

What they are asked is in the measures; `scorer` makes verdicts into scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from improv.errors import RunError
from improv.models.budget import Budget
from improv.records import Json
from improv.scoring.measures.calibration import PLANTS
from improv.study.design import Study
from improv.study.measure_spec import FREE_SCORERS
from improv.study.model_spec import Model, Price
from improv.study.trial import models_of, plan

MAX_TOKENS = 60
"""Maximum tokens of a verdict if nobody sets another number: one word in JSON."""


@dataclass(frozen=True)
class Judges:
    """The judges: the first one's verdicts become scores; a second one measures their agreement.

    Each is "embedded", "puppet", a GGUF file, or a model name at its address. `plants` lines of
    each truth are planted in each condition; `lines` is a file of planted lines for scenes that
    ship none. `trusted` are addresses that a run's study may name. `max_tokens`, `temperature` and
    `price` are those of both judges; without them the study's `judge` counts, and then the
    defaults.
    """

    first: str = ""
    second: str = ""
    base_url: str | None = None
    second_base_url: str | None = None
    plants: int = PLANTS
    lines: str | None = None
    trusted: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    price: Price | None = None

    @property
    def agreed(self) -> tuple[str, ...]:
        """What may be asked: an address that the user types is trusted too."""
        typed = [url for url in (self.base_url, self.second_base_url) if url]
        return (*self.trusted, *typed)


def with_study_judge(judges: Judges, study: Study, measures: Sequence[str]) -> Judges:
    """Return the judges, with the study's own if a measure that was asked for by name needs one and
    the command names none.

    Measures that nobody names ask no judge: a run may come from a stranger, and its study would
    spend the reader's money.
    """
    needed = any(m not in FREE_SCORERS for m in measures)
    if judges.first or study.judge is None or not needed:
        return judges
    return replace(judges, first=study.judge.model)


def judge_models(judges: Judges, study: Study, budget: Budget) -> dict[str, Model]:
    """Return name → model of the judges, the first one first. Raises RunError.

    A judge that the study describes, or that plays in it, keeps its address, key and price from
    there. Of how it is asked, only the study's `judge` says anything: a player's temperature is not
    a judge's.
    """
    if judges.second and judges.second == judges.first:
        raise RunError(f"{judges.second}: a second judge needs another name than the first")
    playing = models_of(plan(study))
    models = {}
    named = ((judges.first, judges.base_url), (judges.second, judges.second_base_url))
    for name, base_url in named:
        if not name:
            continue
        own = study.judge if study.judge is not None and study.judge.model == name else None
        base = own or next((m for m in playing if m.model == name), None) or Model(model=name)
        change: Json = {"temperature": 0.0, "max_tokens": MAX_TOKENS, "mode": base.plays_in}
        if own is not None:
            change = {k: v for k, v in change.items() if k not in own.model_fields_set}
        if base_url or judges.base_url:
            change["base_url"] = base_url or judges.base_url
        asked = {"max_tokens": judges.max_tokens, "temperature": judges.temperature}
        change |= {k: v for k, v in asked.items() if v is not None}
        if judges.price is not None:
            change["price"] = judges.price.model_dump(exclude_unset=True)
        models[name] = Model.model_validate(base.model_dump(exclude_unset=True) | change)
    unpriced = [name for name, m in models.items() if m.price is None]
    if budget.cost is not None and unpriced:
        raise RunError(
            f"a budget in dollars needs the price of {', '.join(unpriced)}: say --price IN,OUT, in "
            "dollars per million tokens"
        )
    return models
