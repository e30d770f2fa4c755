"""What the commands share: the app, options of several commands, and the report of errors."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from improv.cli import terminal
from improv.cli.console import App, CleanGroup
from improv.errors import ImprovError, RunError
from improv.study.model_spec import Price, read_price

app = App(
    name="improv",
    cls=CleanGroup,
    help="Language models on an improv stage: does author-level context keep them true?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[
    str,
    typer.Option(
        "--runs",
        envvar="IMPROV_RUNS",
        help="The folder of all runs: a path, or an address such as s3://bucket/runs.",
    ),
]
RayAt = Annotated[
    str, typer.Option("--ray", help='"local", "off" (in process), or the address of a cluster.')
]
Hosts = Annotated[int | None, typer.Option(min=1, max=10_000, help="Number of host processes.")]
Stages = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Scenes that each host plays at once.")
]
Connections = Annotated[
    int,
    typer.Option(
        "--max-connections", min=1, max=10_000, help="Simultaneous calls to an endpoint, at most."
    ),
]


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


MaxCalls = Annotated[int | None, typer.Option(min=1, help="Stop after this many calls.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Stop after this many tokens.")]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0, callback=_finite, help="Stop after this many dollars."),
]


def _price(words: str) -> Price:
    try:
        return read_price(words)
    except ValueError as e:
        raise typer.BadParameter(str(e)) from None


PriceOption = Annotated[
    Any,
    typer.Option(
        "--price",
        metavar="IN,OUT",
        parser=_price,
        help="Dollars per million tokens of prompts and of replies, such as 2.5,10, for models "
        "without a price in the study; a third number is the price of cached prompt tokens.",
    ),
]
FailOnError = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, callback=_finite, help="Stop if a larger share of the trials fails."
    ),
]
Batch = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="Send the calls of all scenes in batches, which endpoints with OpenAI's batch API "
        "answer within a day at half the price. Each scene advances one call a batch.",
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        help="A host or an address that may receive your key and prompts, if the study names it; "
        "env:NAME for a variable that holds a key under an unusual name."
    ),
]
MaxTrials = Annotated[
    int,
    typer.Option(
        "--max-trials",
        min=1,
        max=2_000_000_000,
        help="Refuse a study of more trials, branches included. A hundredth of it is the limit "
        "for conditions × scenes.",
    ),
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Go on even if study, program or model have changed.")
]


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print an ImprovError as a message, and exit with its exit code."""
    try:
        yield
    except ImprovError as e:
        terminal.complain(str(e))
        raise typer.Exit(e.exit_code) from None
    except KeyboardInterrupt:
        # While a run plays, runner.launch handles the signal; here it came before or after that.
        terminal.complain(
            "interrupted; played scenes are kept, and `improv resume` continues the run"
        )
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader closed the pipe, as in `improv list | head`: that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def read_place(what: str) -> tuple[str, str, int]:
    """Split RUN/TRIAL[~BRANCH]@TURN into run, trial and turn. Raises RunError."""
    rest, at, turn = what.rpartition("@")
    run, slash, trial = rest.partition("/")
    if not at or not slash or not trial or not turn.isascii() or not turn.isdecimal():
        raise RunError(f"{what!r}: not a turn of a scene; write RUN/TRIAL@TURN, such as last/0@4")
    return run, trial, int(turn)


def exit_with(result: Any) -> NoReturn:
    """Exit with the exit code of a result."""
    raise typer.Exit(result.exit_code)
