"""Damages every file of a small run in about thirty ways, tries every command and room on each, and
prints a table.

    python -m tools.damage --file turns.parquet --every 3

A damaged run is fine, or a sentence names the file. Anything else is printed, and the exit code is
1: a traceback, a sentence that names no file, more than ten seconds, more than 2 GiB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.damage import DAMAGE, TRIES, all_damages
from tests.fuzz.outcome import Outcome, Result, Words
from tests.fuzz.pool import Pool


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--file", nargs="+", default=[], help="only these files of the run")
    parser.add_argument("--every", type=int, default=1, help="try only every so many cases")
    parser.add_argument("--jobs", type=int, default=1, help="processes that try them")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="improv-damage-") as shared:
        DAMAGE.prepare(Path(shared))
        cases = [
            {**words, "try": what}
            for words in all_damages(Path(shared))
            for what in TRIES
            if not chosen.file or words["file"] in chosen.file
        ]
        pool = Pool("tests.fuzz.damage:DAMAGE", Path(shared), chosen.jobs)
        try:
            for words in cases[:: chosen.every]:
                pool.try_input(words)
            pool.finish()
        finally:
            pool.close()
    for line in table(pool.results):
        print(line)
    faults = [(words, result) for words, result in pool.results if result.bad]
    for words, result in faults:
        print(f"\n{words}\n  {result.outcome}: {result.where}\n{result.text[-1500:]}")
    return int(bool(faults))


def table(results: Sequence[tuple[Words, Result]]) -> list[str]:
    """Return the outcomes of each kind of damage, and of each command and room, in Markdown."""
    lines = []
    for part in ("how", "try"):
        counts: dict[str, Counter[Outcome]] = {}
        for words, result in results:
            counts.setdefault(words[part], Counter())[result.outcome] += 1
        lines += [f"| {part} | cases | {' | '.join(Outcome)} |", "|---|" + "---:|" * 6]
        for name, row in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
            cells = [row.total(), *(row[outcome] for outcome in Outcome)]
            lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in cells)} |")
        lines.append("")
    return lines


if __name__ == "__main__":
    sys.exit(main())
