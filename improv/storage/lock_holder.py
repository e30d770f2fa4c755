"""The holder of a run: the record in holder.json, and how it is made, written and read."""

from __future__ import annotations

import errno
import json
import os
import platform
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from improv.folder import Folder

HOLDER_FILE = "holder.json"

_SLOWEST = 60.0
"""Maximum seconds between beats that is accepted, so that a corrupt file causes no endless wait."""

MAX_HOLDER_BYTES = 4096
BEAT_HEAD = '{"beat": '
_WIDTH = 12
NAMELESS_HOSTS = {"", "localhost", "localhost.localdomain"}


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a run: the content of holder.json.

    `boot` is the machine's boot id, `pids` the pid namespace, and `started` the start of the
    process in ticks since the boot, which tells a reused pid apart. Each is "" if the system does
    not give it. `folder` is the number that the filesystem gives the run folder, which tells a copy
    apart from the run that is played; it is "" where folders have none, and in older files.
    `created` is the holder's clock, for people to read; no code compares it. `every` is the seconds
    between two beats, `beat` the number of beats so far.
    """

    token: str
    host: str
    boot: str
    pids: str
    pid: int
    started: str
    created: str
    every: float
    beat: int
    folder: str = ""

    def is_of(self, folder: str) -> bool:
        """Whether this may be the holder of a folder with this number, and not of its original."""
        return not (self.folder and folder) or self.folder == folder

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host or 'a machine without a name'}"


def folder_number(folder: Path) -> str:
    """Return the number that the filesystem gives a folder, "" if it gives none."""
    try:
        number = folder.stat().st_ino
    except OSError:
        return ""
    return str(number) if number else ""


def this_process(every: float, folder: str = "") -> Holder:
    """Return the record of this process, which beats every `every` seconds in a folder."""
    pid = os.getpid()
    try:
        pids = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        pids = ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return Holder(
        token=uuid.uuid4().hex,
        host=platform.node(),
        boot=boot,
        pids=pids,
        pid=pid,
        started=process_start(pid) or "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        every=every,
        beat=0,
        folder=folder,
    )


def process_start(pid: int) -> str | None:
    """Return the start of a process in ticks, "" if it is a zombie, None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything. Then come the state and, 19 later, the start.
    rest = stat.rpartition(")")[2].split()
    if len(rest) < 20:
        return None
    return "" if rest[0] in "ZX" else rest[19]


def holder_bytes(me: Holder) -> bytes:
    rest = asdict(me)
    del rest["beat"]
    return f"{BEAT_HEAD}{beat_bytes(me.beat).decode()}, {json.dumps(rest)[1:]}\n".encode()


def beat_bytes(beat: int) -> bytes:
    return f"{beat:>{_WIDTH}}".encode()


def read_holder(folder: Folder) -> bytes | None:
    """Return the content of holder.json, None if there is no such file. Raises OSError, and
    RunError for a link."""
    for tries in range(3):
        try:
            with folder.open_to_read(HOLDER_FILE) as source:
                return source.read(MAX_HOLDER_BYTES)
        except FileNotFoundError:
            return None
        except OSError as e:
            # On a file server: the file was replaced between open and read.
            if e.errno != errno.ESTALE or tries == 2:
                raise
    return None


def parse_holder(raw: bytes | None) -> Holder | None:
    """Return the holder from the content of holder.json, None if that is missing or torn."""
    try:
        record = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    known: dict[str, Any] = {"pids": "", "every": 0.0, "folder": ""}
    known |= {name: record[name] for name in Holder.__slots__ if name in record}
    texts = ("token", "host", "boot", "pids", "started", "created", "folder")
    whole = (
        known.keys() == set(Holder.__slots__)
        and all(isinstance(known[name], str) for name in texts)
        and isinstance(known["every"], int | float)
        and isinstance(known["beat"], int)
        and isinstance(known["pid"], int)
        and 0 < known["pid"] < 2**31  # 0 and below mean groups of processes
    )
    if not whole:
        return None
    if not 0 <= known["every"] <= _SLOWEST:
        known["every"] = _SLOWEST
    return Holder(**known)
