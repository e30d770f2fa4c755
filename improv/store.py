"""The run folder: the only place that knows how a run lies on disk.

    runs/<run id>/
      study.yaml            the study as it was resolved: every scene as it is played
      run.json              versions, plan hash, models, status
      journal/<host>.jsonl  every call, written before its reply is used
      shards/<host>-<n>.*   finished trials; the `.trials` file comes last and makes them count
      trials.parquet  turns.parquet  calls.parquet  blocks.parquet  scores.parquet

While a run plays, its hosts write shards; when it ends they are compacted into the five tables,
sorted by trial and turn. Any address that pyarrow.fs knows can hold the runs folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from improv.errors import RunError
from improv.record import MAIN, Act, Block, Call, Draw, Json, Score, Transcript, Turn
from improv.study import Study, resolved, unresolved
from improv.trial import Trial

ROW_GROUP = 10_000
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_TEXT = pa.string()
_PAIRS = pa.list_(pa.struct([("name", _TEXT), ("value", _TEXT)]))
_IDENTITY = [("trial", _TEXT), ("branch", _TEXT)]

SCHEMAS: dict[str, pa.Schema] = {
    "trials": pa.schema(
        [
            *_IDENTITY,
            ("index", pa.int32()),
            ("scene", _TEXT),
            ("title", _TEXT),
            ("condition", _TEXT),
            ("levels", _PAIRS),
            ("block", _TEXT),
            ("replicate", pa.int32()),
            ("status", _TEXT),
            ("failure", _TEXT),
            ("failure_kind", _TEXT),
            ("failure_turn", pa.int32()),
            ("turns", pa.int32()),
            ("calls", pa.int32()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("retries", pa.int32()),
            ("seconds", pa.float64()),
        ]
    ),
    "turns": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("seq", pa.int32()),
            ("kind", _TEXT),
            ("speaker", _TEXT),
            ("text", _TEXT),
            ("raw", _TEXT),
            ("cuts", pa.list_(_TEXT)),
            ("addressed", _TEXT),
            ("by", _TEXT),
            ("aside", pa.bool_()),
            ("heard_by", pa.list_(_TEXT)),
            ("acts", pa.list_(pa.struct([("kind", _TEXT), ("to", _TEXT), ("text", _TEXT)]))),
        ]
    ),
    "calls": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("role", _TEXT),
            ("purpose", _TEXT),
            ("attempt", pa.int32()),
            ("model", _TEXT),
            ("endpoint", _TEXT),
            ("mode", _TEXT),
            ("params", _TEXT),
            ("blocks", pa.list_(_TEXT)),
            ("reply", _TEXT),
            ("finish_reason", _TEXT),
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
            ("cached_tokens", pa.int32()),
            ("started", pa.float64()),
            ("latency", pa.float64()),
            ("retries", pa.int32()),
            ("error", _TEXT),
        ]
    ),
    "blocks": pa.schema([("id", _TEXT), ("kind", _TEXT), ("text", _TEXT)]),
    "scores": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("character", _TEXT),
            ("measure", _TEXT),
            ("version", _TEXT),
            ("value", pa.float64()),
            ("evidence", _TEXT),
        ]
    ),
}
"""The columns of each table. Times are in seconds, `started` since the epoch."""

CLOCKED = {
    "trials": ("seconds", "retries", "cached_tokens"),
    "calls": ("started", "latency", "retries", "endpoint", "cached_tokens"),
}
"""Columns that tell of the machine and the moment; all others hang on trials and replies alone."""

_SORT = {
    "trials": ["index", "branch"],
    "turns": ["trial", "branch", "turn", "seq"],
    "calls": ["trial", "branch", "turn", "purpose", "role", "attempt"],
    "blocks": ["id"],
    "scores": ["trial", "branch", "turn", "measure", "character"],
}
_CALL_FIELDS = [f.name for f in fields(Call) if f.name not in ("draw", "blocks")]
_TURN_FIELDS = [f.name for f in fields(Turn) if f.name != "acts"]


def place(root: str | os.PathLike[str]) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem and path of a runs folder: a local path or any pyarrow.fs address."""
    text = os.fspath(root)
    try:
        if "://" in text:
            return pafs.FileSystem.from_uri(text)  # type: ignore[no-any-return]
        return pafs.LocalFileSystem(), str(Path(text).resolve())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as e:
        raise RunError(f"{text}: not an address that holds runs: {e}") from None


def new_run_id(name: str) -> str:
    """Return an id that sorts by time and says what was played."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{uuid.uuid4().hex[:4]}"


def list_runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    """Return the runs in a folder, newest first. What is no run, or a torn one, is passed over."""
    fs, base = place(root)
    found = []
    for info in fs.get_file_info(pafs.FileSelector(base, allow_not_found=True)):
        if info.type == pafs.FileType.Directory and RUN_ID.fullmatch(info.base_name):
            folder = RunFolder(fs, f"{base}/{info.base_name}", os.fspath(root))
            with contextlib.suppress(RunError):
                found.append((str(folder.meta().get("created", "")), folder))
    return [folder for _, folder in sorted(found, key=lambda pair: pair[0], reverse=True)]


def open_run(root: str | os.PathLike[str], run: str) -> RunFolder:
    """Open a run by its id, a unique beginning or ending of it, or "last". Raises RunError."""
    if run != "last" and not RUN_ID.fullmatch(run):
        raise RunError(f"{run!r} is not the name of a run")
    fs, base = place(root)
    folder = RunFolder(fs, f"{base}/{run}", os.fspath(root))
    if run != "last" and folder.exists():
        return folder
    runs = list_runs(root)
    if run == "last" and runs:
        return runs[0]
    near = [r for r in runs if r.id.startswith(run) or r.id.endswith(run)]
    if len(near) == 1:
        return near[0]
    known = ", ".join(r.id for r in (near or runs)[:5]) or "none"
    why = "means several runs" if near else "is not a run"
    raise RunError(f"{run}: {why} in {os.fspath(root)}; there: {known}")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Reading never writes; a run that is still playing may be read."""

    fs: pafs.FileSystem
    path: str
    root: str

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    # -- writing ---------------------------------------------------------------------------

    def create(self, study: Study, meta: Json) -> None:
        """Make the folder with its study and run.json. Raises RunError if it cannot be made."""
        try:
            if self.exists():
                raise RunError(f"{self.path}: there is a run already")
            if isinstance(self.fs, pafs.LocalFileSystem):
                # Transcripts may be anybody's; only their owner reads them.
                Path(self.path).mkdir(mode=0o700, parents=True)
            for part in ("journal", "shards"):
                self.fs.create_dir(f"{self.path}/{part}")
            self._put("study.yaml", resolved(study).encode())
            self.update(meta)
        except OSError as e:
            raise RunError(f"{self.path}: cannot be written: {e}") from None

    def update(self, changes: Json) -> None:
        """Change run.json, whole or not at all."""
        meta = (self.meta() if self.exists() else {}) | changes
        self._put("run.json", orjson.dumps(meta, option=orjson.OPT_INDENT_2))

    def compact(self, *, finished: bool) -> None:
        """Merge the shards into the five tables, sorted, and remove them.

        With the run `finished`, the tables hold all that the journals did, which go too.
        """
        if self._shards():
            for name in ("turns", "calls", "blocks", "scores", "trials"):
                self.write_table(name, self.table(name))
            self.fs.delete_dir_contents(f"{self.path}/shards", missing_dir_ok=True)
        if finished:
            self.fs.delete_dir_contents(f"{self.path}/journal", missing_dir_ok=True)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one whole table, sorted and compressed, under a temporary name first."""
        table = table.sort_by([(c, "ascending") for c in _SORT[name]])
        final = f"{self.path}/{name}.parquet"
        with self.fs.open_output_stream(f"{final}.tmp") as sink:
            pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
        self.fs.move(f"{final}.tmp", final)

    def _put(self, name: str, data: bytes) -> None:
        with self.fs.open_output_stream(f"{self.path}/{name}.tmp") as sink:
            sink.write(data)
        self.fs.move(f"{self.path}/{name}.tmp", f"{self.path}/{name}")

    # -- reading ---------------------------------------------------------------------------

    def exists(self) -> bool:
        info = self.fs.get_file_info(f"{self.path}/run.json")
        return bool(info.type == pafs.FileType.File)

    def meta(self) -> Json:
        """Return run.json. Raises RunError where it cannot be read."""
        try:
            found = orjson.loads(self._get("run.json"))
        except (OSError, orjson.JSONDecodeError) as e:
            raise RunError(f"{self.path}/run.json: cannot be read: {e}") from None
        return found if isinstance(found, dict) else {}

    def study(self) -> Study:
        """Return the study as it was resolved when the run was made."""
        return unresolved(self._get("study.yaml").decode(), f"{self.path}/study.yaml")

    def table(
        self, name: str, *, trial: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return a table: what was compacted and every shard that counts.

        With `trial`, only that trial's rows, read from the row groups that can hold them.
        """
        schema = SCHEMAS[name]
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        keep = [("trial", "=", trial)] if trial is not None and name != "blocks" else None
        wanted = list(columns) if columns is not None else None
        parts = []
        for path in self._files(name):
            with self.fs.open_input_file(path) as source:
                part = pq.read_table(source, columns=wanted, filters=keep)
            parts.append(part.select(schema.names).cast(schema))
        whole = pa.concat_tables(parts) if parts else schema.empty_table()
        if name == "blocks":
            whole = _first_of_each(whole, "id")
        order = [(c, "ascending") for c in _SORT[name] if c in schema.names]
        return whole.sort_by(order) if order else whole

    def transcript(self, trial: str, branch: str = MAIN) -> Transcript:
        """Return the turns of one trial, in order."""
        rows = self.table("turns", trial=trial).filter(pc.field("branch") == branch).to_pylist()
        return Transcript(trial, branch, tuple(map(_turn, rows)))

    def calls(self, trial: str, branch: str = MAIN) -> list[Call]:
        """Return the calls of one trial, in order."""
        rows = self.table("calls", trial=trial).filter(pc.field("branch") == branch).to_pylist()
        return [_call(row) for row in rows]

    def blocks(self, ids: Iterable[str]) -> dict[str, Block]:
        """Return the blocks of these ids."""
        wanted = pa.array(list(dict.fromkeys(ids)), _TEXT)
        table = self.table("blocks")
        rows = table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
        return {row["id"]: Block(**row) for row in rows}

    def trial(self, name: str) -> Json:
        """Return the row of a trial by id, its number in the plan, or a unique beginning of the id.

        Raises RunError where there is none or several.
        """
        rows = self.table("trials").to_pylist()
        exact = [r for r in rows if r["trial"] == name]
        numbered = [r for r in rows if name == str(r["index"])]
        near = exact or numbered or [r for r in rows if r["trial"].startswith(name)]
        near = [r for r in near if r["branch"] == MAIN] or near
        if len(near) != 1:
            why = "means several trials" if near else "is not a finished trial"
            raise RunError(f"{name}: {why} of {self.id}; `improv show {self.id}` lists them")
        row: Json = near[0]
        return row

    def journaled(self) -> Iterator[Call | Block]:
        """Yield what the hosts' journals hold; a torn last line is passed over."""
        selector = pafs.FileSelector(f"{self.path}/journal", allow_not_found=True)
        for info in sorted(self.fs.get_file_info(selector), key=lambda i: i.path):
            if info.path.endswith(".jsonl"):
                with self.fs.open_input_stream(info.path) as source:
                    yield from _read_journal(source.read())

    def _get(self, name: str) -> bytes:
        with self.fs.open_input_stream(f"{self.path}/{name}") as source:
            return bytes(source.read())

    def _shards(self) -> list[str]:
        """Return the stems of the shards that count: those whose trials have been written."""
        selector = pafs.FileSelector(f"{self.path}/shards", allow_not_found=True)
        names = [info.path for info in self.fs.get_file_info(selector)]
        return sorted(
            n.removesuffix(".trials.parquet") for n in names if n.endswith(".trials.parquet")
        )

    def _files(self, name: str) -> list[str]:
        whole = f"{self.path}/{name}.parquet"
        candidates = [whole] + [f"{stem}.{name}.parquet" for stem in self._shards()]
        infos = self.fs.get_file_info(candidates)
        return [i.path for i in infos if i.type == pafs.FileType.File]


class Journal:
    """Appends calls and blocks to one host's file, before anything is made of them.

    Each append reaches the operating system at once, so that a crash of the process loses
    nothing; `sync`, called every second or so, bounds what a power cut can take.
    """

    def __init__(self, run: RunFolder, host: str) -> None:
        self._dirty = False
        if not isinstance(run.fs, pafs.LocalFileSystem):
            raise RunError(f"{run.path}: the journal needs a folder that this machine mounts")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(f"{run.path}/journal/{host}.jsonl", flags, 0o600)

    def append(self, call: Call, blocks: Iterable[Block]) -> None:
        """Write a call, and the blocks it was the first to show, in one piece."""
        lines = [orjson.dumps([b.id, b.kind, b.text]) for b in blocks]
        draw = call.draw
        identity = [draw.trial, draw.branch, draw.turn, draw.role, draw.purpose, draw.attempt]
        rest = [getattr(call, name) for name in _CALL_FIELDS]
        lines.append(orjson.dumps([identity, call.blocks, rest]))
        lines.append(b"")
        data = memoryview(b"\n".join(lines))
        while data:
            data = data[os.write(self._file, data) :]
        self._dirty = True

    def sync(self) -> None:
        if self._dirty:
            self._dirty = False
            os.fsync(self._file)

    def close(self) -> None:
        self.sync()
        os.close(self._file)


class Shards:
    """Gathers finished trials of one host and writes them, some at a time, as shards."""

    def __init__(self, run: RunFolder, host: str) -> None:
        self._run = run
        self._host = host
        self._count = 0
        self._rows: dict[str, list[Json]] = {name: [] for name in SCHEMAS}

    def __len__(self) -> int:
        return len(self._rows["trials"])

    def add(
        self,
        trial: Json,
        turns: Sequence[Turn],
        calls: Sequence[Call],
        blocks: Iterable[Block],
        scores: Sequence[Score] = (),
    ) -> None:
        """Add one finished trial whole."""
        rows = self._rows
        rows["trials"].append(trial)
        rows["turns"] += map(_turn_row, turns)
        rows["calls"] += map(_call_row, calls)
        rows["blocks"] += [{"id": b.id, "kind": b.kind, "text": b.text} for b in blocks]
        rows["scores"] += [{f.name: getattr(s, f.name) for f in fields(Score)} for s in scores]

    def flush(self) -> None:
        """Write what was gathered; the trials last, because they make the rest count."""
        if not self._rows["trials"]:
            return
        rows, self._rows = self._rows, {name: [] for name in SCHEMAS}
        stem = f"{self._run.path}/shards/{self._host}-{self._count:06d}"
        self._count += 1
        for name in ("turns", "calls", "blocks", "scores", "trials"):
            if not rows[name]:
                continue
            found = rows[name]
            if name == "blocks":
                found = list({row["id"]: row for row in found}.values())
            table = pa.Table.from_pylist(found, schema=SCHEMAS[name])
            final = f"{stem}.{name}.parquet"
            with self._run.fs.open_output_stream(f"{final}.tmp") as sink:
                pq.write_table(table, sink, compression="zstd")
            self._run.fs.move(f"{final}.tmp", final)


def trial_row(
    trial: Trial,
    branch: str,
    turns: Sequence[Turn],
    calls: Sequence[Call],
    failure: tuple[str, int, str] | None,
    seconds: float,
) -> Json:
    """Return the row of a finished trial."""
    kind, at, why = failure or ("", None, "")
    return {
        "trial": trial.id,
        "branch": branch,
        "index": trial.index,
        "scene": trial.slug,
        "title": trial.scene.title,
        "condition": trial.condition,
        "levels": [{"name": f, "value": lv} for f, lv in trial.levels],
        "block": trial.block,
        "replicate": trial.replicate,
        "status": "failed" if failure else "done",
        "failure": why,
        "failure_kind": kind,
        "failure_turn": at,
        "turns": sum(t.kind in ("line", "silence") for t in turns),
        "calls": len(calls),
        "prompt_tokens": sum(c.prompt_tokens or 0 for c in calls),
        "completion_tokens": sum(c.completion_tokens or 0 for c in calls),
        "cached_tokens": sum(c.cached_tokens or 0 for c in calls),
        "retries": sum(c.retries for c in calls),
        "seconds": seconds,
    }


def _turn_row(turn: Turn) -> Json:
    row = {name: getattr(turn, name) for name in _TURN_FIELDS}
    row["acts"] = [{"kind": a.kind, "to": a.to, "text": a.text} for a in turn.acts]
    return row


def _turn(row: Json) -> Turn:
    row["acts"] = tuple(Act(**a) for a in row["acts"] or ())
    row["cuts"] = tuple(row["cuts"] or ())
    row["heard_by"] = tuple(row["heard_by"] or ())
    return Turn(**row)


def _call_row(call: Call) -> Json:
    row = {name: getattr(call, name) for name in _CALL_FIELDS}
    row["blocks"] = call.blocks
    draw = call.draw
    row |= {"trial": draw.trial, "branch": draw.branch, "turn": draw.turn}
    return row | {"role": draw.role, "purpose": draw.purpose, "attempt": draw.attempt}


def _call(row: Json) -> Call:
    draw = Draw(*(row.pop(f.name) for f in fields(Draw)))
    row["blocks"] = tuple(row["blocks"] or ())
    return Call(draw=draw, **row)


def _read_journal(data: bytes) -> Iterator[Call | Block]:
    for line in data.split(b"\n"):
        with contextlib.suppress(orjson.JSONDecodeError):
            first, second, third = orjson.loads(line)
            if isinstance(first, str):
                yield Block(first, second, third)
            else:
                rest = dict(zip(_CALL_FIELDS, third, strict=True))
                yield Call(draw=Draw(*first), blocks=tuple(second), **rest)


def _first_of_each(table: pa.Table, column: str) -> pa.Table:
    """Keep the first row of each value: the same block comes from every host that showed it."""
    places = pa.array(range(len(table)), pa.int64())
    firsts = table.append_column("_at", places).group_by(column).aggregate([("_at", "min")])
    return table.take(firsts["_at_min"])
