"""What a puppet does besides speaking in a state: it names things, leaks secrets, remembers. Pure.

All of it is declared, and hangs on what the puppet is shown and on its luck alone, so that the
truth of a study about commitment, secrets or memory is known. Nothing but the prompt is read: an
object that was sealed, a fact that was stated, are known where they are found in it.
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
"""Gives a number strictly between 0 and 1 for a question, always the same."""

_UNKNOWN = "I could not say."
_EMPTY_ENTRY = "Nothing happened that I could put a name to."


@dataclass(frozen=True, slots=True)
class PuppetRequest:
    """What a puppet is asked for: `purpose` of the draw, the whole prompt, its `last` part (what
    it was shown since its own last line), and whose thread it is (trial and character)."""

    purpose: str
    prompt: str
    last: str
    thread: str


def special_reply(spec: Puppet, asked: PuppetRequest, roll: RollDice) -> tuple[str, float] | None:
    """Return what is said instead of a line of a state, and its log-probability; None where the
    puppet speaks as it always does."""
    if asked.purpose in ("diary", "bible"):
        return _entry(spec, asked, roll) if spec.facts else None
    if asked.purpose == "probe":
        for fact in spec.facts:
            if fact.question and fact.question in asked.last:
                return _recalled(fact.says in asked.prompt, fact, roll)
    choice = spec.choice
    if choice is None:
        return None
    if asked.purpose == "envelope":
        weights = _weights(choice, asked.thread)
        k = _pick(weights, roll("envelope"))
        return choice.options[k], math.log(weights[k])
    candid = bool(choice.candid) and choice.candid in asked.last
    if not (candid or choice.always or (choice.when and choice.when in asked.last)):
        return None
    return _named(choice, asked, candid, roll)


def leaked_sentence(leak: LeakSpec, asked: PuppetRequest, roll: RollDice) -> str:
    """Return the sentence that gives the secret away, "" where this line does not."""
    if asked.purpose != "line" or leak.of not in asked.prompt or leak.when not in asked.last:
        return ""
    chance = shifted_chance(leak.chance, leak.effects, asked.prompt)
    return leak.says if roll("leak") < chance else ""


def shifted_chance(chance: float, effects: dict[str, float], prompt: str) -> float:
    """Return a probability with the effects of what is found in the prompt on its logit. One that
    is 0 or 1 stays what it is."""
    if chance in (0, 1) or not effects:
        return chance
    logit = math.log(chance / (1 - chance))
    logit += sum(shift for text, shift in effects.items() if text in prompt)
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))


def author_reply(choice: Choice, prompt: str, fields: Json, options: Sequence[str]) -> Json:
    """Return an author's reply that keeps to what it knows was sealed: its note says so, to whom
    it concerns. `options` are those to whom it may write."""
    found = _sealed(choice, prompt)
    if found is None or "note" not in fields:
        return fields
    option, line = found
    told = {"note": f"{choice.committed} {option}"}
    holder = [name for name in options if re.search(rf"\b{re.escape(name)}\b", line)]
    return fields | told | ({"note_to": holder[0]} if holder else {})


def _entry(spec: Puppet, asked: PuppetRequest, roll: RollDice) -> tuple[str, float]:
    """Write down the facts that are found in the prompt, but for those that are forgotten."""
    kept = [
        fact.says
        for k, fact in enumerate(spec.facts)
        if fact.says in asked.prompt and roll(("forgets", k)) >= spec.forgets
    ]
    return " ".join(kept) or _EMPTY_ENTRY, 0.0


def _recalled(known: bool, fact: Fact, roll: RollDice) -> tuple[str, float]:
    if known:
        return fact.answer or fact.says, 0.0
    if not fact.options:
        return _UNKNOWN, 0.0
    guess = fact.options[int(roll("guess") * len(fact.options))]
    return guess, -math.log(len(fact.options))


def _named(choice: Choice, asked: PuppetRequest, candid: bool, roll: RollDice) -> tuple[str, float]:
    """Name an option in the words of the choice."""
    if candid or (choice.reason and choice.reason not in asked.prompt):
        return choice.says.replace("{}", choice.truth), 0.0
    sealed = _sealed(choice, asked.prompt)
    weights = _weights(choice, asked.thread)
    if sealed is not None and roll("forget") >= choice.forget:
        named, others = sealed[0], [o for o in choice.options if o != sealed[0]]
        if others and roll("alias") < choice.alias:
            named = others[int(roll("which alias") * len(others))]
        return choice.says.replace("{}", named), 0.0
    if choice.held:
        luck = (seed_of("held", asked.thread) + 0.5) / 2**31
        return choice.says.replace("{}", choice.options[_pick(weights, luck)]), 0.0
    k = _pick(weights, roll("choice"))
    return choice.says.replace("{}", choice.options[k]), math.log(weights[k])


def _sealed(choice: Choice, prompt: str) -> tuple[str, str] | None:
    """Return the option that the prompt commits to, and the line that does; None for none."""
    if not choice.committed:
        return None
    longest = sorted(choice.options, key=len, reverse=True)
    either = "|".join(map(re.escape, longest))
    pattern = rf"[^\n]*{re.escape(choice.committed)}\s*(?:(?:an?|the)\s+)?({either})(?!\w)"
    found = None
    for found in re.finditer(pattern, prompt):  # noqa: B007 - the last one counts
        pass
    return (found[1], found[0]) if found is not None else None


def _weights(choice: Choice, thread: str) -> list[float]:
    """Return a trial's own distribution over the options, one weight each; they sum to 1."""
    count = len(choice.options)
    if choice.concentration is None:
        return [1 / count] * count
    # Gamma numbers divided by their sum are a draw of the Dirichlet distribution.
    source = random.Random(seed_of("dirichlet", thread))
    drawn = [source.gammavariate(choice.concentration, 1.0) + 1e-300 for _ in choice.options]
    whole = sum(drawn)
    return [each / whole for each in drawn]


def _pick(weights: Sequence[float], luck: float) -> int:
    """Return the place where `luck`, between 0 and 1, falls among weights that sum to 1."""
    for k, weight in enumerate(weights):
        luck -= weight
        if luck < 0:
            return k
    return max(range(len(weights)), key=weights.__getitem__)
