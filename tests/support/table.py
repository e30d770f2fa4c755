"""What tests of units and findings share: tables made by hand, whose results can be counted.

Trials are named by their condition and number ("x3"); a trial's block is its number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from improv.analysis.units import Tables, make_tables
from improv.records import MAIN
from improv.study.plan import Plan

NAN = math.nan
SIGN = "sign:a/b"
Row = tuple[Any, ...]
COLUMNS = ["trial", "branch", "turn", "character", "measure", "version", "value"]


def trial(
    name: str,
    block: str = "s/0",
    branch: str = MAIN,
    arm: str = "",
    status: str = "done",
    **levels: str,
) -> dict[str, Any]:
    return {
        "trial": name,
        "branch": branch,
        "index": 0,
        "origin": "branch" if arm else "main",
        "levels": [{"name": k, "value": v} for k, v in levels.items()],
        "scene": block.split("/")[0],
        "condition": " · ".join(levels.values()) or "as written",
        "block": block,
        "arm": arm or None,
        "status": status,
    }


def trials(n: int, *conditions: str, factor: str = "first") -> list[dict[str, Any]]:
    """A trial of each condition in each of so many blocks: "x0", "y0", "x1", ..."""
    return [trial(f"{c}{k}", f"s/{k}", **{factor: c}) for k in range(n) for c in conditions]


def said(
    name: str,
    values: Iterable[float],
    measure: str = SIGN,
    who: str = "Ana",
    branch: str = MAIN,
    first: int = 1,
    step: int = 1,
    version: str = "marker-1",
) -> Iterator[Row]:
    """Scores of a character's lines, turn by turn."""
    for i, value in enumerate(values):
        yield (name, branch, float(first + step * i), who, measure, version, float(value))


def lines(broken: int, of: int) -> list[float]:
    return [0.0] * broken + [1.0] * (of - broken)


def made(
    rows: Sequence[Mapping[str, Any]],
    scores: Iterable[Row] = (),
    moves: Iterable[Row] = (),
    conditions: Sequence[str] = (),
) -> Tables:
    """Tables of a run: `moves` are (trial, branch, turn)."""
    turns = pd.DataFrame(
        [(*m, [{"kind": "move", "to": "", "text": ""}]) for m in moves],
        columns=["trial", "branch", "turn", "acts"],
    )
    frame = pd.DataFrame(list(scores), columns=COLUMNS).astype({"value": float, "turn": float})
    return make_tables(pd.DataFrame(rows, columns=list(trial("t"))), frame, turns, conditions)


def crossed(shares: Mapping[str, Sequence[float]]) -> Tables:
    """A 2 × 2 design: "x1" (first: x, second: 1) → the share of ten lines broken in each block."""
    rows, scores = [], list[Row]()
    for cell, blocks in shares.items():
        a, b = cell[0], cell[1]
        for k, share in enumerate(blocks):
            rows.append(trial(f"{a}{b}-{k}", f"s/{k}", first=a, second=b))
            scores += said(f"{a}{b}-{k}", lines(round(10 * share), 10))
    return made(rows, scores)


def drawn(chance: np.random.Generator, broken: float, n: int) -> list[float]:
    """So many lines, each broken with that chance."""
    return (chance.random(n) >= broken).astype(float).tolist()  # type: ignore[no-any-return]


def plan(*contrasts: dict[str, Any], **more: Any) -> Plan:
    fields = {"hypothesis": "h", "outcome": {}, "blocks": 1, "contrasts": contrasts}
    return Plan.model_validate(fields | more)


def contrast(plus: Any, minus: Any, name: str = "c") -> dict[str, Any]:
    return {"name": name, "plus": plus, "minus": minus}


X, Y = {"first": "x"}, {"first": "y"}
X_Y = contrast(X, Y, "main")
