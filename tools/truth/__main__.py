"""`make truth`: plants ten truths, plays them through the whole pipeline, writes docs/truth.md.

Every check is made in full with the first seed, and again at a smaller size with the others, whose
figures have to be in the same bands but for two of their errors. Ends with 1 if any is not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

# Two processes share two cores: none of them should have BLAS threads that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tools.truth.crew import make
from tools.truth.page import page, row

SLOWEST_FIRST = (2, 10, 8, 1, 3, 5, 7, 6, 4, 9)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "truth.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of checks; writes no page")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    began = time.monotonic()
    numbers = [n for n in SLOWEST_FIRST if not args.only or n in args.only]
    wanted = [(n, seed, k > 0) for k, seed in enumerate(args.seeds) for n in numbers]
    made = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, mp_context=spawn) as crew:
        for task in as_completed([crew.submit(make, *each) for each in wanted]):
            made.append(task.result())
            print(row(made[-1]), flush=True)
    minutes = (time.monotonic() - began) / 60
    if not args.only:
        PAGE.write_text(page(made, minutes))
        print(f"{PAGE} written after {minutes:.1f} minutes")
    return 0 if all(m.held for m in made) else 1


if __name__ == "__main__":
    sys.exit(main())
