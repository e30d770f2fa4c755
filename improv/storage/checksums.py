"""checksums.json: the BLAKE2b digests of a run's tables, its study and its run.json.

Page checksums cover what is in a table, and no more: a changed byte elsewhere in its file, a file
of another run, or a number changed in run.json reads as other data. So whoever decides by a run
(`report`, `score`, `export`) compares its files with these digests, and says which differ. Runs of
older versions have no such file, and nothing is said about them.

A file that is replaced has two digests, of its old and its new content: the new one is written
before the file gets its name, so a kill in between leaves no false alarm.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson
import pyarrow as pa

from improv.storage.history import mutex
from improv.storage.run_files import RunFiles

CHECKSUMS_FILE = "checksums.json"
_LARGEST = 2**20
_PART = 2**20
_DIGEST_BYTES = 20


@dataclass(frozen=True)
class Checksums:
    """The digests of the files in one run folder."""

    files: RunFiles

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all, and its digest. Raises OSError, and RunError if the
        folder is not local."""
        with self.open_for_writing(name) as sink:
            sink.write(data)

    @contextlib.contextmanager
    def open_for_writing(self, name: str) -> Iterator[Any]:
        """Open a file for writing as `RunFiles` does, and write its digest when it is whole."""

        with self.files.open_for_writing(name) as sink:
            hashing = _Hashing(sink)
            yield hashing
            self._keep(name, hashing.digest)

    def _keep(self, name: str, digest: str) -> None:
        with mutex(self.files):
            known, _ = self._read()
            known[name] = [digest, *[old for old in known.get(name, []) if old != digest][:1]]
            content = {"algorithm": "blake2b-160", "files": dict(sorted(known.items()))}
            data = orjson.dumps(content, option=orjson.OPT_INDENT_2)
            self.files.write(CHECKSUMS_FILE, data)

    def newest(self, names: Iterable[str]) -> dict[str, str]:
        """Return the newest digest of each of these files that has one."""
        known, _ = self._read()
        return {name: known[name][0] for name in names if known.get(name)}

    def differences(self) -> list[str]:
        """Return a sentence for each file that is not as improv wrote it. Reads all of them."""
        _, problem = self._read()
        sentences = [problem] if problem else []
        for name in self.changed():
            there = self.files.exists(name)
            what = "is not as improv wrote it (another checksum)" if there else "is missing"
            sentences.append(f"{self.files.id}/{name}: {what}")
        return sentences

    def changed(self, names: Iterable[str] | None = None) -> list[str]:
        """Return the files that are not as improv wrote them: of `names`, or of all. Reads them."""
        known, _ = self._read()
        wanted = known if names is None else known.keys() & set(names)
        # The file may have been replaced since its digest was read.
        return [
            name
            for name in sorted(wanted)
            if not self._same(name, known[name])
            and not self._same(name, self._read()[0].get(name, []))
        ]

    def _same(self, name: str, digests: list[str]) -> bool:
        try:
            with self.files.fs.open_input_stream(f"{self.files.path}/{name}") as source:
                return _digest_of(source) in digests
        except OSError:
            return False

    def _read(self) -> tuple[dict[str, list[str]], str]:
        """Return the digests by the name of the file, and what is wrong with checksums.json."""
        path = f"{self.files.path}/{CHECKSUMS_FILE}"
        try:
            if (self.files.fs.get_file_info(path).size or 0) > _LARGEST:
                return {}, f"{path}: has more than {_LARGEST:,} bytes"
            files = orjson.loads(self.files.read(CHECKSUMS_FILE))["files"]
            known = {
                name: [str(digest) for digest in digests]
                for name, digests in files.items()
                if isinstance(digests, list) and _plain(name)
            }
        except FileNotFoundError:
            return {}, ""
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return {}, f"{path}: cannot be read, so the files of the run cannot be compared with it"
        return known, ""


def _plain(name: object) -> bool:
    """Return whether a name is one of a file in the run folder itself."""
    return isinstance(name, str) and "/" not in name and "\\" not in name and len(name) < 100


class _Hashing(io.RawIOBase):
    """Passes on what is written to a file, and digests it."""

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self._sink = sink
        self._whole = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    @property
    def digest(self) -> str:
        return self._whole.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._whole.update(data)
        return self._sink.write(data)


def _digest_of(source: IO[bytes]) -> str:
    whole = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    while part := source.read(_PART):
        whole.update(part)
    return whole.hexdigest()
