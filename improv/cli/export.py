"""The command that takes scenes out of a run, into the formats of other programs: export."""

from __future__ import annotations

from typing import Annotated

import typer

from improv.cli import terminal
from improv.cli.options import Runs, app, telling


@app.command("export")
def export_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help='"last" is the newest run.')
    ],
    to: Annotated[
        str, typer.Option(help='"jsonl", "hf", "inspect", "fountain", "markdown" or "otel".')
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where to; named after the run by default.")
    ] = "",
    condition: Annotated[str, typer.Option(help="Of one condition alone.")] = "",
    scene: Annotated[str, typer.Option(help="Of one scene alone, by its name.")] = "",
    branches: Annotated[
        bool, typer.Option("--branches", help="Branches, regenerations and probes too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there already.")
    ] = False,
    runs: Runs = "runs",
) -> None:
    """Write scenes of a run in other programs' formats.

    jsonl is chat messages, one conversation from each character's view; hf a folder for Hugging
    Face's datasets; inspect logs for `inspect view`; fountain and markdown a file a scene; otel
    traces by OpenTelemetry's conventions. Scenes that failed are left out, and counted.
    """
    with telling():
        from improv.cli import terminal_export
        from improv.export.exporter import export
        from improv.export.selection import Wanted
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        wanted = Wanted(trial, condition, scene, branches)
        with terminal.counting("tables" if to == "hf" else "scenes") as tell:
            found = export(open_run(runs, run), to, wanted, output, force=force, tell=tell)
        terminal_export.exported(found, to)
