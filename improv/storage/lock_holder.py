"""Who holds a run: the record in holder.json, how it is written, read and made of this process."""

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

HOLDER = "holder.json"

_SLOWEST = 60.0
"""The longest beat that is believed, so that garbage cannot make us wait for ever."""

LONGEST = 4096
BEAT_HEAD = '{"beat": '
_WIDTH = 12
NAMELESS = {"", "localhost", "localhost.localdomain"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a run: the content of holder.json.

    `boot` is the machine's boot id, `pids` the namespace that `pid` counts in, `started` when the
    process began in ticks since the boot (so that a reused pid is told apart); each is "" where
    the system does not say. `created` is for people: it is the holder's clock, compared with none.
    `every` is the seconds between two beats, `beat` how many there were.
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

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host or 'a machine without a name'}"


def this_process(every: float) -> Holder:
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
        started=started_at(pid) or "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        every=every,
        beat=0,
    )


def started_at(pid: int) -> str | None:
    """Return when a process began, "" if it has ended and was not reaped, None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; then come the state and, 19 on, the start.
    rest = stat.rpartition(")")[2].split()
    if len(rest) < 20:
        return None
    return "" if rest[0] in "ZX" else rest[19]


def content(me: Holder) -> bytes:
    rest = asdict(me)
    del rest["beat"]
    return f"{BEAT_HEAD}{beat_bytes(me.beat).decode()}, {json.dumps(rest)[1:]}\n".encode()


def beat_bytes(beat: int) -> bytes:
    return f"{beat:>{_WIDTH}}".encode()


def read_holder(folder: Path) -> bytes | None:
    """Return what holder.json holds, None if there is none."""
    for tries in range(3):
        try:
            with (folder / HOLDER).open("rb") as source:
                return source.read(LONGEST)
        except FileNotFoundError:
            return None
        except OSError as e:
            # On a file server the file was replaced between open and read.
            if e.errno != errno.ESTALE or tries == 2:
                raise
    return None


def parse_holder(raw: bytes | None) -> Holder | None:
    """Return the holder, None if there is none or what stands there is not whole."""
    try:
        found = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    known: dict[str, Any] = {"pids": "", "every": 0.0}
    known |= {name: found[name] for name in Holder.__slots__ if name in found}
    words = ("token", "host", "boot", "pids", "started", "created")
    whole = (
        known.keys() == set(Holder.__slots__)
        and all(isinstance(known[name], str) for name in words)
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
