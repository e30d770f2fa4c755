"""Exports scenes of a run: chooses the scenes, checks the target, and calls the format's writer.

An existing file is overwritten only with `force`. A file is written under a temporary name and
renamed when it is complete. Of a run that is still playing, the scenes until now are exported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

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
from improv.files import make_folder, open_for_writing
from improv.records import Json
from improv.storage.run_folder import RunFolder
from improv.version import __version__

MAX_LOG_SAMPLES = 1_000
"""Scenes in one Inspect log, at most, since Inspect's writer needs a whole log in memory. A
condition with more has a log for each scene of the study."""
_Progress = Callable[[int, int], None]


@dataclass
class ExportResult:
    """The result of an export: its path, the number of scenes, and the counts in `written` by kind.

    `failed` counts scenes that failed; only "hf" exports them. `owed` counts planned trials that
    are not played yet. `playing` is true if the run was still playing. `differences` say which
    files of the run are not as improv wrote them.
    """

    path: Path
    scenes: int
    written: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    owed: int = 0
    playing: bool = False
    differences: tuple[str, ...] = ()


def export(
    folder: RunFolder,
    to: str,
    wanted: SceneFilter = SceneFilter(),
    path: str | os.PathLike[str] = "",
    *,
    force: bool = False,
    progress: _Progress | None = None,
) -> ExportResult:
    """Write scenes of a run in the format `to`, a key of EXPORT_FORMATS.

    `path` is a file for "jsonl" and "otel" and a folder for the others; if it is empty, the name is
    made of the run's id. With `force`, files of the same names are overwritten; no file is removed.
    `progress` is called with the number of scenes (for "hf", tables) that are done and their total.
    Raises RunError.
    """
    if to not in EXPORT_FORMATS:
        raise RunError(f"{to}: is not a format; there are {', '.join(EXPORT_FORMATS)}")
    if to == "inspect":
        inspect_log.require_inspect()
    form = EXPORT_FORMATS[to]
    chosen = select_scenes(folder, wanted)
    meta = folder.meta()
    target = Path(path or _default_name(folder, wanted, form.ending))
    planned = int(meta.get("trials") or 0)
    result = ExportResult(target, chosen.count, failed=chosen.failed)
    if chosen.whole or not wanted.trial:
        result.owed = max(0, planned - len(chosen.known))
    result.differences = tuple(folder.checksums.differences())
    result.playing = meta.get("status") == "playing"
    single = form.page != "" and target.suffix == form.page
    if single and chosen.count > 1:
        raise RunError(
            f"{target}: a file of this kind has one scene, but {chosen.count} are chosen; "
            "name a folder, or choose one with RUN/TRIAL"
        )
    try:
        _make_target(target, form.folder and not single, force)
        about = _describe_run(folder, meta, result)
        form.write(_Export(chosen, target, about, progress or _no_progress, result))
    except OSError as e:
        raise RunError(f"{target}: cannot be written: {e.strerror or e}") from None
    return result


@dataclass(frozen=True)
class _Export:
    """What the writer of a format needs: the scenes, the target, and facts about the run."""

    chosen: Selection
    target: Path
    run: Json
    progress: _Progress
    result: ExportResult

    @property
    def folder(self) -> RunFolder:
        return self.chosen.folder


def _jsonl(job: _Export) -> None:
    about = {"run": job.run["run"], "study": job.run["study"], "puppets": job.run["puppets"]}
    lines = 0
    with BlockStore(job.folder) as store, open_for_writing(job.target) as sink:
        for number, played in enumerate(played_scenes(job.chosen), 1):
            for row in conversations.conversations(played, store, about):
                sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                lines += 1
            job.progress(number, job.chosen.count)
    job.result.written = {"conversations": lines}


def _otel(job: _Export) -> None:
    spans = 0
    with BlockStore(job.folder) as store, open_for_writing(job.target) as sink:
        for number, played in enumerate(played_scenes(job.chosen), 1):
            row = otel.scene_trace(played, store, job.run, job.run["version"])
            spans += len(row["resourceSpans"][0]["scopeSpans"][0]["spans"])
            sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            job.progress(number, job.chosen.count)
    job.result.written = {"traces": job.chosen.count, "spans": spans}


def _hf(job: _Export) -> None:
    job.result.written = huggingface.write_dataset(job.chosen, job.target, job.run, job.progress)


def _inspect(job: _Export) -> None:
    known = study_scenes(job.folder)
    done = 0
    parts = list(inspect_logs(job.chosen))
    for file, part in parts:
        samples = []
        for played in played_scenes(part):
            samples.append(played)
            done += 1
            job.progress(done, job.chosen.count)
        condition = samples[0].row["condition"]
        premises = {slug: s.premise for (slug, name), s in known.items() if name == condition}
        log = inspect_log.eval_log(samples, job.run, premises)
        # Inspect writes to a path of its own choice, so it writes where nobody else does.
        with tempfile.TemporaryDirectory(prefix="improv-") as own:
            whole = Path(own, f"{file}.eval")
            inspect_log.write_log(log, whole)
            with whole.open("rb") as source, open_for_writing(job.target / whole.name) as sink:
                shutil.copyfileobj(source, sink)
    job.result.written = {"logs": len(parts), "samples": done}


def inspect_logs(chosen: Selection, most: int = MAX_LOG_SAMPLES) -> Iterator[tuple[str, Selection]]:
    """Yield the name and the scenes of each Inspect log.

    There is one log for each condition; a condition with more than `most` scenes has one log for
    each scene of the study.
    """
    rows = list(chosen.rows_in_order())
    for number, condition in enumerate(dict.fromkeys(r["condition"] for r in rows)):
        part = chosen.subset(condition=condition)
        name = f"{number:02d}-{document_export.file_slug(condition)}"
        if part.count <= most:
            yield name, part
            continue
        for scene in dict.fromkeys(r["scene"] for r in part.rows_in_order()):
            yield f"{name}-{document_export.file_slug(scene)}", part.subset(scene=scene)


def _documents(ending: str, job: _Export) -> None:
    make = to_fountain if ending == "fountain" else to_markdown
    known = study_scenes(job.folder)
    models = ", ".join(job.run["models"])
    for number, played in enumerate(played_scenes(job.chosen), 1):
        text = make(document_export.scene_document(played, job.run["run"], models, known))
        single = job.target.suffix == f".{ending}"
        file = (
            job.target
            if single
            else job.target / document_export.document_file_name(played.row, ending)
        )
        with open_for_writing(file) as sink:
            sink.write(text.encode())
        job.progress(number, job.chosen.count)
    job.result.written = {"scenes": job.chosen.count}


@dataclass(frozen=True)
class _Format:
    """A format and its writer."""

    write: Callable[[_Export], None]
    ending: str
    """The end of the default name."""
    folder: bool
    """Whether the format is a folder."""
    page: str = ""
    """The end of a file with a single scene, if the format has such files."""


EXPORT_FORMATS = {
    "jsonl": _Format(_jsonl, ".jsonl", False),
    "hf": _Format(_hf, "-hf", True),
    "inspect": _Format(_inspect, "-inspect", True),
    "fountain": _Format(partial(_documents, "fountain"), "-fountain", True, ".fountain"),
    "markdown": _Format(partial(_documents, "md"), "-markdown", True, ".md"),
    "otel": _Format(_otel, ".otlp.jsonl", False),
}
"""The formats by name, as `--to` takes them."""


def _describe_run(folder: RunFolder, meta: Json, result: ExportResult) -> Json:
    """Return the facts about a run that an export contains; none of them is about the machine."""
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
        "counted": f"{result.scenes:,} done, {result.failed:,} failed",
        "owed": result.owed,
        "played": "puppets" if puppets else "models",
    }


def _default_name(folder: RunFolder, wanted: SceneFilter, ending: str) -> str:
    trial = wanted.trial.replace("~", "-")
    return f"{folder.id}-{trial}{ending}" if trial else f"{folder.id}{ending}"


def _make_target(target: Path, folder: bool, force: bool) -> None:
    """Create the target's folder. Raises RunError if the target exists and `force` is false."""
    if folder and target.exists() and not target.is_dir():
        raise RunError(
            f"{target}: is a file, but this format is a folder; give another name with -o"
        )
    if not folder and target.is_dir():
        raise RunError(
            f"{target}: is a folder, but this format is a file; give another name with -o"
        )
    exists = any(target.iterdir()) if target.is_dir() else target.exists()
    if exists and not force:
        raise RunError(
            f"{target}: exists already; overwrite it with --force, or give another name with -o"
        )
    make_folder(target if folder else target.parent)


def _no_progress(done: int, total: int) -> None:
    """Ignore the progress."""
