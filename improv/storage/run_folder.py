"""The run folder: the layout of a run on disk.

    runs/<run id>/
      study.yaml            the resolved study: every scene as it is played
      run.json              versions, hashes of the trials and the plan, branches, status
      lock  holder.json     the process that plays the run now
      journal/<host>.jsonl  every call, written before its reply is used
      journal/study.yaml    the study when the run was made, for comparison
      shards/<host>-<n>.*   finished trials, which count when all five files are there
      trials.parquet  turns.parquet  calls.parquet  blocks.parquet  scores.parquet  limits.parquet
      verdicts.parquet      the judges' verdicts, from journal/verdicts.jsonl after a scoring
      ratings/<rater>.jsonl people's ratings: verdicts of judges named "human:NAME"
      checksums.json        a checksum of each table, of study.yaml and of run.json
      history.jsonl         what was done with the run: plan, sessions, looks, scorings, branches
      redone.jsonl          verdicts that were asked for again; no analysis decides by them
      exposure.json         the cached exposure ledger of a large run
      findings.json         the cached findings of its analysis
      aside/                torn and foreign files

This module has the folder, its study and run.json. Tables, transcripts and ratings have modules of
their own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.fs as pafs

from improv.errors import RunError
from improv.folder import Folder
from improv.records import Json
from improv.storage.checksums import Checksums
from improv.storage.history import CLOSING, FOUND_CHANGED, History, Past, mutex
from improv.storage.journal import LIMITS_FILE, Journaled
from improv.storage.jsonl import JsonLines
from improv.storage.lock import unwritable_error
from improv.storage.run_files import RunFiles
from improv.storage.run_ratings import Ratings
from improv.storage.run_record import LARGEST, RUN_FILE, asked_branches, read_record
from improv.storage.run_tables import RunTables
from improv.storage.transcripts import Transcripts
from improv.study.branch import Branch
from improv.study.design import Study
from improv.study.scene import Scene
from improv.study.snapshot import read_played_scene, read_question, read_study, write_study

_WITNESSED = ("trials.parquet", "scores.parquet", "verdicts.parquet")
"""The tables that results rest on. The history has their checksums."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Reading writes nothing, and is possible while the run is played."""

    fs: pafs.FileSystem
    path: str
    root: str

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.fs, self.path)

    @property
    def tables(self) -> RunTables:
        return RunTables(self.files)

    @property
    def transcripts(self) -> Transcripts:
        return Transcripts(self.tables)

    @property
    def ratings(self) -> Ratings:
        return Ratings(self.files)

    @property
    def checksums(self) -> Checksums:
        return Checksums(self.files)

    @property
    def history(self) -> Past:
        """What was done with the run, and what is wrong with the file that says it."""
        past = History(self.files).read(self.meta().get("history"))
        done = [entry for entry in past.entries if entry.what != "looked"]
        kept: Any = done[-1].details.get("tables") if done and done[-1].what in CLOSING else None
        if not isinstance(kept, dict):
            return past
        now = self.checksums.newest(kept)
        problems = [
            f"{self.id}/{name}: was written after the last entry of the run's history"
            for name, hash_ in kept.items()
            if now.get(name) != hash_
        ]
        return replace(past, problems=(*past.problems, *problems))

    @property
    def local(self) -> Path:
        """The folder as a local path. Raises RunError if it is not on a local filesystem."""
        return self.files.local

    @property
    def journals(self) -> Folder:
        """The folder of the journals. Raises RunError if the run is not on a local filesystem."""
        return self.files.folder.within("journal")

    # -- writing ---------------------------------------------------------------------------

    def create(self, study: Study, meta: Json, begun: Json | None = None) -> None:
        """Make the folder with its study, run.json, and a history whose first entry has the details
        `begun` (no history without). Raises RunError if that is impossible or there is a run
        already, MachineError if the disk is full."""
        folder = self.files.folder
        text = write_study(study).encode()
        try:
            if self.exists():
                raise RunError(f"{self.path}: there is a run already")
            # Transcripts may be confidential, so only their owner may read them.
            folder.make(new=True)
        except OSError as e:
            raise unwritable_error(
                f"{self.path}: cannot be written: {e.strerror or e}", e
            ) from None
        try:
            self.make_parts()
            self.checksums.write("study.yaml", text)
            self.files.write("journal/study.yaml", text)
            if begun is not None:
                meta = meta | {"history": History(self.files).begin(**begun)}
            self.update(meta)
        except OSError as e:
            shutil.rmtree(folder.path, ignore_errors=True)  # half a run would keep the name
            raise unwritable_error(
                f"{self.path}: cannot be written: {e.strerror or e}", e
            ) from None

    def make_parts(self) -> None:
        """Make the folders for journals and shards if they are missing. A copy of a finished run
        may lack them, because git and others do not copy empty folders. Raises OSError."""
        for part in ("journal", "shards"):
            self.files.folder.make(part)

    def update(self, changes: Json) -> None:
        """Set keys of run.json; the file changes whole or not at all. If somebody else has changed
        it, it says so from now on: its checksum becomes right. Raises OSError."""
        with mutex(self.files):
            if self.checksums.changed([RUN_FILE]):
                changes = changes | {"found_changed": True}
            meta = (self.meta() if self.exists() else {}) | changes
            self.checksums.write(RUN_FILE, orjson.dumps(meta, option=orjson.OPT_INDENT_2))

    def record(self, what: str, **details: Any) -> None:
        """Append an entry to the run's history, and say so in run.json. A run of an older version
        has no history, and gets none. Raises OSError and RunError."""
        history = History(self.files)
        if not history.is_kept():
            return
        with mutex(self.files):
            said = self.meta().get("history")
            if self.checksums.changed([RUN_FILE]):
                # To write run.json makes its checksum right again.
                said = history.append(FOUND_CHANGED, said, files=[RUN_FILE])
            self.update({"history": history.append(what, said, **details)})

    def note_changes(self, besides: Sequence[str] = ()) -> None:
        """Append to the history which files are not as improv wrote them, `besides` those that are
        being repaired: what is written next may make their checksums right. Raises OSError."""
        files = [name for name in self.checksums.changed() if name not in besides]
        noted = self.history.of(FOUND_CHANGED)
        if files and not (noted and noted[-1].details.get("files") == files):
            self.record(FOUND_CHANGED, files=files)

    def record_end(self, what: str, **details: Any) -> None:
        """Append an entry with the checksums of the tables, which nothing writes until another
        entry says so. Raises OSError and RunError."""
        self.record(what, **details, tables=self.checksums.newest(_WITNESSED))

    def keep_limits(self, rows: Sequence[Json]) -> None:
        """Append rows to the history of the endpoints' limits. Raises OSError."""
        history = JsonLines(self.journals, LIMITS_FILE)
        try:
            history.append(*rows)
        finally:
            # The pool of hosts has no time to wait for the disk, and losing some rows does no harm.
            history.close(sync=False)

    def refuse_links(self) -> None:
        """Raise RunError if the run has a link or a special file: through one in a folder from a
        stranger, we would write, move and delete files elsewhere."""
        parts = [self.files.folder]
        while parts:
            folder = parts.pop()
            for entry in folder.entries():
                if entry.is_odd:
                    raise folder.refusal(entry.name, entry.kind)
                if entry.is_folder:
                    parts.append(folder.within(entry.name))

    # -- reading ---------------------------------------------------------------------------

    def exists(self) -> bool:
        return self.files.exists("run.json")

    def meta(self) -> Json:
        """Return run.json, whose known keys have their types. Raises RunError if the file cannot be
        read or a key is wrong."""
        file = f"{self.path}/{RUN_FILE}"
        try:
            if (self.fs.get_file_info(file).size or 0) > LARGEST:
                raise RunError(f"{file}: has more than {LARGEST:,} bytes")
            data = self.files.read(RUN_FILE)
        except OSError as e:
            raise RunError(f"{file}: cannot be read: {e.strerror or e}") from None
        return read_record(data, file)

    def asked_branches(self) -> list[Branch]:
        """Return the branches that users asked for, besides those of the study. Raises RunError."""
        return asked_branches(self.meta(), f"{self.path}/{RUN_FILE}")

    def study(self) -> Study:
        """Return the resolved study. Raises RunError and StudyError."""
        return read_study(self.study_text(), f"{self.path}/study.yaml")

    def question(self) -> str:
        """Return the study's question, without reading its scenes. Raises RunError and
        StudyError."""
        return read_question(self.study_text(), f"{self.path}/study.yaml")

    def scene(self, slug: str, condition: str) -> Scene | None:
        """Return a scene as a condition plays it, without reading the others; None if there is
        none. Raises RunError and StudyError."""
        return read_played_scene(self.study_text(), f"{self.path}/study.yaml", slug, condition)

    def study_text(self, *, first: bool = False) -> str:
        """Return the text of study.yaml, or with `first` its text when the run was made, if known.
        Raises RunError."""
        if first:
            with contextlib.suppress(OSError):
                return self.files.read("journal/study.yaml").decode("utf-8", "replace")
        try:
            return self.files.read("study.yaml").decode()
        except (OSError, UnicodeDecodeError) as e:
            raise RunError(f"{self.path}/study.yaml: cannot be read: {e}") from None

    def has_answered(self, endpoint: str) -> bool:
        """Return whether the run holds a call that an endpoint has answered. What cannot be read
        does not count."""
        with contextlib.suppress(RunError, OSError):
            table = self.tables.read("calls", columns=["endpoint", "error_kind", "error"])
            rows = zip(table["endpoint"].to_pylist(), table["error"].to_pylist(), strict=True)
            if any(where == endpoint and not error for where, error in rows):
                return True
        with contextlib.suppress(RunError, OSError):
            calls = self.journaled().calls()
            return any(call.endpoint == endpoint and not call.error for call in calls)
        return False

    def journaled(self) -> Journaled:
        """Return the journals, read to their ends. Raises OSError."""
        return Journaled(self.journals).refresh()
