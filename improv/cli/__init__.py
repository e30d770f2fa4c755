"""The command `improv`: each command parses its arguments, calls one function and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from improv import interrupts
from improv.import_path import leave_working_folder
from improv.output import clean_output
from improv.version import __version__

__all__ = ["app", "main"]

# In the order in which `improv --help` lists their commands.
# isort: off
try:
    from improv.cli.options import app
    from improv.cli import run, plan, show, analyse, graph, export, importing, new, validate  # noqa: F401
except KeyboardInterrupt:  # the imports take most of the time before a command begins
    raise SystemExit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"improv {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Language models on an improv stage."""


def main() -> None:
    """The entry point of the `improv` command."""
    try:
        try:
            leave_working_folder()
            clean_output()  # to the end, so that a traceback is clean as well
            interrupts.watch()
            app()
        finally:
            interrupts.ignore()
    except KeyboardInterrupt:  # before a command could report it, or at its end
        raise SystemExit(130) from None
