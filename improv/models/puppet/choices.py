"""A puppet's other replies: it names an object, leaks a secret, recalls a fact. Pure.

Each reply depends only on the declared process, the prompt and the dice, so that a study about
commitment, secrets or memory has a known truth. The puppet reads nothing but the prompt: it knows
a sealed object or a stated fact only if the prompt contains it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from improv.records import Json, seed_of
from improv.study.puppet_spec import Choice, Fact, LeakSpec, Puppet

RollDice = Callable[[object], float]
"""Returns a number strictly between 0 and 1 for a question, the same number each time."""

_UNKNOWN = "I could not say."
_EMPTY_ENTRY = "Nothing happened that I could put a name to."


@dataclass(frozen=True, slots=True)
class PuppetRequest:
    """A request to a puppet: the purpose of the draw, the whole prompt, the `last` part of it since
    the character's own last line, and the thread (trial and character)."""

    purpose: str
    prompt: str
    last: str
    thread: str


def special_reply(spec: Puppet, request: PuppetRequest, roll: RollDice) -> tuple[str, float] | None:
    """Return the reply that replaces a line of a state, and its log-probability; None if the puppet
    says a line as usual."""
    if request.purpose in ("diary", "bible"):
        return _entry(spec, request, roll) if spec.facts else None
    if request.purpose == "probe":
        for fact in spec.facts:
            if fact.question and fact.question in request.last:
                return _recalled(fact.says in request.prompt, fact, roll)
    choice = spec.choice
    if choice is None:
        return None
    if request.purpose == "envelope":
        weights = _weights(choice, request.thread)
        k = _pick(weights, roll("envelope"))
        return choice.options[k], math.log(weights[k])
    candid = bool(choice.candid) and choice.candid in request.last
    if not (candid or choice.always or (choice.when and choice.when in request.last)):
        return None
    return _named(choice, request, candid, roll)


def leaked_sentence(leak: LeakSpec, request: PuppetRequest, roll: RollDice) -> str:
    """Return the sentence that gives the secret away, "" if this line does not leak it."""
    if request.purpose != "line" or leak.of not in request.prompt or leak.when not in request.last:
        return ""
    chance = shifted_chance(leak.chance, leak.effects, request.prompt)
    return leak.says if roll("leak") < chance else ""


def shifted_chance(chance: float, effects: dict[str, float], prompt: str) -> float:
    """Return a probability after adding to its logit the effect of each text that the prompt
    contains. A probability of 0 or 1 does not change."""
    if chance in (0, 1) or not effects:
        return chance
    logit = math.log(chance / (1 - chance))
    logit += sum(shift for text, shift in effects.items() if text in prompt)
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))


def author_reply(choice: Choice, prompt: str, fields: Json, options: Sequence[str]) -> Json:
    """Return an author's reply that respects the sealed object: its note names the object and goes
    to the character that the sealing line names. `options` are the possible recipients."""
    sealed = _sealed(choice, prompt)
    if sealed is None or "note" not in fields:
        return fields
    option, line = sealed
    note = {"note": f"{choice.committed} {option}"}
    holders = [name for name in options if re.search(rf"\b{re.escape(name)}\b", line)]
    return fields | note | ({"note_to": holders[0]} if holders else {})


def _entry(spec: Puppet, request: PuppetRequest, roll: RollDice) -> tuple[str, float]:
    """Return a diary entry with the facts that the prompt contains, except the forgotten ones."""
    kept = [
        fact.says
        for k, fact in enumerate(spec.facts)
        if fact.says in request.prompt and roll(("forgets", k)) >= spec.forgets
    ]
    return " ".join(kept) or _EMPTY_ENTRY, 0.0


def _recalled(known: bool, fact: Fact, roll: RollDice) -> tuple[str, float]:
    if known:
        return fact.answer or fact.says, 0.0
    if not fact.options:
        return _UNKNOWN, 0.0
    guess = fact.options[int(roll("guess") * len(fact.options))]
    return guess, -math.log(len(fact.options))


def _named(
    choice: Choice, request: PuppetRequest, candid: bool, roll: RollDice
) -> tuple[str, float]:
    """Return the sentence of the choice that names an option, and its log-probability."""
    if candid or (choice.reason and choice.reason not in request.prompt):
        return choice.says.replace("{}", choice.truth), 0.0
    sealed = _sealed(choice, request.prompt)
    weights = _weights(choice, request.thread)
    if sealed is not None and roll("forget") >= choice.forget:
        named, others = sealed[0], [o for o in choice.options if o != sealed[0]]
        if others and roll("alias") < choice.alias:
            named = others[int(roll("which alias") * len(others))]
        return choice.says.replace("{}", named), 0.0
    if choice.held:
        luck = (seed_of("held", request.thread) + 0.5) / 2**31
        return choice.says.replace("{}", choice.options[_pick(weights, luck)]), 0.0
    k = _pick(weights, roll("choice"))
    return choice.says.replace("{}", choice.options[k]), math.log(weights[k])


def _sealed(choice: Choice, prompt: str) -> tuple[str, str] | None:
    """Return the option that the prompt commits to and the line that says so, or None."""
    if not choice.committed:
        return None
    longest = sorted(choice.options, key=len, reverse=True)
    either = "|".join(map(re.escape, longest))
    pattern = rf"[^\n]*{re.escape(choice.committed)}\s*(?:(?:an?|the)\s+)?({either})(?!\w)"
    last = None
    for last in re.finditer(pattern, prompt):  # noqa: B007 - the last match counts
        pass
    return (last[1], last[0]) if last is not None else None


def _weights(choice: Choice, thread: str) -> list[float]:
    """Return the distribution of one thread over the options, as weights that sum to 1."""
    count = len(choice.options)
    if choice.concentration is None:
        return [1 / count] * count
    # Gamma numbers divided by their sum are a draw of the Dirichlet distribution.
    source = random.Random(seed_of("dirichlet", thread))
    drawn = [source.gammavariate(choice.concentration, 1.0) + 1e-300 for _ in choice.options]
    total = sum(drawn)
    return [each / total for each in drawn]


def _pick(weights: Sequence[float], luck: float) -> int:
    """Return the index of the weight into which `luck`, between 0 and 1, falls."""
    for k, weight in enumerate(weights):
        luck -= weight
        if luck < 0:
            return k
    return max(range(len(weights)), key=weights.__getitem__)
