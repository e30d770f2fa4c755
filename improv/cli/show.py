"""Commands that show what was played: list, show, view."""

from __future__ import annotations

from typing import Annotated

import typer

from improv.cli import terminal, transcript
from improv.cli.options import Runs, app, reported_errors


@app.command("list")
def list_command(runs: Runs = "runs") -> None:
    """List all runs, the newest first."""
    with reported_errors():
        from improv.storage.runs import list_runs

        terminal.runs(list_runs(runs), runs)


@app.command("show")
def show_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL]", help='"last" is the newest run.')
    ] = "last",
    runs: Runs = "runs",
    notes: Annotated[
        bool, typer.Option("--notes/--no-notes", help="Show what the author did.")
    ] = False,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Show the prompt of each call.")
    ] = False,
) -> None:
    """List the trials of a run, or print one trial as a play."""
    with reported_errors():
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        folder = open_run(runs, run)
        if trial:
            transcript.show_scene(
                folder, folder.transcripts.trial(trial), notes=notes, prompts=prompts
            )
        else:
            terminal.trials(folder)


@app.command("view")
def view_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[RUN[/TRIAL]]", help="The run or trial to open; by default the list of runs."
        ),
    ] = "",
    runs: Runs = "runs",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")
    ] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Open the viewer in a browser; it serves this machine only.

    The address that it prints ends in a token. A page that was opened without it shows everything,
    but starts, stops and saves nothing.
    """
    with reported_errors():
        from improv.cli.viewer import view

        raise typer.Exit(view(runs, what, port=port, browser=browser))
