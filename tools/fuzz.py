"""Fuzzes every kind of input that comes from outside, and writes docs/fuzz.md.

    python -m tools.fuzz --inputs 10000 --kind study card

An input is fine, or improv says in a sentence what is wrong with it. A traceback, more than ten
seconds, and more than 2 GiB are failures: one input of each way to fail, the shortest, is kept in
tests/fuzz/examples, which the tests try from then on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.kinds import KINDS
from tests.fuzz.outcome import Kind, Outcome, Result, Words
from tests.fuzz.pool import Pool, prepare_apart

TOP = Path(__file__).resolve().parents[1]
EXAMPLES = TOP / "tests" / "fuzz" / "examples"
PAGE = TOP / "docs" / "fuzz.md"
_HEAD = """\
# What strangers' files come to

`make fuzz` makes inputs of each kind, valid ones first, which it then bends: it changes values,
names, bytes, columns, encodings and framings, makes structures deep, wide and long, and puts
folders, pipes and links in the place of files. An input is tried in a child process that has ten
seconds and 2 GiB; seconds in which it waits for a processor do not count. *Fine* is an input that
improv takes, *told* one that it refuses in a sentence. The columns *traceback*, *over 10 s* and
*over 2 GiB* have to be 0. An input that failed once is kept in `tests/fuzz/examples`, and
`make test` tries it again, with a few new inputs of every kind.

"""
_END = """
A row is from the last `make fuzz` of its kind, of as many inputs as its column says.
`make fuzz ARGS="--kind study"` tries 10,000; `--inputs 500` tries fewer, `--seed 7` others.
"""


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    kind: Kind
    seed: int
    counts: Counter[Outcome] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0
    failures: dict[str, tuple[Words, Result]] = field(default_factory=dict)

    def add(self, words: Words, result: Result) -> None:
        self.counts[result.outcome] += 1
        self.slowest = max(self.slowest, result.seconds)
        self.largest = max(self.largest, result.peak)
        if result.bad:
            way = f"{result.outcome}: {result.where}"
            kept = self.failures.get(way)
            if kept is None or len(json.dumps(words)) < len(json.dumps(kept[0])):
                self.failures[way] = (words, result)

    @property
    def row(self) -> list[str]:
        cells = [self.counts.total(), *(self.counts[outcome] for outcome in Outcome)]
        numbers = [f"{cell:,}" for cell in cells]
        return [
            self.kind.what,
            *numbers,
            f"{self.slowest:.1f} s",
            f"{self.largest / 2**20:,.0f} MiB",
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--inputs", type=int, default=10_000, help="inputs of each kind")
    words.add_argument("--kind", nargs="+", choices=sorted(KINDS), default=list(KINDS))
    words.add_argument("--seed", type=int, default=1, help="another seed makes other inputs")
    words.add_argument("--jobs", type=int, default=1, help="processes that try inputs")
    words.add_argument("--no-page", action="store_true", help="do not write docs/fuzz.md")
    chosen = words.parse_args(arguments)
    failed = False
    for name in chosen.kind:
        tally = fuzz(KINDS[name], chosen.inputs, chosen.seed, chosen.jobs)
        print(" | ".join([name, *tally.row[1:]]), flush=True)
        for way, (example, result) in tally.failures.items():
            print(f"  {way}\n    {keep(name, way, example)}\n{result.text[-1500:]}", flush=True)
            failed = True
        if not chosen.no_page:
            write_page({name: tally.row})
    return int(failed)


def fuzz(kind: Kind, inputs: int, number: int, jobs: int) -> Tally:
    """Try `inputs` inputs of a kind."""
    tally = Tally(kind, number)
    with tempfile.TemporaryDirectory(prefix="improv-fuzz-") as shared:
        prepare_apart(kind, Path(shared))
        pool = Pool(_place_of(kind), Path(shared), jobs)
        began = shown = time.monotonic()

        @seed(number)
        @settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(kind.inputs)
        def one(words: Words) -> None:
            nonlocal shown
            pool.try_input(words)
            live = sys.stderr.isatty()
            if time.monotonic() - shown > (1 if live else 60):
                shown = time.monotonic()
                bad = sum(result.bad for _, result in pool.results)
                line = f"{kind.name}: {len(pool.results):,} in {shown - began:.0f} s, {bad} bad"
                print(f"\r{line}" if live else line, end="" if live else "\n", file=sys.stderr)

        try:
            one()
            pool.finish()
        finally:
            pool.close()
        for words, result in pool.results:
            tally.add(words, result)
    return tally


def _place_of(kind: Kind) -> str:
    """Return the module and the name of a kind, by which a child finds it."""
    module = sys.modules[kind.attempt.__module__]
    name = next(n for n, value in vars(module).items() if value is kind)
    return f"{module.__name__}:{name}"


def keep(name: str, way: str, words: Words) -> str:
    """Keep an input that failed; return the name of its file."""
    text = json.dumps(words, indent=1) + "\n"
    slug = "".join(c if c.isalnum() else "-" for c in way.lower())[:60].strip("-")
    file = EXAMPLES / name / f"{slug}-{sha256(way.encode()).hexdigest()[:4]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file.relative_to(TOP))


def write_page(new: dict[str, list[str]]) -> None:
    """Write the rows of some kinds; those of the others stay as they are."""
    page = PAGE.read_text() if PAGE.exists() else ""
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}
    rows |= {name: "| " + " | ".join([name, *row]) + " |" for name, row in new.items()}
    head = ["kind", "what", "inputs", *Outcome, "slowest", "most memory"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += [rows[kind] for kind in KINDS if kind in rows]
    PAGE.write_text(_HEAD + "\n".join(lines) + "\n" + _END)


if __name__ == "__main__":
    sys.exit(main())
