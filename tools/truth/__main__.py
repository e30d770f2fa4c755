"""`make truth`: plants ten truths, plays them through the whole pipeline, writes docs/truth.md.

Every check is played in full with the first seed, and at a smaller size with the other seeds. The
figures of the other seeds may lie outside their band by two standard errors. The exit code is 1 if
a figure lies further outside.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

# Two processes share two cores. BLAS threads in them would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tools.truth.crew import play_check
from tools.truth.page import page, result_text

SLOWEST_FIRST = (2, 10, 8, 1, 3, 5, 7, 6, 4, 9)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "truth.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of the checks to play; no page is written"
    )
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    began = time.monotonic()
    numbers = [n for n in SLOWEST_FIRST if not args.only or n in args.only]
    tasks = [(n, seed, k > 0) for k, seed in enumerate(args.seeds) for n in numbers]
    results = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, mp_context=spawn) as pool:
        for task in as_completed([pool.submit(play_check, *each) for each in tasks]):
            results.append(task.result())
            print(result_text(results[-1]), flush=True)
    minutes = (time.monotonic() - began) / 60
    if not args.only:
        PAGE.write_text(page(results, minutes))
        print(f"{PAGE} written after {minutes:.1f} minutes")
    return 0 if all(r.held for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
