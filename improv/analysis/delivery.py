"""Counts the replies that did not arrive, by arm, and puts what is missing into words.

A trial whose lines are all silence because a model thought until its tokens were used up is done,
and worth nothing. The command, the report and the viewer say so with the sentences made here. Only
`read_delivery` reads files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow.compute as pc

from improv.errors import RunError
from improv.records import MOST_UNDELIVERED, Call, Delivery, ReplyFault
from improv.storage.run_folder import RunFolder

HEARD = ("line", "author")
"""The purposes of calls whose replies an arm must not lose."""
_NOUNS = {
    "line": "lines",
    "author": "author replies",
    "diary": "diaries",
    "bible": "entries of the bible",
    "probe": "answers to probes",
    "envelope": "envelopes",
    "judge": "verdicts",
}
_WHY: Mapping[str, str] = {
    ReplyFault.REASONING: "were only reasoning, without a word after it: raise reasoning_tokens or "
    "max_tokens, or ask for less thought (extra: reasoning_effort)",
    ReplyFault.LENGTH: "ended at max_tokens before any word: raise max_tokens; the model may be "
    "thinking where nobody sees it (reasoning_tokens)",
    ReplyFault.REFUSAL: "were refused by the model",
    ReplyFault.TOOL_CALL: "were calls of tools in place of words: the model, or its server, takes "
    "the prompt for an order; try another chat template, or --mode script",
    ReplyFault.FILTERED: "were held back by the endpoint's filter",
    ReplyFault.EMPTY: "were empty, for no reason that the endpoint gives",
    ReplyFault.UNREAD: "hold no JSON that can be read, so the author did nothing: use an endpoint "
    "that follows a schema (response_format), or a larger model",
    ReplyFault.MARKS: "begin with marks that improv does not know; look whether it is reasoning "
    "that was spoken",
    ReplyFault.PROMPT_CUT: "had prompts that may have been cut: the endpoint counts no more tokens "
    "for them than for shorter ones of the same thread; raise its context window (Ollama: "
    "num_ctx), because what is dropped may be the author's frame",
    ReplyFault.OTHER_MODEL: "were given by another model than the one asked for",
}


def delivery_of(calls: Iterable[Call]) -> Delivery:
    """Return what calls asked for, and what was wrong with how many of their replies."""
    asked: Counter[str] = Counter()
    faults: Counter[tuple[str, str]] = Counter()
    for call in calls:
        if not call.error:
            asked[call.draw.purpose] += 1
            for fault in call.faults:
                faults[call.draw.purpose, fault.value] += 1
    return Delivery(asked, faults)


def read_delivery(folder: RunFolder) -> dict[str, Delivery]:
    """Return the delivery of each condition of a run, branches included. Reads the calls in pieces,
    because those of a large run do not fit into memory. Raises RunError."""
    trials = folder.tables.read("trials", columns=["trial", "branch", "condition"])
    pairs = zip(trials["trial"].to_pylist(), trials["condition"].to_pylist(), strict=True)
    conditions = dict(pairs)
    arms: dict[str, Delivery] = {}
    columns = ["trial", "branch", "purpose", "error_kind", "faults"]
    for piece in folder.tables.read_batches("calls", columns):
        fine = piece.filter(pc.equal(piece["error_kind"], ""))
        counted = fine.group_by(["trial", "purpose"]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            _add(arms, conditions[row["trial"]], Delivery({row["purpose"]: row["count_all"]}))
        wrong = fine.filter(pc.greater(pc.list_value_length(fine["faults"]), 0))
        for row in wrong.to_pylist():
            faults = Counter((row["purpose"], fault) for fault in row["faults"])
            _add(arms, conditions[row["trial"]], Delivery({}, faults))
    return arms


def read_delivery_if_whole(folder: RunFolder) -> dict[str, Delivery]:
    """Return the delivery of each condition; nothing if a table that it needs is lost or damaged,
    of which a run is told when it is healed."""
    try:
        return read_delivery(folder)
    except RunError:
        return {}


def _add(arms: dict[str, Delivery], condition: str, more: Delivery) -> None:
    arms[condition] = arms.get(condition, Delivery()) + more


def short_arms(arms: Mapping[str, Delivery], *purposes: str) -> list[str]:
    """Return the arms that lost more of their lines or author's replies than a run may lose."""
    wanted = purposes or HEARD
    return [arm for arm, delivery in arms.items() if any(map(delivery.is_short, wanted))]


def delivery_rows(arms: Mapping[str, Delivery]) -> list[tuple[str, str, str, int, int]]:
    """Return condition, what was asked for, what was wrong, how often, and of how many."""
    return [
        (arm, _NOUNS.get(purpose, purpose), fault, count, delivery.asked.get(purpose, 0))
        for arm, delivery in arms.items()
        for (purpose, fault), count in sorted(delivery.faults.items())
    ]


def loss_sentences(arms: Mapping[str, Delivery]) -> list[str]:
    """Return a sentence for each fault of the lines, and so on, of all arms, with what to do."""
    return [*losses_by_fault(arms).values()]


def losses_by_fault(arms: Mapping[str, Delivery]) -> dict[tuple[str, str], str]:
    """Return those sentences by purpose and fault."""
    several = len(arms) > 1
    faults: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for arm, delivery in arms.items():
        for key, count in delivery.faults.items():
            faults.setdefault(key, {})[arm] = (count, delivery.asked.get(key[0], 0))
    told = {}
    for (purpose, fault), counts in sorted(faults.items()):
        total, asked = (sum(c[i] for c in counts.values()) for i in (0, 1))
        where = f" ({_by_arm(counts)})" if several else ""
        why = _WHY.get(fault, f"had a fault: {fault}")
        noun = _NOUNS.get(purpose, purpose)
        told[purpose, fault] = f"{total:,} of {asked:,} {noun}{where} {why}."
    return told


_MOST_ARMS = 6


def _by_arm(counts: Mapping[str, tuple[int, int]]) -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
    named = ", ".join(f"{arm}: {n:,} of {asked:,}" for arm, (n, asked) in most[:_MOST_ARMS])
    return named + (f", and {len(most) - _MOST_ARMS} more arms" if len(most) > _MOST_ARMS else "")


def unheard_sentence(arms: Mapping[str, Delivery]) -> str:
    """Return a sentence about the arms whose author was not heard, "" if all were."""
    unheard = short_arms(arms, "author")
    if not unheard:
        return ""
    counts = {a: (arms[a].undelivered("author"), arms[a].asked["author"]) for a in unheard}
    return (
        f"The author was not heard ({_by_arm(counts)} of its replies did not arrive; "
        f"{MOST_UNDELIVERED:.0%} may be missing): such an arm has an author in name only."
    )


def headline(arms: Mapping[str, Delivery]) -> str:
    """Return in a few words what a run lost, "" if it lost no more than it may."""
    lost: list[str] = []
    for purpose in HEARD:
        short: Sequence[Delivery] = [d for d in arms.values() if d.is_short(purpose)]
        if short:
            gone, asked = (
                sum(d.undelivered(purpose) for d in short),
                sum(d.asked[purpose] for d in short),
            )
            lost.append(f"{gone:,} of {asked:,} {_NOUNS[purpose]} not delivered")
    return ", ".join(lost)
