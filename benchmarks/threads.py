"""The speed of the embedded model by its numbers of writing and reading threads.

Measures turns a second by scenes at once, and tokens a second of reading a long first prompt, on an
idle and on a busy machine. Each scene has two characters. Their prompts share a beginning, differ
in a private block, and then only grow, for 8 turns. Each measurement has a time limit, so that the
whole ends in three minutes. Run it on a machine that does nothing else:
`python benchmarks/threads.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from improv.models.embedded import EmbeddedServer

SECONDS = {1: 2.5, 2: 3.5, 4: 4.5, 8: 7.5}
"""The time limit by the number of scenes at once. It includes reading the first prompts."""
TURNS = 8

SHARED = "THE LAST FERRY\nScene {}\n\nA harbour office at night. A storm.\n"
PRIVATE = {"MARA": "(Mara has sold the boat.)\n\n", "BO": "(Bo wants to leave tonight.)\n\n"}
OPENING = "MARA: You've got water in your boots.\n"
number = count(1)


@dataclass
class Tally:
    turns: int = 0
    prompt: int = 0
    cached: int = 0
    seconds: float = 0.0


def play(address: str, scene: int, deadline: float) -> Tally:
    """Play one scene to its end or to the deadline."""
    tally = Tally()
    threads = {who: SHARED.format(scene) + text + OPENING for who, text in PRIVATE.items()}
    for turn in range(TURNS):
        who = "BO" if turn % 2 == 0 else "MARA"
        body = {
            "prompt": f"{threads[who]}{who}:",
            "max_tokens": 12,
            "stop": ["\n"],
            "seed": scene * 100 + turn,
            "temperature": 0.8,
            "min_p": 0.05,
        }
        left = deadline - time.perf_counter()
        if left <= 0 or (reply := ask(address, body, left)) is None:
            break
        tally.turns += 1
        tally.prompt += reply["usage"]["prompt_tokens"]
        tally.cached += reply["usage"]["prompt_tokens_details"]["cached_tokens"]
        said = reply["choices"][0]["text"].strip()
        threads = {name: f"{text}{who}: {said}\n" for name, text in threads.items()}
    return tally


def ask(address: str, body: dict[str, object], seconds: float) -> Any:
    """Return the reply, or None if it takes too long; the server then drops the request."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request(
            "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        return json.loads(connection.getresponse().read())
    except TimeoutError:
        return None
    finally:
        connection.close()


def read(local: EmbeddedServer) -> float:
    """Return the tokens a second at which the server reads new prompts."""
    address = local.url.removeprefix("http://").removesuffix("/v1")
    tokens, start = 0, time.perf_counter()
    for _ in range(2):
        long = " ".join(SHARED.format(next(number)) for _ in range(16))
        reply = ask(address, {"prompt": long, "max_tokens": 1}, 120)
        tokens += reply["usage"]["prompt_tokens"]
    return tokens / (time.perf_counter() - start)


def measure(local: EmbeddedServer, scenes: int) -> Tally:
    """Play so many new scenes at once, and return their sums."""
    start = time.perf_counter()
    address = local.url.removeprefix("http://").removesuffix("/v1")
    with ThreadPoolExecutor(scenes) as pool:
        done = list(
            pool.map(
                lambda n: play(address, n, start + SECONDS[scenes]),
                [next(number) for _ in range(scenes)],
            )
        )
    seconds = min(time.perf_counter() - start, SECONDS[scenes])
    return Tally(
        sum(t.turns for t in done),
        sum(t.prompt for t in done),
        sum(t.cached for t in done),
        seconds,
    )


@contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Keep another Python process busy, if one is wanted."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def main() -> None:
    rows: list[str] = []
    rates: dict[tuple[bool, int, int], list[float]] = {}
    reads: dict[tuple[bool, int, int], float] = {}
    for n_threads, n_reading in ((1, 1), (1, 2), (2, 2)):
        local = EmbeddedServer(n_threads=n_threads, n_reading=n_reading)
        measure(local, 1)  # the first request also warms it up
        for busy in (False, True):
            with neighbour(busy):
                reads[busy, n_threads, n_reading] = read(local)
                for scenes in SECONDS:
                    tally = measure(local, scenes)
                    rate = tally.turns / tally.seconds
                    # If no turn was finished, the rate is below that of one turn.
                    most = max(tally.turns, 1) / tally.seconds
                    rates.setdefault((busy, n_threads, n_reading), []).append(most)
                    share = tally.cached / max(1, tally.prompt)
                    machine = "busy" if busy else "idle"
                    rows.append(
                        f"{machine:>7} {n_threads:>7} {n_reading:>7} {scenes:>6} {rate:>8.2f} "
                        f"{share:>7.0%} {tally.turns:>6}"
                    )
        local.close()
    one, ours = sum(rates[False, 1, 1]), sum(rates[False, 1, 2])
    print(f"ratio {ours / one:.2f}")
    print(
        "(turns/s with one writing and two reading threads, divided by turns/s with one of each, "
        f"on {os.cpu_count()} idle cores; a lower bound if a row has no turn)\n"
    )
    print(f"{'machine':>7} {'writing':>7} {'reading':>7} {'tokens/s read of a long prompt':>31}")
    for (busy, n_threads, n_reading), rate in reads.items():
        machine = "busy" if busy else "idle"
        print(f"{machine:>7} {n_threads:>7} {n_reading:>7} {rate:>31.0f}")
    print(
        f"\n{'machine':>7} {'writing':>7} {'reading':>7} {'scenes':>6} {'turns/s':>8} "
        f"{'cached':>7} {'turns':>6}"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
