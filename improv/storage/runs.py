"""A folder of runs: its address, the id of a new run, and the runs in it."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from improv.errors import RunError
from improv.storage.filesystem import local_filesystem
from improv.storage.run_folder import RunFolder

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*:[^/?#]*@")
"""The beginning of an address with `user:password@` or `:password@`."""


def runs_filesystem(root: str | os.PathLike[str]) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem and path of a runs folder, from a local path or a pyarrow.fs address.
    Raises RunError if the address cannot be used, or has a password in it."""
    text = os.fspath(root)
    if _PASSWORD.match(text):
        # The address is printed, and stands in the viewer's environment; so it is not quoted.
        raise RunError(
            "the address of the runs has a password in it: a password belongs in the environment, "
            "for S3 in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        if "://" in text:
            fs, path = pafs.FileSystem.from_uri(text)
            return local_filesystem(Path(path)) if fs.type_name == "local" else (fs, path)
        return local_filesystem(Path(text))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as e:
        raise RunError(f"{text}: not an address that holds runs: {e}") from None


def new_run_id(name: str) -> str:
    """Return a new id with the time and `name`, so that ids sort by time."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{uuid.uuid4().hex[:4]}"


def list_runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    """Return the runs in a folder, newest first. Folders without a run.json are skipped. A run
    whose run.json is odd is among the last, and says what is wrong when it is read."""
    fs, base = runs_filesystem(root)
    runs = []
    for info in fs.get_file_info(pafs.FileSelector(base, allow_not_found=True)):
        if info.type == pafs.FileType.Directory and RUN_ID.fullmatch(info.base_name):
            folder = RunFolder(fs, f"{base}/{info.base_name}", os.fspath(root))
            created = ""
            with contextlib.suppress(RunError):
                if not folder.exists():
                    continue
                created = folder.meta().get("created", "")
            runs.append((created, folder))
    return [folder for _, folder in sorted(runs, key=lambda pair: pair[0], reverse=True)]


def open_run(root: str | os.PathLike[str], run: str) -> RunFolder:
    """Return a run by its id, a unique beginning or ending of the id, or "last". Raises RunError if
    there is none or several."""
    if run != "last" and not RUN_ID.fullmatch(run):
        raise RunError(f"{run!r} is not the name of a run")
    fs, base = runs_filesystem(root)
    folder = RunFolder(fs, f"{base}/{run}", os.fspath(root))
    if run != "last" and folder.exists():
        return folder
    runs = list_runs(root)
    if run == "last" and runs:
        return runs[0]
    matches = [r for r in runs if r.id.startswith(run) or r.id.endswith(run)]
    if len(matches) == 1:
        return matches[0]
    if run != "last" and fs.get_file_info(folder.path).type == pafs.FileType.Directory:
        raise RunError(f"{folder.path}/run.json: is missing; copy the run again with all its files")
    known = ", ".join(r.id for r in (matches or runs)[:5]) or "none"
    why = "means several runs" if matches else "is not a run"
    raise RunError(f"{run}: {why} in {os.fspath(root)}; there: {known}")
