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
from improv.export.block_store import Book
from improv.export.document import fountain, markdown
from improv.export.selection import Selection, Wanted, performances, scenes, select
from improv.records import Json
from improv.storage.run_folder import RunFolder
from improv.version import __version__

SAMPLES = 1_000
"""Scenes of a condition from which on each scene has an Inspect log of its own: Inspect's writer
takes a log as a whole."""
Tell = Callable[[int, int], None]


@dataclass
class Exported:
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
    wanted: Wanted = Wanted(),
    path: str | os.PathLike[str] = "",
    *,
    force: bool = False,
    tell: Tell | None = None,
) -> Exported:
    """Write scenes of a run as `to` says: "jsonl", "hf", "inspect", "fountain", "markdown", "otel".

    `path` is a file for jsonl and otel, a folder for the others, and is made up from the run's
    name where it is "". With `force`, files of the same names are written over; nothing is ever
    removed. `tell` is told how many of how many are done. Raises RunError.
    """
    if to not in FORMS:
        raise RunError(f"{to}: nothing is exported so; there are {', '.join(FORMS)}")
    if to == "inspect":
        inspect_log.needed()
    form = FORMS[to]
    chosen = select(folder, wanted)
    meta = folder.meta()
    target = Path(path or _named(folder, wanted, form.ending))
    planned = int(meta.get("trials") or 0)
    found = Exported(target, chosen.count, failed=chosen.failed)
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
        _room(target, form.folder and not single, force)
        form.write(_Export(chosen, target, _about(folder, meta, found), tell or _untold, found))
    except OSError as e:
        raise RunError(f"{target}: cannot be written: {e.strerror or e}") from None
    return found


@dataclass(frozen=True)
class _Export:
    """One export while it is made."""

    chosen: Selection
    target: Path
    run: Json
    tell: Tell
    found: Exported

    @property
    def folder(self) -> RunFolder:
        return self.chosen.folder


def _jsonl(of: _Export) -> None:
    told = {"run": of.run["run"], "study": of.run["study"], "puppets": of.run["puppets"]}
    lines = 0
    with Book(of.folder) as book, _file(of.target) as sink:
        for number, played in enumerate(performances(of.chosen), 1):
            for row in conversations.conversations(played, book, told):
                sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                lines += 1
            of.tell(number, of.chosen.count)
    of.found.written = {"conversations": lines}


def _otel(of: _Export) -> None:
    spans = 0
    with Book(of.folder) as book, _file(of.target) as sink:
        for number, played in enumerate(performances(of.chosen), 1):
            row = otel.trace(played, book, of.run, of.run["version"])
            spans += len(row["resourceSpans"][0]["scopeSpans"][0]["spans"])
            sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            of.tell(number, of.chosen.count)
    of.found.written = {"traces": of.chosen.count, "spans": spans}


def _hf(of: _Export) -> None:
    of.found.written = huggingface.write(of.chosen, of.target, of.run, of.tell)


def _inspect(of: _Export) -> None:
    known = scenes(of.folder)
    done = 0
    parts = list(logs(of.chosen))
    for file, part in parts:
        samples = []
        for played in performances(part):
            samples.append(played)
            done += 1
            of.tell(done, of.chosen.count)
        condition = samples[0].row["condition"]
        premises = {slug: s.premise for (slug, name), s in known.items() if name == condition}
        log = inspect_log.log_of(samples, of.run, premises)
        temporary = of.target / f".{file}.tmp.eval"
        try:
            inspect_log.write(log, temporary)
            temporary.replace(of.target / f"{file}.eval")
        finally:
            temporary.unlink(missing_ok=True)
    of.found.written = {"logs": len(parts), "samples": done}


def logs(chosen: Selection, most: int = SAMPLES) -> Iterator[tuple[str, Selection]]:
    """Yield the Inspect logs that there will be, by name: one a condition, or where that has more
    than `most` scenes, one a condition and scene."""
    rows = list(chosen.each())
    for number, condition in enumerate(dict.fromkeys(r["condition"] for r in rows)):
        part = chosen.only(condition=condition)
        name = f"{number:02d}-{document_export.slug(condition)}"
        if part.count <= most:
            yield name, part
            continue
        for scene in dict.fromkeys(r["scene"] for r in part.each()):
            yield f"{name}-{document_export.slug(scene)}", part.only(scene=scene)


def _documents(ending: str, of: _Export) -> None:
    make = fountain if ending == "fountain" else markdown
    known = scenes(of.folder)
    models = ", ".join(of.run["models"])
    for number, played in enumerate(performances(of.chosen), 1):
        text = make(document_export.folio(played, of.run["run"], models, known))
        single = of.target.suffix == f".{ending}"
        file = of.target if single else of.target / document_export.file_name(played.row, ending)
        with _file(file) as sink:
            sink.write(text.encode())
        of.tell(number, of.chosen.count)
    of.found.written = {"scenes": of.chosen.count}


@dataclass(frozen=True)
class _Form:
    """A format: who writes it, what its name ends in, whether it is a folder, and how a file that
    holds one scene alone would end."""

    write: Callable[[_Export], None]
    ending: str
    folder: bool
    page: str = ""


FORMS = {
    "jsonl": _Form(_jsonl, ".jsonl", False),
    "hf": _Form(_hf, "-hf", True),
    "inspect": _Form(_inspect, "-inspect", True),
    "fountain": _Form(partial(_documents, "fountain"), "-fountain", True, ".fountain"),
    "markdown": _Form(partial(_documents, "md"), "-markdown", True, ".md"),
    "otel": _Form(_otel, ".otlp.jsonl", False),
}
"""The formats there are."""


def _about(folder: RunFolder, meta: Json, found: Exported) -> Json:
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


def _named(folder: RunFolder, wanted: Wanted, ending: str) -> str:
    trial = wanted.trial.replace("~", "-")
    return f"{folder.id}-{trial}{ending}" if trial else f"{folder.id}{ending}"


def _room(target: Path, folder: bool, force: bool) -> None:
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
def _file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as sink:
            yield sink
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _untold(done: int, total: int) -> None:
    """Tell nobody."""
