"""Takes scenes out of a run into the formats of other programs: which, where to, how many.

Nothing that is there is written over unless that is asked for, and a file gets its name when it is
whole. A run that is still played gives what it holds by now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import orjson

from improv.errors import ImprovError, RunError
from improv.export import conversations, document_export, huggingface, inspect_log, otel
from improv.export.block_store import BlockStore
from improv.export.document import to_fountain, to_markdown
from improv.export.selection import (
    SceneFilter,
    Selection,
    played_scenes,
    select_scenes,
    study_scenes,
)
from improv.records import Json
from improv.storage.run_folder import RunFolder
from improv.version import __version__

MAX_LOG_SAMPLES = 1_000
"""Scenes of a condition from which on each scene has an Inspect log of its own: Inspect's writer
takes a log as a whole."""
_Progress = Callable[[int, int], None]


@dataclass
class ExportResult:
    """What came of an export: where it is, and how many of what were written.

    `failed` scenes were left out (of a dataset they are part), `owed` are not played yet.
    """

    path: Path
    scenes: int
    written: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    owed: int = 0
    playing: bool = False


def export(
    folder: RunFolder,
    to: str,
    wanted: SceneFilter = SceneFilter(),
    path: str | os.PathLike[str] = "",
    *,
    force: bool = False,
    progress: _Progress | None = None,
) -> ExportResult:
    """Write scenes of a run as `to` says: "jsonl", "hf", "inspect", "fountain", "markdown", "otel".

    `path` is a file for jsonl and otel, a folder for the others, and is made up from the run's
    name where it is "". With `force`, files of the same names are written over; nothing is ever
    removed. `tell` is told how many of how many are done. Raises RunError.
    """
    if to not in EXPORT_FORMATS:
        raise RunError(f"{to}: nothing is exported so; there are {', '.join(EXPORT_FORMATS)}")
    if to == "inspect":
        inspect_log.require_inspect()
    form = EXPORT_FORMATS[to]
    chosen = select_scenes(folder, wanted)
    meta = folder.meta()
    target = Path(path or _default_name(folder, wanted, form.ending))
    planned = int(meta.get("trials") or 0)
    found = ExportResult(target, chosen.count, failed=chosen.failed)
    if chosen.whole or not wanted.trial:
        found.owed = max(0, planned - len(chosen.known))
    found.playing = meta.get("status") == "playing"
    single = form.page != "" and target.suffix == form.page
    if single and chosen.count > 1:
        raise RunError(
            f"{target}: one file holds one scene, and these are {chosen.count}; "
            "name a folder, or RUN/TRIAL"
        )
    try:
        _make_target(target, form.folder and not single, force)
        form.write(
            _Export(
                chosen, target, _describe_run(folder, meta, found), progress or _no_progress, found
            )
        )
    except OSError as e:
        raise RunError(f"{target}: cannot be written: {e.strerror or e}") from None
    return found


@dataclass(frozen=True)
class _Export:
    """One export while it is made."""

    chosen: Selection
    target: Path
    run: Json
    progress: _Progress
    found: ExportResult

    @property
    def folder(self) -> RunFolder:
        return self.chosen.folder


def _jsonl(of: _Export) -> None:
    told = {"run": of.run["run"], "study": of.run["study"], "puppets": of.run["puppets"]}
    lines = 0
    with BlockStore(of.folder) as book, _atomic_file(of.target) as sink:
        for number, played in enumerate(played_scenes(of.chosen), 1):
            for row in conversations.conversations(played, book, told):
                sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                lines += 1
            of.progress(number, of.chosen.count)
    of.found.written = {"conversations": lines}


def _otel(of: _Export) -> None:
    spans = 0
    with BlockStore(of.folder) as book, _atomic_file(of.target) as sink:
        for number, played in enumerate(played_scenes(of.chosen), 1):
            row = otel.scene_trace(played, book, of.run, of.run["version"])
            spans += len(row["resourceSpans"][0]["scopeSpans"][0]["spans"])
            sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            of.progress(number, of.chosen.count)
    of.found.written = {"traces": of.chosen.count, "spans": spans}


def _hf(of: _Export) -> None:
    of.found.written = huggingface.write_dataset(of.chosen, of.target, of.run, of.progress)


def _inspect(of: _Export) -> None:
    known = study_scenes(of.folder)
    done = 0
    parts = list(inspect_logs(of.chosen))
    for file, part in parts:
        samples = []
        for played in played_scenes(part):
            samples.append(played)
            done += 1
            of.progress(done, of.chosen.count)
        condition = samples[0].row["condition"]
        premises = {slug: s.premise for (slug, name), s in known.items() if name == condition}
        log = inspect_log.eval_log(samples, of.run, premises)
        temporary = of.target / f".{file}.tmp.eval"
        try:
            inspect_log.write_log(log, temporary)
            temporary.replace(of.target / f"{file}.eval")
        finally:
            temporary.unlink(missing_ok=True)
    of.found.written = {"logs": len(parts), "samples": done}


def inspect_logs(chosen: Selection, most: int = MAX_LOG_SAMPLES) -> Iterator[tuple[str, Selection]]:
    """Yield the Inspect logs that there will be, by name: one a condition, or where that has more
    than `most` scenes, one a condition and scene."""
    rows = list(chosen.rows_in_order())
    for number, condition in enumerate(dict.fromkeys(r["condition"] for r in rows)):
        part = chosen.subset(condition=condition)
        name = f"{number:02d}-{document_export.file_slug(condition)}"
        if part.count <= most:
            yield name, part
            continue
        for scene in dict.fromkeys(r["scene"] for r in part.rows_in_order()):
            yield f"{name}-{document_export.file_slug(scene)}", part.subset(scene=scene)


def _documents(ending: str, of: _Export) -> None:
    make = to_fountain if ending == "fountain" else to_markdown
    known = study_scenes(of.folder)
    models = ", ".join(of.run["models"])
    for number, played in enumerate(played_scenes(of.chosen), 1):
        text = make(document_export.scene_document(played, of.run["run"], models, known))
        single = of.target.suffix == f".{ending}"
        file = (
            of.target
            if single
            else of.target / document_export.document_file_name(played.row, ending)
        )
        with _atomic_file(file) as sink:
            sink.write(text.encode())
        of.progress(number, of.chosen.count)
    of.found.written = {"scenes": of.chosen.count}


@dataclass(frozen=True)
class _Format:
    """A format: who writes it, what its name ends in, whether it is a folder, and how a file that
    holds one scene alone would end."""

    write: Callable[[_Export], None]
    ending: str
    folder: bool
    page: str = ""


EXPORT_FORMATS = {
    "jsonl": _Format(_jsonl, ".jsonl", False),
    "hf": _Format(_hf, "-hf", True),
    "inspect": _Format(_inspect, "-inspect", True),
    "fountain": _Format(partial(_documents, "fountain"), "-fountain", True, ".fountain"),
    "markdown": _Format(partial(_documents, "md"), "-markdown", True, ".md"),
    "otel": _Format(_otel, ".otlp.jsonl", False),
}
"""The formats there are."""


def _describe_run(folder: RunFolder, meta: Json, found: ExportResult) -> Json:
    """Return what an export says of the run that it is of: nothing of the machine."""
    models = [str(m) for m in meta.get("models") or []]
    source = meta.get("source") or {}
    puppets = "puppet" in models
    planted = str(source.get("planted") or "")
    question = ""
    with suppress(ImprovError):
        question = folder.question()
    return {
        "run": folder.id,
        "study": str(meta.get("study") or folder.id),
        "question": question,
        "created": str(meta.get("created") or ""),
        "models": models,
        "puppets": puppets,
        "planted": planted,
        "plan": str(meta.get("trials_hash") or ""),
        "version": __version__,
        "conditions": [str(c) for c in meta.get("conditions") or []],
        "scenes": [str(s) for s in meta.get("scenes") or []],
        "counted": f"{found.scenes:,} done, {found.failed:,} failed",
        "owed": found.owed,
        "played": "puppets" if puppets else "models",
    }


def _default_name(folder: RunFolder, wanted: SceneFilter, ending: str) -> str:
    trial = wanted.trial.replace("~", "-")
    return f"{folder.id}-{trial}{ending}" if trial else f"{folder.id}{ending}"


def _make_target(target: Path, folder: bool, force: bool) -> None:
    """Make the place that is written to. Raises RunError where something is there already."""
    if folder and target.exists() and not target.is_dir():
        raise RunError(f"{target}: is a file, and this writes a folder; name another with -o")
    if not folder and target.is_dir():
        raise RunError(f"{target}: is a folder, and this writes a file; name another with -o")
    there = any(target.iterdir()) if target.is_dir() else target.exists()
    if there and not force:
        raise RunError(f"{target}: is there already; --force writes over it, -o names another")
    (target if folder else target.parent).mkdir(parents=True, exist_ok=True)


@contextmanager
def _atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as sink:
            yield sink
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _no_progress(done: int, total: int) -> None:
    """Tell nobody."""
