"""The run folder: how a run lies on disk.

    runs/<run id>/
      study.yaml            the study as it was resolved: every scene as it is played
      run.json              versions, hashes of the trials and the plan, branches, status
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

Here are the folder, its study and run.json; its tables, transcripts and ratings have modules of
their own.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow.fs as pafs

from improv.errors import RunError
from improv.records import Json
from improv.storage.journal import LIMITS_FILE, Journaled
from improv.storage.jsonl import JsonLines
from improv.storage.lock import unwritable_error
from improv.storage.run_files import RunFiles
from improv.storage.run_ratings import Ratings
from improv.storage.run_tables import RunTables
from improv.storage.transcripts import Transcripts
from improv.study.design import Study
from improv.study.scene import Scene
from improv.study.snapshot import read_played_scene, read_question, read_study, write_study

_NEW_NAMES = {"plan": "trials_hash", "analysis": "plan_hash"}
"""What run.json called the hashes at first, and what it calls them now."""


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
    def local(self) -> Path:
        """The folder as this machine mounts it. Raises RunError where it does not."""
        return self.files.local

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
            raise unwritable_error(
                f"{self.path}: cannot be written: {e.strerror or e}", e
            ) from None
        try:
            self.make_parts()
            self.files.write("study.yaml", text)
            self.files.write("journal/study.yaml", text)
            self.update(meta)
        except OSError as e:
            shutil.rmtree(folder, ignore_errors=True)  # it would be no run, and have its name
            raise unwritable_error(
                f"{self.path}: cannot be written: {e.strerror or e}", e
            ) from None

    def make_parts(self) -> None:
        """Make the folders that a run is played into: whoever copies a finished run, as git does,
        may leave out what is empty. Raises OSError."""
        for part in ("journal", "shards"):
            (self.local / part).mkdir(mode=0o700, exist_ok=True)

    def update(self, changes: Json) -> None:
        """Change run.json, whole or not at all. Raises OSError."""
        meta = (self.meta() if self.exists() else {}) | changes
        self.files.write("run.json", orjson.dumps(meta, option=orjson.OPT_INDENT_2))

    def keep_limits(self, rows: Sequence[Json]) -> None:
        """Append to the history of the limits that endpoints were given. Raises OSError."""
        history = JsonLines(self.local / "journal" / LIMITS_FILE)
        try:
            history.append(*rows)
        finally:
            # The pool of hosts writes it between other things, and it is no loss to anybody.
            history.close(sync=False)

    def refuse_links(self) -> None:
        """Raise RunError where a file of the run is a link, or no file: a folder from a stranger
        could have us write, move and delete elsewhere."""
        folder = self.local
        for file in itertools.chain(folder.glob("*"), *map(Path.iterdir, self._parts())):
            odd = file.exists() and not (file.is_file() or file.is_dir())
            if file.is_symlink() or odd:
                raise RunError(f"{file}: a link, or no plain file; a run that is played has none")

    # -- reading ---------------------------------------------------------------------------

    def exists(self) -> bool:
        return self.files.exists("run.json")

    def meta(self) -> Json:
        """Return run.json. Raises RunError where it cannot be read."""
        try:
            found = orjson.loads(self.files.read("run.json"))
        except (OSError, orjson.JSONDecodeError) as e:
            raise RunError(f"{self.path}/run.json: cannot be read: {e}") from None
        return _with_new_names(found) if isinstance(found, dict) else {}

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
                return self.files.read("journal/study.yaml").decode()
        try:
            return self.files.read("study.yaml").decode()
        except OSError as e:
            raise RunError(f"{self.path}/study.yaml: cannot be read: {e}") from None

    def journaled(self) -> Journaled:
        """Return what the journals hold."""
        return Journaled(self.local / "journal").refresh()

    def _parts(self) -> Iterator[Path]:
        return (f for f in self.local.glob("*") if f.is_dir() and not f.is_symlink())


def _with_new_names(meta: Json) -> Json:
    """Return run.json as it is written now, whichever names its hashes had."""
    renamed = {_NEW_NAMES.get(key, key): value for key, value in meta.items()}
    # A name of now counts where both are there.
    return renamed | {key: meta[key] for key in _NEW_NAMES.values() if key in meta}
