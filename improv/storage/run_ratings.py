"""The ratings of one run: the verdicts of people, beside those of models.

Each rater has an append-only file, so two raters never write to the same file, and no rater writes
to the verdicts of models. A reader of the table of verdicts gets the ratings with it. The questions
to the raters are in scoring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from improv.errors import first_line
from improv.output import logger
from improv.records import Json, seed_of
from improv.storage.jsonl import JsonLines, read_rows
from improv.storage.run_files import READ_ERRORS, RunFiles
from improv.storage.schemas import NEW_COLUMNS, SCHEMAS
from improv.storage.table_rules import is_row

RATINGS_FOLDER, HUMAN_PREFIX = "ratings", "human:"
"""The folder of the ratings in a run folder, and the prefix of a person's name as a judge."""
_log = logger()


@dataclass(frozen=True)
class Ratings:
    """The ratings in one run folder."""

    files: RunFiles

    def read(self) -> list[Json]:
        """Return all lines of all raters, each rater's in order, without torn and foreign lines."""
        ratings = []
        for info in self._files():
            try:
                data = self.files.read(f"{RATINGS_FOLDER}/{info.base_name}")
            except READ_ERRORS as e:
                _log.warning("%s: skipped, because it cannot be read: %s", info.path, first_line(e))
                continue
            ratings += [row for row in read_rows(data) if _is_rating(row)]
        return ratings

    def state(self) -> str:
        """Return a text that changes with every rating, without reading the files."""
        return repr([(i.base_name, i.size, i.mtime_ns) for i in self._files()])

    def add(self, judge: str, row: Json) -> None:
        """Append a line to a rater's file, and wait until it is on the disk.

        Raises OSError, and RunError if the folder is not local or there is a link.
        """
        self.files.folder.make(RATINGS_FOLDER)
        home = self.files.folder.within(RATINGS_FOLDER)
        with JsonLines(home, rating_file_name(judge)) as ratings:
            ratings.append(row)

    def merge_into(self, verdicts: pa.Table, trial: str | None) -> pa.Table:
        """Return the verdicts with the raters' last ratings, which replace older rows of theirs."""
        last = {(row["item"], row["judge"]): row for row in self.read()}
        if not last:
            return verdicts
        judges = pc.starts_with(verdicts["judge"], HUMAN_PREFIX).to_pylist()
        if any(judges):
            items, names = verdicts["item"].to_pylist(), verdicts["judge"].to_pylist()
            replaced = [h and (i, j) in last for h, i, j in zip(judges, items, names, strict=True)]
            verdicts = verdicts.filter(pa.array([not r for r in replaced]))
        rows = [
            NEW_COLUMNS["verdicts"] | r
            for r in last.values()
            if not r.get("retracted") and (trial is None or r["trial"] == trial)
        ]
        fresh = pa.Table.from_pylist(rows, schema=SCHEMAS["verdicts"]).select(verdicts.schema.names)
        return pa.concat_tables([verdicts, fresh])

    def _files(self) -> list[pafs.FileInfo]:
        """Return the raters' files, sorted by name."""
        if self.files.exists(RATINGS_FOLDER):
            _log.warning("%s/%s: skipped: is a file, no folder", self.files.path, RATINGS_FOLDER)
            return []
        try:
            files = self.files.list(RATINGS_FOLDER)
        except READ_ERRORS as e:
            _log.warning("%s/%s: skipped: %s", self.files.path, RATINGS_FOLDER, first_line(e))
            return []
        return [info for info in files if info.base_name.endswith(".jsonl")]


def rating_file_name(judge: str) -> str:
    """Return the name of a rater's file. The hash keeps raters apart whose names differ only in
    characters that a file system may not have."""
    plain = re.sub(r"[^a-z0-9]+", "-", judge.removeprefix(HUMAN_PREFIX).lower()).strip("-")
    return f"{plain[:24]}-{seed_of('rater', judge):08x}.jsonl"


def _is_rating(row: Json) -> bool:
    """Return whether a line is a rating: a verdict with all columns, or its retraction."""
    named = isinstance(row.get("item"), str) and isinstance(row.get("judge"), str)
    if not named or not row["judge"].startswith(HUMAN_PREFIX):
        return False
    if row.get("retracted"):
        return True
    return is_row("verdicts", NEW_COLUMNS["verdicts"] | row)
