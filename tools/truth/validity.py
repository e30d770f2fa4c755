"""Measures in which domain each test and interval holds, cell by cell; writes docs/validity.md.

A cell is one test or interval, one shape of data and one number of units: at least 1,000 data sets
are drawn from a declared process and analysed by the functions that a report calls. Cells are
independent. Each is kept as soon as it is measured, in docs/validity.jsonl, with a digest of the
code that it measured; a run that was stopped goes on where it stopped, and cells of other code are
measured again.

    nice -n 19 python -m tools.truth.validity
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from improv.records import digest, seed_of
from tools.truth.validity_page import Cell, page
from tools.truth.validity_tests import SIZES, TESTS, Test

TOP = Path(__file__).resolve().parents[2]
CELLS = TOP / "docs" / "validity.jsonl"
PAGE = TOP / "docs" / "validity.md"
REPETITIONS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="+", choices=[t.name for t in TESTS])
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--page", action="store_true", help="write the page of what is there alone")
    parser.add_argument("--cells", type=Path, default=CELLS)
    args = parser.parse_args()
    known = read_cells(args.cells)
    if not args.page:
        # Few units first: there the question is open, and a cell takes least.
        for size in sorted(args.sizes):
            for test in TESTS:
                if not args.only or test.name in args.only:
                    measure(test, size, args.repetitions, known, args.cells)
    PAGE.write_text(page([c for c in known.values() if c.code == code_of(find_test(c.test))]))
    print(f"{PAGE} written")
    return 0


def find_test(name: str) -> Test:
    return next(test for test in TESTS if test.name == name)


def measure(
    test: Test, size: int, repetitions: int, known: dict[tuple[str, str, int], Cell], file: Path
) -> None:
    """Measure the cells of a test at one size that are not known of its present code."""
    code = code_of(test)
    for shape in test.shapes:
        key = (test.name, shape, size)
        cell = known.get(key)
        if cell is not None and cell.code == code and cell.repetitions >= repetitions:
            continue
        began = time.process_time()
        seed = seed_of("validity", test.name, shape, size)
        values = [v for v in test.draw(shape, size, repetitions, seed) if not math.isnan(v)]
        known[key] = Cell(
            test.name,
            shape,
            size,
            sum(values) / len(values) if values else math.nan,
            len(values),
            code,
        )
        with file.open("a") as out:
            out.write(json.dumps(known[key].row()) + "\n")
        seconds = time.process_time() - began
        print(f"{test.name}, {shape}, {size}: {known[key].value:.3f} ({seconds:.0f} s)", flush=True)


def read_cells(file: Path) -> dict[tuple[str, str, int], Cell]:
    """Return the cells of a file; of two alike the later one counts."""
    lines: Iterable[str] = file.read_text().splitlines() if file.exists() else ()
    cells = [Cell(**json.loads(line)) for line in lines if line.strip()]
    return {(c.test, c.shape, c.size): c for c in cells}


def code_of(test: Test) -> str:
    """Return a digest of the code that a test measures, and of the process that it draws from."""
    return digest("\0".join([*map(_source, test.modules), inspect.getsource(test.draw)]), size=8)


def _source(name: str) -> str:
    """Return the source of a module, or of one function of it, MODULE:NAME."""
    module, _, function = name.partition(":")
    loaded = importlib.import_module(module)
    return inspect.getsource(getattr(loaded, function) if function else loaded)


if __name__ == "__main__":
    sys.exit(main())
