"""What the commands share: the app, options that several take, errors told to a person."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from improv.cli import terminal
from improv.errors import ImprovError, RunError

app = typer.Typer(
    name="improv",
    help="Language models on an improv stage: does author-level context keep them true?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[
    str,
    typer.Option(
        "--runs", envvar="IMPROV_RUNS", help="The runs folder: a path, or s3://… and such."
    ),
]
RayAt = Annotated[
    str, typer.Option("--ray", help='"local", "off" (in process), or the address of a cluster.')
]
Hosts = Annotated[int | None, typer.Option(min=1, max=10_000, help="Host processes.")]
Stages = Annotated[int | None, typer.Option(min=1, max=10_000, help="Scenes at once in each host.")]
Connections = Annotated[
    int,
    typer.Option("--max-connections", min=1, max=10_000, help="Calls in flight to an endpoint."),
]


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number that anything could reach.")
    return value


MaxCalls = Annotated[int | None, typer.Option(min=1, help="Stop after so many calls.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Stop after so many tokens.")]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0, callback=_finite, help="Stop after so many dollars."),
]
FailOnError = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, callback=_finite, help="Stop when a larger share of the trials fails."
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(help="A host that the study may have the key and the prompts sent to."),
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Go on though study, program or model have changed.")
]


@contextmanager
def telling() -> Iterator[None]:
    """Turn errors made for a person into a message and the exit code they carry."""
    try:
        yield
    except ImprovError as e:
        terminal.complain(str(e))
        raise typer.Exit(e.exit_code) from None
    except KeyboardInterrupt:
        # While a run plays, launch has the signal; this is before it or after.
        terminal.complain("interrupted; what was played is kept, and `improv resume` goes on")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # `improv list | head` is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def place(what: str) -> tuple[str, str, int]:
    """Read RUN/TRIAL[~BRANCH]@TURN."""
    rest, at, turn = what.rpartition("@")
    run, slash, trial = rest.partition("/")
    if not at or not slash or not trial or not turn.isascii() or not turn.isdecimal():
        raise RunError(f"{what!r}: not a place; write RUN/TRIAL@TURN, such as last/0@4")
    return run, trial, int(turn)


def leave(result: Any) -> NoReturn:
    raise typer.Exit(result.exit_code)
