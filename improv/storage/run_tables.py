"""The tables of one run: the compacted Parquet files, and the shards of finished trials.

While a run is played, its hosts write shards. A shard has five files and counts when all are there.
At the end the shards are compacted into the tables, sorted by trial and turn. A branch has only its
own rows; `transcripts` adds those that it shares with its parents.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from improv.errors import RunError
from improv.records import Block, Json, Score
from improv.storage.checksums import Checksums
from improv.storage.journal import LIMITS_FILE, VERDICTS_FILE
from improv.storage.jsonl import read_rows
from improv.storage.run_files import RunFiles
from improv.storage.run_ratings import Ratings
from improv.storage.schemas import (
    SCHEMAS,
    SORT_COLUMNS,
    TRIAL_TABLES,
    first_of_each,
    records_table,
)
from improv.storage.table_file import ROWS_PER_GROUP, TableFile
from improv.storage.table_links import (
    OWNED_TABLES,
    OWNER_COLUMNS,
    link_columns,
    missing_calls,
    missing_rows,
    stranger,
    twins_or_circles,
)
from improv.storage.table_rules import is_row

_ATTEMPTS, _PAUSE = 4, 0.05
"""How often, and after how many seconds, tables are read again while their files change."""
_KEY_SEPARATOR = "\x1f"
_OWED_AGAIN = "journal/again.txt"
"""The trials and branches that are being removed from the tables, a line of JSON for each."""


@dataclass(frozen=True)
class RunTables:
    """The tables in one run folder. Reading writes nothing, and is possible while the run is
    played."""

    files: RunFiles

    def read(
        self, name: str, *, trial: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return a table: the compacted file and all shards that count.

        With `trial`, only that trial's rows, read from the row groups that can hold them. Raises
        RunError if a file is missing or damaged, and OSError if the folder cannot be read.
        """
        wanted = SCHEMAS[name].names if columns is None else list(columns)
        more = [c for c in link_columns(name) if c not in wanted]

        def read_once() -> pa.Table:
            stems = self.stems()
            table = self._read_parts(name, stems, trial, [*wanted, *more])
            if name in OWNED_TABLES:
                owners = self._read_parts("trials", stems, trial, OWNER_COLUMNS).to_pylist()
                self._refuse(name, stranger(table, _keys_of(owners)))
                self._refuse(name, missing_rows(name, table, owners))
            elif name == "trials" and {"trial", "branch", "parent"} <= set(wanted):
                self._refuse(name, twins_or_circles(table))
            return table.select(wanted) if more else table

        return self._steadily(read_once)

    def read_coded(self, name: str, columns: Sequence[str], texts: Sequence[str]) -> pa.Table:
        """Return columns of a table, with the columns `texts` dictionary-encoded. This takes a
        fifth of the time and memory if a million rows have few different trials and measures.
        `columns` include the trial and the branch. Raises what `read` raises."""
        stems = self.stems()
        if stems or not self.files.exists(f"{name}.parquet"):
            table = self.read(name, columns=columns)
        else:
            table = self._file(name).read(columns, coded=texts)
            self._refuse(name, stranger(table, self._owners(stems)))
        for column in texts:
            if not pa.types.is_dictionary(table.schema.field(column).type):
                at = table.schema.get_field_index(column)
                table = table.set_column(at, column, table[column].dictionary_encode())
        return table.unify_dictionaries()

    def read_batches(
        self, name: str, columns: Sequence[str], texts: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Yield columns of a table in pieces, in its order, because the calls of a large run do not
        fit into memory. `texts` are the Parquet paths of the columns to dictionary-encode
        ("blocks.list.element"). Raises what `read` raises.
        """
        stems = self.stems()
        if stems or not self.files.exists(f"{name}.parquet"):
            yield self.read(name, columns=columns)
            return
        file, owned = self._file(name), name in OWNED_TABLES
        owners = self._owners(stems) if owned else set()
        more = [c for c in ("trial", "branch") if owned and c not in columns]
        if name == "calls":
            trials = self._read_parts("trials", stems, None, OWNER_COLUMNS).to_pylist()
            self._refuse(name, missing_calls(file.rows(), trials))
        for piece in file.batches([*columns, *more], texts):
            if owned:
                self._refuse(name, stranger(piece, owners))
            yield piece.select(list(columns)) if more else piece

    def blocks(self, ids: Iterable[str]) -> dict[str, Block]:
        """Return the blocks with these ids, by id. An unknown id is left out."""
        wanted = list(dict.fromkeys(ids))
        files = [f"{self.files.path}/shards/{stem}.blocks.parquet" for stem in self.stems()]
        blocks: dict[str, Block] = {}
        for file in [f"{self.files.path}/blocks.parquet", *files]:
            # A million lines are a million blocks, so only the wanted ones are converted.
            part = None
            with contextlib.suppress(FileNotFoundError):  # compacted meanwhile
                part = TableFile(self.files.fs, file, "blocks").read(ids=wanted) if wanted else None
            rows = part.to_pylist() if part is not None else []
            blocks |= {row["id"]: Block(**row) for row in rows}
        return blocks

    def stems(self) -> list[str]:
        """Return the stems of the shards that count: those with all their files.

        A host that counts as dead may still write a shard while another process removes it.
        """
        names = {info.base_name for info in self.files.list("shards")}
        ends = [f".{name}.parquet" for name in TRIAL_TABLES]
        stems = {n.removesuffix(ends[0]) for n in names if n.endswith(ends[0])}
        return sorted(stem for stem in stems if all(stem + end in names for end in ends))

    def in_shards(self, names: Iterable[str]) -> bool:
        """Whether the shards hold every trial and branch that these tables of trials hold."""
        kept: set[str] = set()
        for stem in self.stems():
            path = f"{self.files.path}/shards/{stem}.trials.parquet"
            trials = TableFile(self.files.fs, path, "trials").read(["trial", "branch"])
            kept |= set(_keys(trials).to_pylist())
        keyed = [name for name in names if name != "blocks"]
        return bool(kept) and all(
            kept.issuperset(_keys(self._file(name).read(["trial", "branch"])).to_pylist())
            for name in keyed
        )

    def write(self, name: str, table: pa.Table) -> None:
        """Write a table, sorted and compressed; whole or not at all. Raises OSError."""
        table = table.sort_by([(c, "ascending") for c in SORT_COLUMNS[name]])
        with Checksums(self.files).open_for_writing(f"{name}.parquet") as sink:
            pq.write_table(
                table,
                sink,
                compression="zstd",
                row_group_size=ROWS_PER_GROUP,
                write_page_checksum=True,
            )

    def write_shard(self, stem: str, tables: Mapping[str, pa.Table]) -> None:
        """Write a shard of finished trials. Empty tables are written too, because only a shard with
        all files counts. Raises OSError."""
        for name in TRIAL_TABLES:
            table = tables[name]
            # Into memory first: each of pyarrow's many writes to a Python file would hold the
            # interpreter, and the scenes would wait.
            buffer = pa.BufferOutputStream()
            pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
            self.files.write(f"shards/{stem}.{name}.parquet", buffer.getvalue())

    def compact(self, *, finished: bool) -> None:
        """Merge the shards into the tables, sorted, and remove the shards. Raises OSError.

        If the run is `finished`, the tables hold the content of the journals, and the journals are
        removed too. A process that is killed in between leaves rows that are in a shard and in a
        table; `read` returns them once.
        """
        folder = self.files.folder
        stems = self.stems()
        if stems:
            for name in TRIAL_TABLES:
                # The same shards for each table. Otherwise a shard that a late host adds meanwhile
                # would be in some tables and not in others.
                self.write(name, self._read_parts(name, stems))
            for shard in [f"{stem}.{name}.parquet" for stem in stems for name in TRIAL_TABLES]:
                folder.remove(f"shards/{shard}")
        if folder.is_file(f"journal/{LIMITS_FILE}"):
            self.write("limits", self.read("limits"))
            folder.remove(f"journal/{LIMITS_FILE}")
        if finished:
            for file in folder.entries("journal"):
                # Verdicts get into a table only together with the scores.
                if file.is_file and file.name != VERDICTS_FILE:
                    folder.remove(f"journal/{file.name}")

    def failed_trials(self) -> list[Json]:
        """Return the rows of failed trials and branches, with the columns of the table of failures
        and the parent. Raises what `read` raises."""
        columns = [*SCHEMAS["failures"].names, "parent", "status"]
        table = self.read("trials", columns=columns)
        rows: list[Json] = table.filter(pc.field("status") == "failed").to_pylist()
        return rows

    def owe_again(self, rows: Sequence[Json]) -> None:
        """Move rows of failed trials and branches to the table of failures, and remove all else of
        them, so that they are owed again. Raises OSError.

        No process may be playing the run, and its shards must be compacted. The list of what goes
        is written first, so that `finish_owing_again` can go on after a kill.
        """
        there = self.read("failures").to_pylist()
        fresh = [row for row in rows if row not in there[-len(rows) :]]
        self.write("failures", pa.Table.from_pylist([*there, *fresh], schema=SCHEMAS["failures"]))
        keys = [orjson.dumps([row["trial"], row["branch"]]) for row in rows]
        self.files.write(_OWED_AGAIN, b"\n".join([*keys, b""]))
        self.finish_owing_again()

    def finish_owing_again(self) -> None:
        """Remove from the tables what a killed process has listed. A damaged table is left for
        `heal`, which makes all tables again. Raises OSError."""
        if not self.files.exists(_OWED_AGAIN):
            return
        data = self.files.read(_OWED_AGAIN).decode("utf-8", "replace")
        keys = [key for line in data.splitlines() if (key := _read_key(line))]
        gone = pa.array(keys, pa.string())
        with contextlib.suppress(RunError):
            for name in [n for n in TRIAL_TABLES if n != "blocks"]:
                # The parts and not `read`: after a kill, the tables contradict each other.
                table = self._read_parts(name, ())
                self.write(name, table.filter(pc.invert(pc.is_in(_keys(table), value_set=gone))))
        self.files.folder.remove(_OWED_AGAIN)

    def write_verdicts(self, scores: Iterable[Score], verdicts: Sequence[Json]) -> None:
        """Replace the tables of scores and verdicts, each whole or not at all. Raises OSError.

        No process may be playing the run, and its shards must be compacted. The verdicts are
        written first, because scores can be computed from them.
        """
        table = pa.Table.from_pylist(list(verdicts), schema=SCHEMAS["verdicts"])
        self.write("verdicts", table)
        self.write_scores(scores)
        self.files.folder.remove(f"journal/{VERDICTS_FILE}")

    def write_scores(self, scores: Iterable[Score]) -> None:
        """Replace the table of scores, whole or not at all. Raises OSError."""
        self.write("scores", records_table("scores", list(scores)))

    def _read_parts(
        self,
        name: str,
        stems: Sequence[str],
        trial: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        wanted = list(columns) if columns is not None else None
        by = ["trial", "branch"] if name in TRIAL_TABLES and name != "blocks" and stems else []
        rated = ["judge", "item"] if name == "verdicts" else []
        needed = None if wanted is None else list(dict.fromkeys([*wanted, *by, *rated]))
        of_trials = trial is not None and "trial" in SCHEMAS[name].names
        only = trial if of_trials else None
        files = [f"{self.files.path}/{name}.parquet"]
        files += [f"{self.files.path}/shards/{stem}.{name}.parquet" for stem in stems]
        infos = self.files.fs.get_file_info(files)
        if not stems and name in TRIAL_TABLES and infos[0].type != pafs.FileType.File:
            self._refuse(name, self._missing(name))
        lost = self._lost(stems, trial) if by else {}
        seen: set[str] = set()
        parts = []
        for info in infos:
            if info.type != pafs.FileType.File:
                continue
            try:
                part = TableFile(self.files.fs, info.path, name).read(needed, trial=only)
            except FileNotFoundError:
                continue  # compacted since the folder was listed
            if by:
                keys = _keys(part)
                gone = seen | lost.get(info.base_name.split(".")[0], set())
                if gone:
                    stays = pc.invert(pc.is_in(keys, value_set=pa.array(sorted(gone), pa.string())))
                    part = part.filter(stays)
                if info.path == files[0]:
                    # After a kill during compaction, the shards repeat rows of the table.
                    seen = set(keys.to_pylist())
            parts.append(part)
        if name == "limits":
            parts += self._limits_since(parts)
        if not parts:
            parts = [SCHEMAS[name].empty_table().select(needed or SCHEMAS[name].names)]
        whole = pa.concat_tables(parts)
        if name == "verdicts":
            whole = Ratings(self.files).merge_into(whole, trial)
        elif not stems and name != "limits":
            return whole  # it was sorted when it was written
        if name == "blocks":
            whole = first_of_each(whole, "id") if "id" in whole.schema.names else whole
        order = [(c, "ascending") for c in SORT_COLUMNS[name] if c in whole.schema.names]
        whole = whole.sort_by(order) if order else whole
        return whole if wanted is None else whole.select(wanted)

    def _missing(self, name: str) -> str:
        """Return what is wrong if the table `name` is missing: nothing if none is there yet."""
        others = [other for other in TRIAL_TABLES if self.files.exists(f"{other}.parquet")]
        return f"is missing, and {others[0]}.parquet is there" if others else ""

    def _lost(self, stems: Sequence[str], trial: str | None) -> dict[str, set[str]]:
        """Return for each shard the trials that do not count, because an earlier shard has them.

        A host that counts as dead may still write a trial that another host has played again.
        """
        lost: dict[str, set[str]] = {}
        seen: set[str] = set()
        for stem in stems:
            path = f"{self.files.path}/shards/{stem}.trials.parquet"
            keys: set[str] = set()
            with contextlib.suppress(FileNotFoundError):
                file = TableFile(self.files.fs, path, "trials")
                keys = set(_keys(file.read(["trial", "branch"], trial=trial)).to_pylist())
            lost[stem] = keys & seen
            seen |= keys
        return lost

    def _file(self, name: str) -> TableFile:
        return TableFile(self.files.fs, f"{self.files.path}/{name}.parquet", name)

    def _owners(self, stems: Sequence[str]) -> set[tuple[str, str]]:
        """Return the (trial, branch) of each row of the table of trials."""
        return _keys_of(self._read_parts("trials", stems, None, ["trial", "branch"]).to_pylist())

    def _refuse(self, name: str, problem: str) -> None:
        if problem:
            raise self._file(name).damaged(problem)

    def _steadily(self, read: Callable[[], pa.Table]) -> pa.Table:
        """Return `read()`. While a host plays the run, files come and go between two reads, so a
        problem counts only if the shards stay the same."""
        for _ in range(_ATTEMPTS):
            before = self.stems()
            try:
                return read()
            except RunError:
                if self.stems() == before:
                    raise
                time.sleep(_PAUSE)
        return read()

    def _limits_since(self, parts: Sequence[pa.Table]) -> list[pa.Table]:
        """Return the rows of the limits' history that are not in the table yet."""
        try:
            data = self.files.read(f"journal/{LIMITS_FILE}")
        except OSError:
            return []
        newest = max((pc.max(p["at"]).as_py() or 0.0 for p in parts), default=0.0)
        rows = [row for row in read_rows(data) if is_row("limits", row) and row["at"] > newest]
        return [pa.Table.from_pylist(rows, schema=SCHEMAS["limits"])] if rows else []


def _keys_of(rows: Sequence[Json]) -> set[tuple[str, str]]:
    return {(row["trial"], row["branch"]) for row in rows}


def _read_key(line: str) -> str:
    """Return the key in a line of the list of what is owed again, "" if there is none."""
    with contextlib.suppress(orjson.JSONDecodeError, ValueError, TypeError):
        trial, branch = orjson.loads(line)
        return _KEY_SEPARATOR.join((trial, branch))
    return ""


def _keys(part: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(part["trial"], part["branch"], _KEY_SEPARATOR)
