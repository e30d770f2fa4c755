"""The run folder: the only place that knows how a run lies on disk.

    runs/<run id>/
      study.yaml            the study as it was resolved: every scene as it is played
      run.json              versions, plan hash, model, branches, status
      lock  holder.json     who is playing it now
      journal/<host>.jsonl  every call, written before its reply is used
      journal/study.yaml    the study as it was when the run was made, to compare
      shards/<host>-<n>.*   finished trials, which count when all five files are there
      trials.parquet  turns.parquet  calls.parquet  blocks.parquet  scores.parquet  limits.parquet
      verdicts.parquet      what judges said, from journal/verdicts.jsonl once a scoring is over
      ratings/<rater>.jsonl what people said who judge: verdicts too, of judges "human:NAME"
      exposure.json         what the ledger found in a large run, for whoever looks again
      findings.json         what its analysis found, likewise
      aside/                what was found torn or foreign

While a run plays, its hosts write shards; when it ends they are compacted into the tables,
sorted by trial and turn. A branch's rows are its own; what it shares is read from its parents.
Any address that pyarrow.fs knows can be read; a run is played in a folder that is mounted.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from improv.branch import keeps, shared
from improv.design import Study
from improv.errors import RunError, first_line
from improv.journal import LIMITS, VERDICTS, Journaled
from improv.jsonl import JsonLines, read_rows
from improv.lock import unwritable
from improv.record import MAIN, Block, Call, Json, Score, Transcript, Turn
from improv.scene import Scene
from improv.snapshot import read_played_scene, read_question, read_study, write_study
from improv.tables import (
    PLAYED,
    SCHEMAS,
    SORT,
    call_of,
    conform,
    first_of_each,
    read_with,
    table_of,
    turn_of,
    with_error_kind,
)

ROW_GROUP = 10_000
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MANY_SCORES = 100_000
"""Scores from which on findings are kept: fewer are weighed as quickly as a page is drawn."""
RATINGS, HUMAN = "ratings", "human:"
_log = logging.getLogger("improv")
READING = (OSError, pa.ArrowException, KeyError, ValueError)
_BETWEEN = "\x1f"


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

    @property
    def local(self) -> Path:
        """The folder as this machine mounts it. Raises RunError where it does not."""
        if not isinstance(self.fs, pafs.LocalFileSystem):
            raise RunError(
                f"{self.path}: a run is played in a folder that this machine mounts; what was "
                "played can be copied to an object store and read there"
            )
        return Path(self.path)

    def refuse_links(self) -> None:
        """Raise RunError where a file of the run is a link, or no file: a folder from a stranger
        could have us write, move and delete elsewhere."""
        folder = self.local
        for file in itertools.chain(folder.glob("*"), *map(Path.iterdir, self._parts())):
            odd = file.exists() and not (file.is_file() or file.is_dir())
            if file.is_symlink() or odd:
                raise RunError(f"{file}: a link, or no plain file; a run that is played has none")

    def _parts(self) -> Iterator[Path]:
        return (f for f in self.local.glob("*") if f.is_dir() and not f.is_symlink())

    # -- writing ---------------------------------------------------------------------------

    def create(self, study: Study, meta: Json) -> None:
        """Make the folder with its study and run.json. Raises RunError if it cannot be made."""
        folder = self.local
        text = write_study(study).encode()
        try:
            if self.exists():
                raise RunError(f"{self.path}: there is a run already")
            # Transcripts may be anybody's; only their owner reads them.
            folder.mkdir(mode=0o700, parents=True)
        except OSError as e:
            raise unwritable(f"{self.path}: cannot be written: {e.strerror or e}", e) from None
        try:
            self.furnish()
            self._put("study.yaml", text)
            self._put("journal/study.yaml", text)
            self.update(meta)
        except OSError as e:
            shutil.rmtree(folder, ignore_errors=True)  # it would be no run, and have its name
            raise unwritable(f"{self.path}: cannot be written: {e.strerror or e}", e) from None

    def furnish(self) -> None:
        """Make the folders that a run is played into: whoever copies a finished run, as git does,
        may leave out what is empty. Raises OSError."""
        for part in ("journal", "shards"):
            (self.local / part).mkdir(mode=0o700, exist_ok=True)

    def update(self, changes: Json) -> None:
        """Change run.json, whole or not at all. Raises OSError."""
        meta = (self.meta() if self.exists() else {}) | changes
        self._put("run.json", orjson.dumps(meta, option=orjson.OPT_INDENT_2))

    def keep_limits(self, rows: Sequence[Json]) -> None:
        """Append to the history of the limits that endpoints were given. Raises OSError."""
        history = JsonLines(self.local / "journal" / LIMITS)
        try:
            history.append(*rows)
        finally:
            # The pool of hosts writes it between other things, and it is no loss to anybody.
            history.close(sync=False)

    def compact(self, *, finished: bool) -> None:
        """Merge the shards into the tables, sorted, and remove them. Raises OSError.

        With the run `finished`, the tables hold all that the journals did, which go too. Whoever
        is killed in between leaves rows in both a shard and a table, which `table` reads once.
        """
        folder = self.local
        stems = self.stems()
        if stems:
            for name in PLAYED:
                # The same shards for each table: one that a late host adds meanwhile would stand
                # in some tables and not in others.
                self.write_table(name, self._table(name, stems))
            for shard in [f"{stem}.{name}.parquet" for stem in stems for name in PLAYED]:
                (folder / "shards" / shard).unlink(missing_ok=True)
        if (folder / f"journal/{LIMITS}").exists():
            self.write_table("limits", self.table("limits"))
            (folder / f"journal/{LIMITS}").unlink(missing_ok=True)
        if finished:
            for file in folder.glob("journal/*"):
                # What judges said stands in no table until their scores do.
                if file.is_file() and file.name != VERDICTS:
                    file.unlink(missing_ok=True)

    def keep_verdicts(self, scores: Iterable[Score], verdicts: Sequence[Json]) -> None:
        """Write the tables of scores and verdicts anew, each whole or not at all. Raises OSError.

        Nobody may be playing the run, and its shards must have been compacted. The verdicts come
        first: scores are made of them, and not the other way round.
        """
        found = pa.Table.from_pylist(list(verdicts), schema=SCHEMAS["verdicts"])
        self.write_table("verdicts", found)
        self.write_table("scores", table_of("scores", list(scores)))
        (self.local / "journal" / VERDICTS).unlink(missing_ok=True)

    def keep(self, name: str, data: bytes) -> None:
        """Keep beside the tables what can be found from them again. Raises OSError, RunError."""
        self._put(name, data)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one whole table, sorted and compressed, under a temporary name first."""
        table = table.sort_by([(c, "ascending") for c in SORT[name]])
        with self._sink(f"{name}.parquet") as sink:
            pq.write_table(
                table, sink, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True
            )

    def write_shard(self, stem: str, tables: Mapping[str, pa.Table]) -> None:
        """Write finished trials, an empty table too: only a shard that is whole counts."""
        for name in PLAYED:
            table = tables[name]
            # Into memory first: each of its many writes to a file of Python's would take the
            # interpreter from the scenes.
            whole = pa.BufferOutputStream()
            pq.write_table(table, whole, compression="zstd", write_page_checksum=True)
            self._put(f"shards/{stem}.{name}.parquet", whole.getvalue())

    def _put(self, name: str, data: bytes | pa.Buffer) -> None:
        with self._sink(name) as sink:
            sink.write(data)

    @contextlib.contextmanager
    def _sink(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that gets its name when it is whole and on the disk."""
        final = self.local / name
        temporary = final.with_name(f"{final.name}.tmp")
        try:
            # Not by pyarrow, which neither makes files private nor waits for the disk.
            with os.fdopen(os.open(temporary, _CREATE, 0o600), "wb") as sink:
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
            temporary.replace(final)
        except BaseException:
            # On a full disk it would keep the room that others need.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

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
        """Return the study as it was resolved when the run was made. Raises StudyError."""
        return read_study(self.study_text(), f"{self.path}/study.yaml")

    def question(self) -> str:
        """Return what the study asks, without reading its scenes. Raises StudyError."""
        return read_question(self.study_text(), f"{self.path}/study.yaml")

    def scene(self, slug: str, condition: str) -> Scene | None:
        """Return a scene as a condition plays it, without reading the others. Raises StudyError."""
        return read_played_scene(self.study_text(), f"{self.path}/study.yaml", slug, condition)

    def study_text(self, *, first: bool = False) -> str:
        """Return the study's text; the `first` is what it was when the run was made, if known."""
        if first:
            with contextlib.suppress(OSError):
                return self._get("journal/study.yaml").decode()
        try:
            return self._get("study.yaml").decode()
        except OSError as e:
            raise RunError(f"{self.path}/study.yaml: cannot be read: {e}") from None

    def table(
        self, name: str, *, trial: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return a table: what was compacted and every shard that counts.

        With `trial`, only that trial's rows, read from the row groups that can hold them. A file
        that cannot be read is passed over with a warning.
        """
        return self._table(name, self.stems(), trial, columns)

    def coded(self, name: str, columns: Sequence[str], texts: Sequence[str]) -> pa.Table:
        """Return columns of a table, those of `texts` as dictionaries: a fifth of the time and
        memory where a million rows name few trials and measures."""
        stems = self.stems()
        file = f"{self.path}/{name}.parquet"
        there = self.fs.get_file_info(file).type == pafs.FileType.File
        found = None
        if there and not stems:
            found = self._read(file, name, list(columns), None, coded=texts)
        if found is None:
            found = self._table(name, stems, None, columns)
        for column in texts:
            if not pa.types.is_dictionary(found.schema.field(column).type):
                at = found.schema.get_field_index(column)
                found = found.set_column(at, column, found[column].dictionary_encode())
        return found.unify_dictionaries()

    def batches(
        self, name: str, columns: Sequence[str], texts: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Yield columns of a table in pieces, in its order: all calls of a large run do not fit
        into memory. `texts` come as dictionaries, by their Parquet paths ("blocks.list.element").
        """
        stems, begun = self.stems(), False
        file = f"{self.path}/{name}.parquet"
        try:
            with self.fs.open_input_file(file) as source:
                table = pq.ParquetFile(source, read_dictionary=list(texts))
                old = name == "calls" and "error_kind" not in table.schema_arrow.names
                if not stems and set(columns) <= set(table.schema_arrow.names):
                    for batch in table.iter_batches(ROW_GROUP, columns=list(columns)):
                        begun = True
                        piece = pa.Table.from_batches([batch])
                        yield (with_error_kind(piece) if old else piece).select(columns)
                    return
        except READING as e:
            if begun:
                raise RunError(f"{file}: cannot be read: {first_line(e)}") from None
            _log.debug("%s: read whole, for %s", file, first_line(e))
        yield self._table(name, stems, None, columns)

    def _table(
        self,
        name: str,
        stems: Sequence[str],
        trial: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        wanted = list(columns) if columns is not None else None
        by = ["trial", "branch"] if name in PLAYED and name != "blocks" and stems else []
        rated = ["judge", "item"] if name == "verdicts" else []
        needed = None if wanted is None else list(dict.fromkeys([*wanted, *by, *rated]))
        of_trials = trial is not None and "trial" in SCHEMAS[name].names
        keep = [("trial", "=", trial)] if of_trials else None
        files = [f"{self.path}/{name}.parquet"]
        files += [f"{self.path}/shards/{stem}.{name}.parquet" for stem in stems]
        lost = self._lost(stems, trial) if by else {}
        seen: set[str] = set()
        parts = []
        for info in self.fs.get_file_info(files):
            if info.type != pafs.FileType.File:
                continue
            part = self._read(info.path, name, needed, keep)
            if part is None:
                continue
            if by:
                keys = _keys(part)
                gone = seen | lost.get(info.base_name.split(".")[0], set())
                if gone:
                    stays = pc.invert(pc.is_in(keys, value_set=pa.array(sorted(gone), pa.string())))
                    part = part.filter(stays)
                if info.path == files[0]:
                    # Killed while compacting: what a table holds, its shards hold once more.
                    seen = set(keys.to_pylist())
            parts.append(part)
        if name == "limits":
            parts += self._limits_since(parts)
        whole = pa.concat_tables(parts) if parts else conform(pa.table({}), name, needed)
        if name == "verdicts":
            whole = self._with_ratings(whole, trial)
        elif not stems and name != "limits":
            return whole  # sorted when it was written
        if name == "blocks":
            whole = first_of_each(whole, "id") if "id" in whole.schema.names else whole
        order = [(c, "ascending") for c in SORT[name] if c in whole.schema.names]
        whole = whole.sort_by(order) if order else whole
        return whole if wanted is None else whole.select(wanted)

    def ratings(self) -> list[Json]:
        """Return every line that raters have added, each rater's in order; a torn one is none."""
        found = []
        for info in self._rated():
            try:
                data = self._get(f"{RATINGS}/{info.base_name}")
            except READING as e:
                _log.warning("%s: passed over, it cannot be read: %s", info.path, first_line(e))
                continue
            found += [row for row in read_rows(data) if _is_rating(row)]
        return found

    def rated(self) -> str:
        """Return what changes with every rating, without reading any."""
        return repr([(i.base_name, i.size, i.mtime_ns) for i in self._rated()])

    def _rated(self) -> list[pafs.FileInfo]:
        """Return the raters' files, in the order of their names."""
        selector = pafs.FileSelector(f"{self.path}/{RATINGS}", allow_not_found=True)
        try:
            found = self.fs.get_file_info(selector)
        except READING as e:
            _log.warning("%s: passed over: %s", selector.base_dir, first_line(e))
            return []
        files = (i for i in found if i.type == pafs.FileType.File)
        return sorted(
            (i for i in files if i.base_name.endswith(".jsonl")), key=lambda i: i.base_name
        )

    def _with_ratings(self, whole: pa.Table, trial: str | None) -> pa.Table:
        """Return the verdicts with what raters said, in place of what the table has of them."""
        last = {(row["item"], row["judge"]): row for row in self.ratings()}
        if not last:
            return whole
        judges = pc.starts_with(whole["judge"], HUMAN).to_pylist()
        if any(judges):
            items, names = whole["item"].to_pylist(), whole["judge"].to_pylist()
            old = [h and (i, j) in last for h, i, j in zip(judges, items, names, strict=True)]
            whole = whole.filter(pa.array([not o for o in old]))
        rows = [
            r
            for r in last.values()
            if not r.get("retracted") and (trial is None or r["trial"] == trial)
        ]
        fresh = pa.Table.from_pylist(rows, schema=SCHEMAS["verdicts"]).select(whole.schema.names)
        return pa.concat_tables([whole, fresh])

    def branches(self, trial: str) -> list[Json]:
        """Return the rows of a trial and its branches, the trial's own first."""
        rows = self.table("trials", trial=trial).to_pylist()
        return sorted(rows, key=lambda r: (r["branch"] != MAIN, r["fork"], r["branch"]))

    def transcript(self, trial: str, branch: str = MAIN) -> Transcript:
        """Return the turns of a trial or branch in order, the shared ones its parents' own."""
        rows = self.table("turns", trial=trial)
        whole: list[Turn] = []
        for owner, first, last in self._owned(trial, branch):
            own = pc.field("branch") == owner
            found = rows.filter(own & (pc.field("turn") >= first) & (pc.field("turn") <= last))
            whole += map(turn_of, found.to_pylist())
        return Transcript(trial, branch, tuple(whole))

    def calls(self, trial: str, branch: str = MAIN) -> list[Call]:
        """Return the calls that made a trial or branch, the shared ones included, in order."""
        rows = self._line(trial, branch)
        by: dict[str, list[Call]] = {}
        for row in self.table("calls", trial=trial).to_pylist():
            call = call_of(row)
            by.setdefault(call.draw.branch, []).append(call)
        found = by.get(MAIN, [])
        for row in rows:
            own = by.get(row["branch"], [])
            if row["origin"] == "regeneration":
                # One more draw of its parent's.
                own = [replace(c, draw=replace(c.draw, branch=row["parent"])) for c in own]
            kept = keeps(row["origin"], row["edit"])
            found = [*shared(found, row["fork"], kept=kept), *own]
        return found

    def owner(self, trial: str, branch: str, turn: int) -> str:
        """Return the branch whose own a turn of a branch is. Raises RunError."""
        return next(o for o, first, last in self._owned(trial, branch) if first <= turn <= last)

    def all_calls(self) -> Iterator[Call]:
        """Yield every call of the run that is in its tables."""
        for batch in self.table("calls").to_batches():
            yield from map(call_of, batch.to_pylist())

    def _owned(self, trial: str, branch: str) -> list[tuple[str, int, int]]:
        """Return who owns which turns of a branch: (branch, first turn, last turn)."""
        found: list[tuple[str, int, int]] = []
        last = _EVER
        for row in reversed(self._line(trial, branch)):
            if row["fork"] < last:
                found.append((row["branch"], row["fork"] + 1, last))
                last = row["fork"]
        return [*reversed([*found, (MAIN, 0, last)])]

    def _line(self, trial: str, branch: str) -> list[Json]:
        """Return the rows of a branch and its ancestors, the oldest first, without the main one."""
        found: list[Json] = []
        by_id = {r["branch"]: r for r in self.branches(trial)} if branch != MAIN else {}
        while branch != MAIN:
            if branch not in by_id:
                raise RunError(f"{self.id}: trial {trial} has no branch {branch}")
            found.append(by_id.pop(branch))
            branch = found[-1]["parent"]
        return found[::-1]

    def blocks(self, ids: Iterable[str]) -> dict[str, Block]:
        """Return the blocks of these ids."""
        wanted = list(dict.fromkeys(ids))
        files = [f"{self.path}/shards/{stem}.blocks.parquet" for stem in self.stems()]
        found: dict[str, Block] = {}
        for file in [f"{self.path}/blocks.parquet", *files]:
            # A million lines are a million blocks: only what is asked for is brought over.
            part = self._read(file, "blocks", None, [("id", "in", wanted)]) if wanted else None
            rows = part.to_pylist() if part is not None else []
            found |= {row["id"]: Block(**row) for row in rows}
        return found

    def trial(self, name: str) -> Json:
        """Return the row of a trial by id, its number in the plan, or a unique beginning of the
        id; with `~BRANCH` after it, the row of that branch.

        Raises RunError where there is none or several.
        """
        name, _, branch = name.partition("~")
        rows = self.table("trials").to_pylist()
        exact = [r for r in rows if r["trial"] == name]
        numbered = [r for r in rows if name == str(r["index"])]
        near = exact or numbered or [r for r in rows if r["trial"].startswith(name)]
        if branch:
            near = [r for r in near if r["branch"].startswith(branch)]
            name = f"{name}~{branch}"
        else:
            near = [r for r in near if r["branch"] == MAIN] or near
        if len(near) != 1:
            what = "branch" if branch else "trial"
            plural = "branches" if branch else "trials"
            why = f"means several {plural}" if near else f"is not a finished {what}"
            raise RunError(f"{name}: {why} of {self.id}; `improv show {self.id}` lists them")
        row: Json = near[0]
        return row

    def journaled(self) -> Journaled:
        """Return what the journals hold."""
        return Journaled(self.local / "journal").refresh()

    def _get(self, name: str) -> bytes:
        with self.fs.open_input_stream(f"{self.path}/{name}") as source:
            return bytes(source.read())

    def stems(self) -> list[str]:
        """Return the stems of the shards that count: those that are whole.

        A host that was thought dead may still be writing what others clear away.
        """
        selector = pafs.FileSelector(f"{self.path}/shards", allow_not_found=True)
        names = {info.base_name for info in self.fs.get_file_info(selector)}
        ends = [f".{name}.parquet" for name in PLAYED]
        stems = {n.removesuffix(ends[0]) for n in names if n.endswith(ends[0])}
        return sorted(stem for stem in stems if all(stem + end in names for end in ends))

    def _lost(self, stems: Sequence[str], trial: str | None) -> dict[str, set[str]]:
        """Find trials that two shards hold, and in which of them they do not count.

        A host that was thought dead may still have written what another played anew.
        """
        lost: dict[str, set[str]] = {}
        seen: set[str] = set()
        keep = [("trial", "=", trial)] if trial is not None else None
        for stem in stems:
            path = f"{self.path}/shards/{stem}.trials.parquet"
            part = self._read(path, "trials", ["trial", "branch"], keep)
            keys = set(_keys(part).to_pylist()) if part is not None else set()
            lost[stem] = keys & seen
            seen |= keys
        return lost

    def _read(
        self, path: str, name: str, columns: list[str] | None, keep: Any, coded: Sequence[str] = ()
    ) -> pa.Table | None:
        try:
            with self.fs.open_input_file(path) as source:
                there = pq.read_schema(source).names
            with self.fs.open_input_file(path) as source:
                known = None if columns is None else read_with(name, columns)
                known = None if known is None else [c for c in known if c in there]
                part = pq.read_table(
                    source, columns=known, filters=keep, read_dictionary=list(coded) or None
                )
            if coded and columns is not None and set(columns) <= set(there):
                return part.select(columns)
            return conform(part, name, columns)
        except FileNotFoundError:
            return None  # compacted between our look at the folder and now
        except READING as e:
            _log.warning("%s: passed over, it cannot be read: %s", path, first_line(e))
            return None

    def _limits_since(self, parts: Sequence[pa.Table]) -> list[pa.Table]:
        """Return the history that is not in the table yet."""
        try:
            data = self._get(f"journal/{LIMITS}")
        except OSError:
            return []
        newest = max((pc.max(p["at"]).as_py() or 0.0 for p in parts), default=0.0)
        rows = [row for row in read_rows(data) if _is_limit(row) and row["at"] > newest]
        return [pa.Table.from_pylist(rows, schema=SCHEMAS["limits"])] if rows else []


_EVER = 1_000_000_000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _is_rating(row: Json) -> bool:
    """Whether a line is a rater's: a verdict with all its columns, or one taken back."""
    named = isinstance(row.get("item"), str) and isinstance(row.get("judge"), str)
    if not named or not row["judge"].startswith(HUMAN):
        return False
    if row.get("retracted"):
        return True
    try:
        pa.Table.from_pylist([row], schema=SCHEMAS["verdicts"])
    except READING:
        return False
    return set(row) == set(SCHEMAS["verdicts"].names)


def _is_limit(row: Json) -> bool:
    try:
        pa.Table.from_pylist([row], schema=SCHEMAS["limits"])
    except READING:
        return False
    return isinstance(row.get("at"), int | float)


def _keys(part: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(part["trial"], part["branch"], _BETWEEN)
