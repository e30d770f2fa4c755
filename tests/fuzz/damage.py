"""Every file of a small run damaged in about thirty ways, and every command on each.

Where the fuzzers draw, this goes through all of it: bits are flipped, blocks zeroed, files cut off,
removed and exchanged; tables lose a column, or have one that is empty or of another type. A command
may take the run, or say in a sentence which file is wrong.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from improv.errors import ImprovError
from improv.files import shipped
from improv.scoring import human_ratings
from improv.scoring.scorer import Judges, score
from tests.fuzz.outcome import Kind, Words, command
from tests.support.export import busy_run
from tests.support.ui import components, in_room
from ui.shared import permission

BLOCK = 512
"""Bytes of a zeroed block, as a disk loses them."""
COMMANDS: list[list[str]] = [
    *(["show", "x/0", "--prompts"], ["report", "x"], ["graph", "x"]),
    *(["export", "x", "--to", "jsonl"], ["score", "x"], ["replay", "x/0"]),
    *(["branch", "x/0@2", "--ray", "off"], ["resume", "x", "--ray", "off"], ["list"]),
]
ROOMS = ["scene", "compare", "graph", "multiverse"]
TRIES = [" ".join(words) for words in COMMANDS] + [f"view {room}" for room in ROOMS]
"""What is tried on each damaged run: the commands, and the rooms of the viewer."""


def prepare(shared: Path) -> None:
    """Play, score and rate the run that is damaged."""
    folder = busy_run(shared)
    score(folder, judges=Judges("puppet"))
    ann = human_ratings.judge_name("Ann")
    for item in human_ratings.rating_items(folder, folder.study(), "p2l")[:3]:
        human_ratings.add_rating(folder, item, ann, item.options[0], 1.0)
    Path(folder.local).rename(shared / "run")


def files(shared: Path) -> list[str]:
    """Return the names of the run's files."""
    run = shared / "run"
    return sorted(
        str(file.relative_to(run))
        for file in run.rglob("*")
        if file.is_file() and file.stat().st_size
    )


def damages(shared: Path, name: str) -> Iterator[Words]:
    """Yield the damages of one file."""
    size, others = (shared / "run" / name).stat().st_size, files(shared)
    flips = [i * (size - 1) // 9 for i in range(10)] + [size - 1 - i for i in (1, 5, 9, 40)]
    for place in sorted({p for p in flips if p >= 0}):
        yield {"how": "a flipped bit", "file": name, "place": place}
    for place in sorted({0, 1, size // 3, size // 2, size - 9, size - 1}):
        if 0 <= place < size:
            yield {"how": "cut off", "file": name, "place": place}
    for place in sorted({0, size // 4, size // 2, max(0, size - BLOCK)}):
        yield {"how": "a zeroed block", "file": name, "place": place}
    yield {"how": "removed", "file": name, "place": 0}
    at = others.index(name)
    for step in (1, 2, len(others) // 2):
        other = others[(at + step) % len(others)]
        yield {"how": "exchanged", "file": name, "place": 0, "other": other}
    if name.endswith(".parquet"):
        columns = len(pq.read_schema(shared / "run" / name))
        for place in (0, columns // 2, columns - 1):
            yield {"how": "a column less", "file": name, "place": place}
            yield {"how": "an empty column", "file": name, "place": place}
            yield {"how": "a column of another type", "file": name, "place": place}
    elif name.endswith(".json"):
        data = json.loads((shared / "run" / name).read_bytes())
        for place in range(min(len(data), 8)):
            yield {"how": "another value", "file": name, "place": place}


def all_damages(shared: Path) -> list[Words]:
    return [words for name in files(shared) for words in damages(shared, name)]


def damage(run: Path, words: Words) -> None:
    """Damage a file of a run."""
    file, how, place = run / words["file"], words["how"], words["place"]
    data = bytearray(file.read_bytes())
    if how == "removed":
        file.unlink()
    elif how == "exchanged":
        other = run / words["other"]
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif how == "another value":
        values = json.loads(data)
        name = sorted(values)[place]
        values[name] = ["odd"] if isinstance(values[name], str | int) else "odd"
        file.write_text(json.dumps(values))
    elif "column" in how:
        _damage_column(file, how, place)
    else:
        if how == "a flipped bit":
            data[place] ^= 1 << place % 8
        elif how == "cut off":
            del data[place:]
        else:
            data[place : place + BLOCK] = bytes(len(data[place : place + BLOCK]))
        file.write_bytes(data)


def _damage_column(file: Path, how: str, place: int) -> None:
    table = pq.read_table(file)
    name, column = table.column_names[place], table.column(place)
    if how == "a column less":
        table = table.remove_column(place)
    elif how == "an empty column":
        table = table.set_column(place, name, pa.nulls(len(table), column.type))
    else:
        odd: list[Any] = [{"odd": i} for i in range(len(table))]
        table = table.set_column(place, name, pa.array(odd))
    pq.write_table(table, file)


def try_damage(words: Words, place: Path, shared: Path) -> None:
    """Damage a copy of the run, and try one thing on it. Raises AssertionError where it is refused
    and the sentence does not name the file."""
    runs = place / "runs"
    shutil.copytree(shared / "run", runs / "x")
    damage(runs / "x", words)
    names = {Path(words[part]).name for part in ("file", "other") if part in words}
    try:
        _try(words["try"].split(), runs, place)
    except ImprovError as e:
        # A line that the terminal has broken is one line again.
        text = "".join(str(e).split())
        if not any(name in text for name in names):
            raise AssertionError(f"{' and '.join(sorted(names))} not named in: {e}") from None
        raise


def _try(words: list[str], runs: Path, place: Path) -> None:
    if words[0] == "view":
        os.environ["IMPROV_RUNS"] = str(runs)
        os.environ[permission.TOKEN] = "a-token"
        app = AppTest.from_file(str(shipped("ui") / "app.py"), default_timeout=60)
        app._bidi_component_manager = components()
        app.query_params["run"] = "x"
        shown = in_room(app, words[1]).run()
        for fault in shown.exception:
            raise AssertionError(f"the room shows {fault.message} {fault.stack_trace}"[:3000])
        if shown.error:
            raise ImprovError(" ".join(str(e.value) for e in shown.error) or "?")
        return
    if words[0] in ("report", "graph", "export"):
        suffix = {"report": "html", "graph": "gexf", "export": "jsonl"}[words[0]]
        words = [*words, "-o", str(place / f"out.{suffix}")]
    command(*words, "--runs", str(runs))


DAMAGE = Kind("damage", "damaged files", st.just({}), try_damage, prepare)
