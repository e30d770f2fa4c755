"""Asks judges, through the same client, gates and retries as the calls of a scene.

Every verdict is journaled at once, so that a crash or Ctrl-C loses nothing that was paid for.
improv.scoring.scorer turns verdicts into scores.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

import orjson

from improv import event_loop
from improv.errors import SHARED, ErrorKind, MachineError, ModelError, RunError
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.budget import Allowance, Budget, PurseKeeper, Spent, call_cost, call_spending
from improv.models.client import Models
from improv.models.embedded import embedded_server
from improv.models.gate import Gate, LiveLimiter, keep_reporting
from improv.models.given_text import read_scored
from improv.models.manners_keeper import MannersKeeper
from improv.models.rate_limiter import START_LIMIT
from improv.models.request import Ask, Prompt
from improv.records import UNDELIVERED, Call, Draw, Json, Stop
from improv.scoring.measures import judge_item
from improv.scoring.measures.judge_item import Item, Verdict
from improv.storage.journal import VERDICTS_FILE
from improv.storage.jsonl import JsonLines, read_rows
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import NEW_COLUMNS
from improv.storage.table_rules import is_row
from improv.study.model_spec import Model
from improv.text import one_line

STOPS = SHARED | {ErrorKind.HALTED, ErrorKind.UNSCORED}
"""Failures that end a scoring."""
HOPELESS = 20
"""A scoring ends after this many failures in a row, or unread verdicts from its beginning."""
FEWEST_UNREAD = 5
"""So many verdicts, if none of them can be read, are told as a failure when all are there."""
_QUOTED = 200
EMBEDDED_AT_ONCE = 4
SYNC_EVERY = 64

TellProgress = Callable[[int, int], None]
"""A function that gets the number of verdicts so far, and the number of all."""


@dataclass(frozen=True, slots=True)
class Question:
    """An item and the model that judges it. `judge` is the judge's name in the verdict."""

    item: Item
    model: Model
    judge: str

    @property
    def key(self) -> tuple[str, str]:
        return self.item.id, self.judge


@dataclass
class JudgeTerms:
    """How judges are asked: calls in flight to an endpoint, what may be sent where, and the most
    that may be spent."""

    connections: int = 64
    agreed: Agreed = NOTHING_AGREED
    budget: Budget = field(default_factory=Budget)
    tell: TellProgress | None = None


def ask_judges(folder: RunFolder, questions: Sequence[Question], terms: JudgeTerms) -> Stop:
    """Ask every question and journal each verdict. Return the reason if the asking was stopped.

    After Ctrl-C nothing more is asked, and the calls in flight are completed; after a second one
    they are not. Raises OSError if the journal cannot be written.
    """
    return event_loop.run_coroutine(_ask_judges(folder, questions, terms))


def journaled_verdicts(folder: RunFolder) -> list[Json]:
    """Return the verdicts that are not in the table yet. A torn line is skipped and asked again."""
    try:
        data = folder.journals.read(VERDICTS_FILE)
    except FileNotFoundError:
        return []
    rows = (NEW_COLUMNS["verdicts"] | row for row in read_rows(data))
    return [row for row in rows if is_row("verdicts", row)]


def verdict_of(row: Json) -> Verdict:
    return Verdict(row["reply"], row["answer"], row["value"], row["error"])


async def _ask_judges(folder: RunFolder, questions: Sequence[Question], terms: JudgeTerms) -> Stop:
    stop, tasks = Stop(), list[asyncio.Task[None]]()
    gate = partial(_gate, tasks, terms.connections, _last_limits(folder))
    keeper = MannersKeeper(folder.meta().get("manners", []))
    models = Models(_served, terms.connections, gate, terms.agreed, keeper)
    purse = PurseKeeper(terms.budget, Spent())
    allowance = Allowance("judges", purse.lease) if terms.budget else None
    verdicts = JsonLines(folder.journals, VERDICTS_FILE)
    desk = _Desk(models, verdicts, stop, allowance, terms.tell, len(questions))
    left = _threads(questions)
    workers: list[asyncio.Task[None]] = []

    async def work(slot: int) -> None:
        for thread in left:
            for question in thread:
                if stop:
                    return
                await desk.ask(question, slot)

    with _interrupts(stop, models, workers):
        try:
            at_once = await _at_once(models, questions, terms.connections)
            workers += [asyncio.create_task(work(n)) for n in range(min(at_once, len(questions)))]
            await asyncio.gather(*workers)
        except (ModelError, MachineError) as e:
            stop.record(str(e), e.kind if isinstance(e, ModelError) else ErrorKind.MODEL)
        except asyncio.CancelledError:
            if not stop:
                raise
        finally:
            for task in tasks:
                task.cancel()
            verdicts.close()
            await models.close()
            await _keep_manners(folder, keeper)
    return stop


def _threads(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Yield the questions in their order: those of one thread and judge together, others alone."""
    alone = itertools.count()

    def thread(question: Question) -> tuple[str, str | int]:
        return question.judge, question.item.thread or next(alone)

    for _, group in itertools.groupby(questions, thread):
        yield list(group)


async def _at_once(models: Models, questions: Sequence[Question], most: int) -> int:
    """Return how many questions are asked at once. Before anything else is asked, find out how
    endpoints score given texts. Raises ModelError if one does not."""
    if any(q.model.embedded for q in questions):
        most = EMBEDDED_AT_ONCE
    scorers = {q.judge: q.model for q in questions if q.item.given is not None}
    for model in scorers.values():
        # A thread's beginning stays in a slot of llama.cpp only if no other thread is sent there.
        most = min(most, (await models.scoring(model)).slots or most)
    return most


@dataclass
class _Prospect:
    """Whether a scoring has a prospect: it has none if verdicts fail, or if none can be read."""

    failed: int = 0
    """How many failed, the last ones in a row."""
    unread: int = 0
    """How many had no answer, while no verdict had one."""
    readable: bool = False

    def count(self, row: Json, *, last: bool) -> str:
        """Count a verdict; return why the scoring should end, "" if it should go on."""
        self.failed = self.failed + 1 if row["error"] else 0
        if self.failed >= HOPELESS:
            return f"{self.failed} verdicts in a row failed, the last: {row['error']}"
        self.readable = self.readable or bool(row["answer"]) or row["value"] is not None
        self.unread += not (self.readable or row["error"])
        if self.readable or self.unread < (FEWEST_UNREAD if last else HOPELESS):
            return ""
        reply, option = one_line(row["reply"])[:_QUOTED], (row["options"] or [""])[0]
        wanted = orjson.dumps({"answer": option}).decode()
        return (
            f"none of the {self.unread} verdicts names one of its options; the last reply: "
            f"{reply!r}. A judge answers with JSON such as {wanted}: "
            "take a model that can; --redo asks again"
        )


@dataclass
class _Desk:
    """Asks one question after another for all workers, and journals the verdicts."""

    models: Models
    verdicts: JsonLines
    stop: Stop
    allowance: Allowance | None
    tell: TellProgress | None
    total: int
    done: int = 0
    prospect: _Prospect = field(default_factory=_Prospect)

    async def ask(self, question: Question, slot: int) -> None:
        """Ask, pay and journal; record in `stop` why nothing more can be asked."""
        try:
            if self.allowance is not None:
                await self.allowance.take()
        except ModelError as e:
            self.stop.record(str(e), e.kind)
            return
        call = await self.models.complete(judge_call(question, slot))
        if self.allowance is not None:
            if call.error:
                self.allowance.give_back()
            else:
                self.allowance.spend(call_spending(call, question.model.price))
        if call.error_kind in STOPS:
            self.stop.record(call.error, call.error_kind)
            return
        row = _row(question, call)
        self.verdicts.append(row)
        self.done += 1
        if self.done % SYNC_EVERY == 0:
            self.verdicts.sync()
        if why := self.prospect.count(row, last=self.done == self.total):
            self.stop.record(why, ErrorKind.HOPELESS)
        if self.tell is not None:
            self.tell(self.done, self.total)


async def _keep_manners(folder: RunFolder, keeper: MannersKeeper) -> None:
    """Write what was learned of the judges into run.json. It is learned anew if that fails."""
    rows = await keeper.rows()
    with contextlib.suppress(OSError):
        if rows != folder.meta().get("manners", []):
            folder.update({"manners": rows})


def _interrupts(
    stop: Stop, models: Models, workers: list[asyncio.Task[None]]
) -> contextlib.AbstractContextManager[None]:
    """Handle Ctrl-C: the first one ends the asking, the second one ends the calls in flight."""

    def interrupted() -> None:
        if stop.kind == ErrorKind.HALTED:
            for worker in workers:
                worker.cancel()
        stop.record("interrupted", ErrorKind.HALTED)
        models.halt()

    return event_loop.interrupts(interrupted)


def judge_call(question: Question, slot: int | None = None) -> Ask:
    """Return the call of a question. Its identity is the item's, which names no condition."""
    item, model = question.item, question.model
    draw = Draw(item.id, "judge", 0, "judge", "judge")
    if item.given is not None:
        return Ask(draw, model, Prompt("script", (), text=item.text), given=item.given, slot=slot)
    schema = judge_item.answer_schema(item.options)
    if model.plays_in == "script":
        return Ask(
            draw, model, Prompt("script", (), text=judge_item.script_text(item.text)), schema
        )
    message = {"role": "user", "content": item.text}
    return Ask(draw, model, Prompt("chat", (), messages=(message,)), schema)


def _row(question: Question, call: Call) -> Json:
    """Return the row of a verdict in its table."""
    item = question.item
    if call.error:
        verdict = Verdict("", "", None, call.error_line)
    elif gone := UNDELIVERED.intersection(call.faults):
        verdict = Verdict(call.reply, "", None, f"no verdict came: {min(gone)}")
    elif item.given is not None:
        scored = read_scored(call.reply)
        verdict = Verdict(call.reply, "", None if scored is None else scored.logprob)
    else:
        verdict = judge_item.read_answer(item, call.reply)
    return {
        "trial": item.trial,
        "branch": item.branch,
        "turn": item.turn,
        "character": item.character,
        "measure": item.measure,
        "version": item.version,
        "judge": question.judge,
        "endpoint": call.endpoint,
        "item": item.id,
        "prompt": item.text + (item.given or ""),
        "options": list(item.options),
        "reply": verdict.reply,
        "answer": verdict.answer,
        "value": verdict.value,
        "truth": item.truth,
        "evidence": item.evidence,
        "error": verdict.error,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "cost": call_cost(call, question.model.price),
        "started": call.started,
        "latency": call.latency,
        "cuts": [*call.cuts, *verdict.cuts],
    }


async def _served(model: str) -> str:
    return (await asyncio.to_thread(embedded_server, model)).url


def _last_limits(folder: RunFolder) -> dict[str, int]:
    """Return the last limit of each endpoint that played the run; none if they cannot be read."""
    with contextlib.suppress(RunError):
        rows = folder.tables.read("limits", columns=["endpoint", "at", "limit"]).to_pylist()
        return {row["endpoint"]: row["limit"] for row in sorted(rows, key=itemgetter("at"))}
    return {}


def _gate(
    tasks: list[asyncio.Task[None]], most: int, limits: Mapping[str, int], endpoint: str
) -> Gate:
    """Return the gate of an endpoint, as wide as the endpoint's limiter allows. It begins with the
    limit that was found while the run was played, if that is a small one."""
    start = min(START_LIMIT, limits.get(endpoint, START_LIMIT))
    gate, live = Gate(), LiveLimiter(most, start=start)
    tasks.append(asyncio.create_task(keep_reporting(gate, live.report, "judges")))
    return gate
