"""Scoring of given texts by the embedded model: exactness, and what a shared beginning costs.

Scores 200 lines (names, quotes, umlauts, emoji, leading spaces) after one scene, each of them four
times: alone, with the scene cached, without a cache, and four at once. Each is compared with the
sum over a step through the whole vocabulary for each token, which takes minutes: `--lines 20` for a
first look. Run it with `python benchmarks/given.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

import orjson

from improv.models.client import Models
from improv.models.embedded import EmbeddedServer
from improv.models.given_text import read_scored
from improv.models.request import Ask, Prompt
from improv.records import Call, Draw, Json
from improv.study.model_spec import Model

SCENE = """THE LAST FERRY
a storm play in one act

A harbour office at night. The ferry has not come, and the lamp is going out.

MARA: You've got water in your boots.
BO: I've got water in everything.
MARA: Sit down, Zoë. Nobody is going anywhere tonight.
BO:"""
WHO = ("Mara", "Zoë", "Łukasz", "O’Neill", "José", "Bo", "Ünal", "Ms. Okafor", "Σ", "Åsa")
SAID = (
    " {} is never late.",
    " “Wait,” said {}.",
    ' "{}!" -- twice.',
    "  {} … listen.",
    "{}, sit down.",
    " It's {}'s boat.",
    " 🌧️ {} 🧑🏽‍🚀",
    " Ask {}: 1,234 = £5?",
    " NO, {}! NEVER!",
    " Übermut, {}, 雨だ。",
    " <|im_end|> {}",
    " \t{} shrugs.",
    " I was {} all along.",
    " {} and {} again.",
    " Who, {}?",
    " Good night, {}",
    " (To {}.) Yes.",
    " Naïve {}, café.",
    " {} 🦆",
    " Let {} row.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200)
    most = parser.parse_args().lines
    pairs = itertools.product(SAID, WHO)
    lines = [said.replace("{}", who) + "\n" for said, who in pairs][:: max(1, 200 // most)][:most]
    local = EmbeddedServer(slots=8, context=1024)
    began = time.perf_counter()
    alone = asyncio.run(scored(local, lines))
    seconds = time.perf_counter() - began
    written = sum(call.completion_tokens or 0 for call in alone)
    read = sum((call.prompt_tokens or 0) - (call.cached_tokens or 0) for call in alone)
    shared = len(tokens(local, SCENE))
    print(f"{len(lines)} lines, {written:,} tokens, in {seconds:.1f} s, {written / seconds:.0f}/s")
    # The last token that a request draws is not evaluated.
    read, needed = read - len(lines), shared + written
    print(
        f"evaluated {read + written:,} tokens; the beginning and the lines have {needed:,}: "
        f"{(read + written) / needed:.3f} times"
    )
    values = {
        "alone": logprobs(alone),
        "without a cache": logprobs(asyncio.run(scored(local, lines, cached=False))),
        "four at once": logprobs(asyncio.run(scored(local, lines, at_once=4))),
    }
    truth = [stepped(local, line) for line in lines]
    for name, each in values.items():
        worst = max(abs(a - b) for a, b in zip(each, truth, strict=True))
        print(f"{name}: at most {worst:.1e} nats from stepping through the vocabulary")
    local.close()


async def scored(
    local: EmbeddedServer, lines: Sequence[str], *, cached: bool = True, at_once: int = 1
) -> list[Call]:
    """Score the lines after the scene."""

    async def url(_: str) -> str:
        return local.url

    models, room = Models(url), asyncio.Semaphore(at_once)

    async def score(number: int, line: str) -> Call:
        # A different beginning in the same slot drives the scene out of the cache.
        if not cached:
            await models.complete(ask(" No.\n", 0, text=f"{number}. Another scene.\nANA:"))
        async with room:
            return await models.complete(ask(line, 0))

    calls = (
        await asyncio.gather(*itertools.starmap(score, enumerate(lines)))
        if cached
        else [await score(number, line) for number, line in enumerate(lines)]
    )
    await models.close()
    return list(calls)


def ask(line: str, slot: int, text: str = SCENE) -> Ask:
    draw = Draw("benchmark", "main", 1, "judge", "judge")
    return Ask(draw, Model(), Prompt("script", (), text=text), given=line, slot=slot)


def logprobs(calls: Sequence[Call]) -> list[float]:
    values = []
    for call in calls:
        read = read_scored(call.reply)
        assert read is not None, call.error
        values.append(read.logprob)
    return values


def post(local: EmbeddedServer, path: str, body: Json) -> Any:
    request = urllib.request.Request(
        local.url.removesuffix("/v1") + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=400) as reply:
        return orjson.loads(reply.read())


def tokens(local: EmbeddedServer, text: str) -> list[int]:
    body = {"content": text, "add_special": True, "parse_special": False}
    ids: list[int] = post(local, "/tokenize", body)["tokens"]
    return ids


def stepped(local: EmbeddedServer, line: str) -> float:
    """Return the log-probability of a line, token by token from the whole vocabulary."""
    whole, total = tokens(local, SCENE + line), 0.0
    for at in range(len(tokens(local, SCENE)), len(whole)):
        for most in (2000, 49152):
            body = {"prompt": whole[:at], "n_predict": 1, "n_probs": most, "id_slot": 7}
            # An ASCII token is drawn, because nothing is shown if a character is left open.
            body |= {"logit_bias": [[whole[0], 1000]]}
            (entry,) = post(local, "/completion", body)["completion_probabilities"]
            values = {each["id"]: each["logprob"] for each in entry["top_logprobs"]}
            if whole[at] in values:
                break
        total += values[whole[at]]
    return total


if __name__ == "__main__":
    main()
