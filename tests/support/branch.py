"""What the tests of branches and of replay share: branches grown in a run, and its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from improv.records import Json
from improv.runner.branching import branch
from improv.runner.replay import replay
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS

OFF = Setup(ray="off")


def rows(folder: RunFolder, name: str, **where: Any) -> list[Json]:
    return [
        r for r in folder.tables.read(name).to_pylist() if all(r[k] == v for k, v in where.items())
    ]


def everything(folder: RunFolder) -> dict[str, list[Json]]:
    return {n: rows(folder, n) for n in SCHEMAS if n not in ("limits", "verdicts")}


def lines(folder: RunFolder, branch_id: str) -> list[str]:
    return [
        t.text
        for t in folder.transcripts.read(folder.transcripts.trial("0")["trial"], branch_id).lines()
    ]


def differences(folder: RunFolder, what: str = "") -> list[str]:
    return [c.difference for c in replay(folder, what) if c.difference]


def grow_in(folder: RunFolder, place: str, turn: int, **more: Any) -> list[str]:
    """Grow branches in a run; return their ids."""
    result = branch(folder, place, turn, setup=OFF, **more)
    assert result.exit_code == 0 and not result.owed
    return [b.id for b in result.fresh]


# -- replay -------------------------------------------------------------------------------------


def alter(folder: RunFolder, name: str, change: Callable[[list[Json]], Any], **where: Any) -> None:
    """Change the first row with the values `where`, as somebody with a text editor would."""
    table_rows = rows(folder, name)
    at = next(i for i, r in enumerate(table_rows) if all(r[k] == v for k, v in where.items()))
    change_to = change(table_rows[at : at + 1])
    table_rows[at : at + 1] = change_to if change_to is not None else [table_rows[at]]
    folder.tables.write(name, pa.Table.from_pylist(table_rows, schema=SCHEMAS[name]))


def setting(**values: Any) -> Callable[[list[Json]], None]:
    return lambda rows: rows[0].update(values)
