"""The log of the batches that a host sent: a file of JSON lines in the folder of the journals.

A line is `{"name", "endpoint", "requests"}` before a batch is sent, and `{"name", "id"}` when the
endpoint has given it an id. The calls themselves are in the journal, once they have answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from improv.errors import RunError
from improv.folder import Folder
from improv.storage.jsonl import JsonLines, read_rows

BATCHES = "batches-"
"""The beginning of the names of these files. They are in the journals' folder, and no journals."""
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
"""The ids that endpoints give. The file may be anybody's, and an id becomes part of an address."""


class LoggedBatch(NamedTuple):
    """A batch in a log; its id is "" if the host died before the endpoint gave it one."""

    name: str
    endpoint: str
    requests: tuple[str, ...]
    id: str


class BatchLog:
    """Appends to the log of one host, and reads the logs of all. The file is made when needed."""

    def __init__(self, folder: Folder, host: str) -> None:
        self._folder = folder
        self._name = f"{BATCHES}{host}.jsonl"
        self._lines: JsonLines | None = None

    def sending(self, name: str, endpoint: str, requests: tuple[str, ...]) -> None:
        """Record a batch before it is sent. Raises OSError."""
        self._append({"name": name, "endpoint": endpoint, "requests": requests})

    def sent(self, name: str, id: str) -> None:
        """Record the id of a batch. Raises OSError."""
        self._append({"name": name, "id": id})

    def earlier(self) -> Iterator[LoggedBatch]:
        """Yield the batches in the logs of other hosts; skip lines that cannot be read."""
        for entry in self._folder.entries():
            if entry.is_file and entry.name.startswith(BATCHES) and entry.name != self._name:
                yield from read_batches(self._folder.read(entry.name))

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _append(self, row: dict[str, object]) -> None:
        if self._lines is None:
            self._lines = JsonLines(self._folder, self._name)
        self._lines.append(row)
        # A batch costs more than all that is written in a second, and comes once in minutes.
        self._lines.sync()


def read_batches(data: bytes) -> list[LoggedBatch]:
    """Return the batches in a log. Lines that cannot be read are left out."""
    batches: dict[str, LoggedBatch] = {}
    for row in read_rows(data):
        name, id, requests = row.get("name"), row.get("id"), row.get("requests")
        endpoint = row.get("endpoint")
        if not isinstance(name, str):
            continue
        if isinstance(id, str) and _ID.fullmatch(id) and name in batches:
            batches[name] = batches[name]._replace(id=id)
        elif isinstance(endpoint, str) and isinstance(requests, list):
            texts = tuple(request for request in requests if isinstance(request, str))
            batches[name] = LoggedBatch(name, endpoint, texts, "")
    return list(batches.values())


def count_batches(folder: Folder) -> int:
    """Return how many batches the logs of a run hold. A log that cannot be read holds none."""
    count = 0
    for entry in folder.entries():
        if entry.is_file and entry.name.startswith(BATCHES):
            try:
                count += len(read_batches(folder.read(entry.name)))
            except (OSError, RunError):
                continue
    return count
