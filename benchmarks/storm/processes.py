"""The processes of this machine that descend from another, found in /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path


def descendants(root: int) -> list[int]:
    """Return all processes that descend from `root`, parents before children."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            stat = (place / "stat").read_text(errors="replace")
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.name))
    tree = [root]
    for process in tree:
        tree += sorted(children.get(process, []))
    return tree[1:]


def named(processes: Iterable[int], part: str) -> list[int]:
    """Return the processes whose program's name contains `part`."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError):
            program = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]
            if part in program.decode(errors="replace"):
                found.append(process)
    return found


def kill(processes: Iterable[int], number: int = signal.SIGKILL) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
