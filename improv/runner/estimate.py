"""Estimates the calls, tokens and cost of a study before it is played.

The real stage of a trial is played with an in-process puppet in place of each model. So the
prompts, the author's turns and the memories are the real ones, and only the length of the replies
is assumed. There is no disk, no network and no Ray. cli.terminal prints the table.

Each trial is played three times. *Low*: lines of a few words; the author does nothing and ends the
scene as soon as it may. *Expected*: lines as long as those written for the character (its samples
and opening lines; if it has none, the scene's, or else the puppet's own), some with a name before
them; notes as long as the author's samples; the author never ends the scene. *High*: every reply
is as long as its max_tokens allows. At the expected level a model that is itself a puppet plays its
declared process, so its figures are exact.

Branches, regenerations and probes are played from the scene just played. Of those that differ only
in their draw one is played, on one trial of each scene under each condition.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from improv import event_loop
from improv.errors import StudyError
from improv.models.client import Models
from improv.models.puppet.player import POLE
from improv.models.puppet.schema_filler import NOTES
from improv.models.request import Ask
from improv.records import Call, Json, Origin
from improv.runner.token_counts import (
    CHARACTERS,
    Billed,
    Use,
    filler,
    most_tokens,
    prompt_text,
    shared_start,
    tokens_in,
)
from improv.runner.trial_sample import SampledTrial, sample_trials
from improv.stage.branch_stage import create_stage
from improv.stage.stage import Stage
from improv.study.branch import Branch, branched, past
from improv.study.puppet_spec import Puppet
from improv.study.scene import Scene
from improv.study.trial import Trial, Trials

AT_MOST = 120
"""Default maximum of trials that an estimate plays. The trials of one cell hardly differ."""

Level = Literal["low", "expected", "high"]
LEVELS: tuple[Level, ...] = ("low", "expected", "high")


@dataclass(frozen=True, slots=True)
class Range:
    """A low, an expected and a high value."""

    low: float
    expected: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Return the range of the values at the three levels; its ends are their extremes."""
        # The replies can decide who speaks: the low level of all may be the highest of one model.
        return cls(min(values), values[LEVELS.index("expected")], max(values))


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The calls, tokens and cost of one model, condition or role, or of all.

    Calls and tokens are counts, `cached` is the share of the expected prompt tokens that were in
    an earlier prompt of the same trial to the same model, and costs are dollars. `cost` is None
    if a model has no price. Then `known` is the cost of the models with a price (None if there are
    none), and `unpriced` names the other models.
    """

    name: str
    calls: Range
    prompt: Range
    completion: Range
    cached: float
    cost: Range | None
    known: Range | None
    unpriced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsageEstimate:
    """The estimate for `trials` trials, scaled up from the `played` ones.

    `counting` says how tokens were counted. If speakers have models of their own, the low and high
    ends of the rows need not add up to those of `total`.
    """

    trials: int
    played: int
    total: UsageRow
    models: tuple[UsageRow, ...]
    conditions: tuple[UsageRow, ...]
    roles: tuple[UsageRow, ...]
    counting: str


def estimate(
    trials: Trials,
    *,
    branches: Callable[[Trial], Sequence[Branch]] | None = None,
    at_most: int = AT_MOST,
) -> UsageEstimate:
    """Play `trials` with puppets and return the estimate of their calls, tokens and cost.

    `branches` returns the branches of a trial. Raises StudyError for an edit that does not fit its
    scene.

    Of more than `at_most` trials a balanced part is played and scaled up: equally many of each
    scene under each condition, the first in the order of play. At least one of each is played,
    even if that makes more than `at_most`, because some models may play in one cell only. A scene
    of more than LONG_SCENE turns counts as several, so that an estimate takes seconds.

    A prompt token counts as cached if it is in the beginning that the prompt shares with the last
    prompt of a thread of the same trial and model. The beginnings that later trials share are left
    out. So the share is a lower bound for an endpoint that caches prompts of any length (llama.cpp,
    vLLM); other endpoints cache only long ones (OpenAI from 1,024 tokens). The low and the expected
    cost count on the cache, the high one does not.
    """
    sample = sample_trials(trials, at_most)
    ledger = event_loop.run_coroutine(_play_all(sample, branches or _none))
    billed = list(dict.fromkeys(entry.billed for entry in ledger))
    by_role = sorted(ledger, key=lambda entry: _ROLES.index(entry.role))
    return UsageEstimate(
        trials=len(trials),
        played=len(sample),
        total=_row("total", ledger),
        models=_rows(ledger, lambda e: e.billed, lambda b: _label(b, billed)),
        conditions=_rows(ledger, lambda e: e.condition),
        roles=_rows(by_role, lambda e: e.role),
        counting=_counting(billed),
    )


def usage_table(estimated: UsageEstimate) -> list[tuple[str, ...]]:
    """Return the estimate as rows of text, headings first: the models, the conditions and the
    roles (each if there are several), and the total.

    Cells read low / expected / high, or one figure where the three are the same.
    """
    rows: list[tuple[str, ...]] = [
        ("", "calls", "prompt tokens", "completion tokens", "cached", "cost")
    ]
    parts = (estimated.conditions, estimated.roles)
    several = [row for part in parts if len(part) > 1 for row in part]
    for row in (*estimated.models, *several, estimated.total):
        calls = _span(row.calls, "{:,.0f}".format)
        tokens = (_span(r, _brief) for r in (row.prompt, row.completion))
        rows.append((row.name, calls, *tokens, f"{row.cached:.0%}", cost_text(row)))
    return rows


def cost_text(row: UsageRow) -> str:
    """Return the cost of a row as text: "unknown" if no model has a price, never $0."""
    if row.cost is not None:
        low, high = dollars(row.cost.low), dollars(row.cost.high)
        return low if low == high else f"{low} – {high}"
    if row.known is None:
        return "unknown"
    return f"at least {dollars(row.known.low)}, plus unknown for {', '.join(row.unpriced)}"


def dollars(amount: float) -> str:
    """Return dollars as text, to the cent. Less than a cent has two figures and is never 0."""
    if 0 < amount < 0.01:
        return f"${amount:.{1 - math.floor(math.log10(amount))}f}"
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"


# --- what is counted

_NAMES = {
    "line": "cast",
    "author": "author",
    "envelope": "envelopes",
    "diary": "memories",
    "bible": "memories",
    "branch": "branches",
    "regeneration": "regenerations",
    "probe": "probes",
}
_ROLES = tuple(dict.fromkeys(_NAMES.values()))


@dataclass(frozen=True, slots=True)
class _Entry:
    """The use of one model by one role of one condition, at each level.

    A role is the cast, the author, the memories, or all calls of branches, regenerations or probes.
    """

    condition: str
    role: str
    billed: Billed
    uses: tuple[Use, Use, Use]


def _row(name: str, entries: Iterable[_Entry]) -> UsageRow:
    by_bill: dict[Billed, tuple[Use, Use, Use]] = {}
    for entry in entries:
        mine = by_bill.setdefault(entry.billed, (Use(), Use(), Use()))
        for use, more in zip(mine, entry.uses, strict=True):
            use.add(more)
    sums = (Use(), Use(), Use())
    for uses in by_bill.values():
        for use, more in zip(sums, uses, strict=True):
            use.add(more)
    priced = [(b.price, uses) for b, uses in by_bill.items() if b.price is not None]
    known = Range.of(
        [
            sum(uses[i].dollars(price, caching=level != "high") for price, uses in priced)
            for i, level in enumerate(LEVELS)
        ]
    )
    unpriced = tuple(dict.fromkeys(b.model for b in by_bill if b.price is None))
    expected = sums[LEVELS.index("expected")]
    return UsageRow(
        name=name,
        calls=Range.of([round(u.calls) for u in sums]),
        prompt=Range.of([round(u.prompt) for u in sums]),
        completion=Range.of([round(u.completion) for u in sums]),
        cached=expected.cached / expected.prompt if expected.prompt else 0.0,
        cost=None if unpriced else known,
        known=known if priced else None,
        unpriced=unpriced,
    )


def _rows(
    ledger: Sequence[_Entry], by: Callable[[_Entry], Any], label: Callable[[Any], str] = str
) -> tuple[UsageRow, ...]:
    keys = dict.fromkeys(map(by, ledger))
    return tuple(_row(label(key), [e for e in ledger if by(e) == key]) for key in keys)


def _label(billed: Billed, among: Sequence[Billed]) -> str:
    """Return a model's name, with its address or a number if other models have the same name."""
    parts = [billed.model]
    alike = [b for b in among if b.model == billed.model]
    if len({b.base_url for b in alike}) > 1 and billed.base_url:
        parts.append(f"at {billed.base_url}")
    here = [b for b in alike if b.base_url == billed.base_url]
    if len(here) > 1:
        parts.append(f"({here.index(billed) + 1})")
    return " ".join(parts)


def _counting(billed: Sequence[Billed]) -> str:
    if all(b.puppet for b in billed):
        return "tokens as a puppet counts them, words and punctuation marks"
    return f"tokens estimated at about {CHARACTERS} characters a token"


def _span(values: Range, text_of: Callable[[float], str]) -> str:
    texts = [text_of(value) for value in (values.low, values.expected, values.high)]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _brief(count: float) -> str:
    if count < 10_000:
        return f"{count:,.0f}"
    units = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, unit = next((size, unit) for size, unit in units if count >= 0.9995 * size)
    return f"{count / size:.3g}{unit}"


# --- what is played


def _none(trial: Trial) -> Sequence[Branch]:
    return ()


async def _play_all(
    sample: Sequence[SampledTrial], branches: Callable[[Trial], Sequence[Branch]]
) -> list[_Entry]:
    uses_by_key: dict[tuple[str, str, Billed], tuple[Use, Use, Use]] = {}

    def count(player: _Player, weight: float) -> None:
        for (role, billed), use in player.uses.items():
            key = (trial.condition, role, billed)
            uses = uses_by_key.setdefault(key, (Use(), Use(), Use()))
            uses[LEVELS.index(player.level)].add(use, weight)

    for part in sample:
        trial = part.trial
        alike = _alike(branches(trial)) if part.branching else {}
        for level in LEVELS:
            player = _Player(trial.scene, level)
            stage = Stage(trial)
            await stage.play(player.draw)
            count(player, part.weight)
            for branch, draws in alike.items():
                try:
                    begun = past(trial, branch, stage.turns, player.calls)
                except StudyError:
                    continue  # the author ended the scene before the fork
                changed = branched(trial, branch)
                again = _Player(changed.scene, level, branch.origin, player)
                await create_stage(changed, begun).play(again.draw)
                count(again, part.branching * draws)
    return [_Entry(*key, uses) for key, uses in uses_by_key.items()]


def _alike(branches: Sequence[Branch]) -> dict[Branch, int]:
    """Return one of each group of branches that differ only in their draw → the group's size."""
    first: dict[Branch, Branch] = {}
    counts: dict[Branch, int] = {}
    for branch in branches:
        chosen = first.setdefault(dataclasses.replace(branch, number=0), branch)
        counts[chosen] = counts.get(chosen, 0) + 1
    return counts


class _Player:
    """Plays every model of one scene as a puppet, and counts the calls and tokens."""

    def __init__(
        self,
        scene: Scene,
        level: Level,
        origin: Origin = "main",
        parent: _Player | None = None,
    ) -> None:
        self.scene = scene
        self.level = level
        self.uses: dict[tuple[str, Billed], Use] = {}
        self.calls: list[Call] = []
        self._origin = origin
        self._models = Models()
        self._shown: dict[Billed, dict[str, str]] = {}
        """The last prompt of each thread, by model."""
        for billed, texts in parent._shown.items() if parent else ():
            self._shown[billed] = dict(texts)

    async def draw(self, ask: Ask) -> Call:
        """Reply in place of the stage's model at this level, and count the call and its tokens."""
        model, role, most = ask.model, ask.draw.role, most_tokens(ask.model)
        billed = Billed.of(model)
        if billed.puppet and self.level == "expected":
            spec, schema = model.puppet or Puppet(), ask.schema
        else:
            spec = Puppet(alpha=0, pole=self._lines(role, most, billed.puppet))
            schema = self._narrowed(ask.schema, most, billed.puppet) if ask.schema else None
        # The prompt was built for the real model, in its own mode, and stays as it is.
        spec = spec.model_copy(update={"latency": 0.0})
        played = {"model": "puppet", "base_url": None, "puppet": spec}
        stand_in = model.model_copy(update=played)
        call = await self._models.complete(dataclasses.replace(ask, model=stand_in, schema=schema))
        if not billed.puppet and schema is None:
            # A puppet's reply of `most` of its own tokens may have more characters than a model's.
            room = math.floor(most * CHARACTERS)
            reply = call.reply.encode()[:room].decode(errors="ignore")
            call = dataclasses.replace(call, reply=reply)
        text = prompt_text(ask.prompt, billed.puppet)
        # In a branch the calls of cast and author all count for the branch.
        purpose = ask.draw.purpose if self._origin == "main" else self._origin
        use = self.uses.setdefault((_NAMES[purpose], billed), Use())
        shown = self._shown.setdefault(billed, {})
        prefix = max((shared_start(text, last) for last in shown.values()), default=0)
        shown[f"{ask.draw.branch}/{role}"] = text
        use.calls += 1
        use.prompt += tokens_in(text, billed.puppet)
        use.completion += min(most, tokens_in(call.reply, billed.puppet))
        use.cached += tokens_in(text[:prefix], billed.puppet)
        self.calls.append(call)
        return call

    def _lines(self, role: str, most: int, puppet: bool) -> list[str]:
        """Return the lines that a character says at this level."""
        if self.level == "low":
            return ["I see."]
        if self.level == "high":
            return [filler(most, puppet)]
        if role == "author":
            return []
        samples = {c.name: c.samples for c in self.scene.cast}
        written = [(o.who, o.line) for o in self.scene.opening if o.who and o.line]
        own = samples[role] + [line for who, line in written if who == role]
        all_ = [line for lines in samples.values() for line in lines] + [ln for _, ln in written]
        return [" ".join(line.split()) for line in own or all_ or POLE]

    def _narrowed(self, schema: Json, most: int, puppet: bool) -> Json:
        """Return the author's schema, narrowed to what the author does at this level."""
        fields: Json = dict(schema["properties"])
        for name, field in fields.items():
            options = field.get("enum", [])
            if self.level == "low":
                nothing = {"note": "", "end": True}
                # The last option is always the one that does nothing.
                fields[name] = {"enum": [options[-1] if options else nothing[name]]}
            elif name == "end":
                fields[name] = {"enum": [False]}
            elif name in ("note_to", "move") and self.level == "high":
                fields[name] = {"enum": options[:-1]}
        if "note" in fields and self.level == "expected":
            fields["note"] = {"enum": [s.note for s in self.scene.author.samples] or NOTES}
        elif "note" in fields and self.level == "high":
            longest = {n: max(map(str, f.get("enum", [False])), key=len) for n, f in fields.items()}
            frame = math.ceil(tokens_in(str(longest), puppet))
            fields["note"] = {"enum": [filler(most - frame, puppet)]}
        return {**schema, "properties": fields}
