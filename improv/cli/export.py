"""The command `export`: it writes scenes of a run in other programs' formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from improv.cli import terminal
from improv.cli.options import Runs, app, reported_errors

if TYPE_CHECKING:
    from improv.export.exporter import ExportResult

_NEXT_STEP = {
    "hf": 'load it:  datasets.load_dataset("{}", "turns")',
    "inspect": "read it:  inspect view --log-dir {}",
}
"""The command that reads a format, printed after the export."""


@app.command("export")
def export_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help='"last" is the newest run.')
    ],
    to: Annotated[
        str, typer.Option(help='"jsonl", "hf", "inspect", "fountain", "markdown" or "otel".')
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="The file or folder to write; by default named after the run."
        ),
    ] = "",
    condition: Annotated[str, typer.Option(help="Only scenes of this condition.")] = "",
    scene: Annotated[str, typer.Option(help="Only this scene, by its name.")] = "",
    branches: Annotated[
        bool, typer.Option("--branches", help="Write branches, regenerations and probes too.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    runs: Runs = "runs",
) -> None:
    """Write scenes of a run in other programs' formats.

    jsonl: chat messages, one conversation for each character's view. hf: a folder for Hugging
    Face's datasets. inspect: logs for `inspect view`. fountain, markdown: one file for each scene.
    otel: traces by OpenTelemetry's conventions. Failed scenes are counted and left out.
    """
    with reported_errors():
        from improv.export.exporter import export
        from improv.export.selection import SceneFilter
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        wanted = SceneFilter(trial=trial, condition=condition, scene=scene, branches=branches)
        with terminal.counting("tables" if to == "hf" else "scenes") as tell:
            exported = export(open_run(runs, run), to, wanted, output, force=force, progress=tell)
        _print_exported(exported, to)


def _print_exported(exported: ExportResult, to: str) -> None:
    """Print what was written, where it is, and what was left out."""
    counted = ", ".join(f"{n:,} {what}" for what, n in exported.written.items())
    scenes = f"{exported.scenes:,} scene{'s' if exported.scenes != 1 else ''}"
    terminal.say(f"written: {exported.path} ({counted or 'nothing'}, of {scenes})")
    if exported.failed:
        kept = "the tables hold them as failed" if to == "hf" else "they are left out"
        terminal.complain(f"{exported.failed:,} of the chosen scenes failed; {kept}")
    for difference in exported.differences:
        terminal.complain(difference)
    if exported.playing:
        terminal.complain("the run is still playing: these are its scenes until now")
    if exported.owed:
        terminal.complain(f"{exported.owed:,} planned trials are not played yet")
    if to in _NEXT_STEP:
        terminal.say(_NEXT_STEP[to].format(exported.path))
