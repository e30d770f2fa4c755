"""Commands that play: run, resume, branch, replay, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from improv.cli import terminal, transcript
from improv.cli.options import (
    Anyway,
    Batch,
    Connections,
    FailOnError,
    Hosts,
    MaxCalls,
    MaxCost,
    MaxTokens,
    MaxTrials,
    PriceOption,
    RayAt,
    Runs,
    Stages,
    Trust,
    app,
    exit_with,
    read_place,
    reported_errors,
)
from improv.study.limits import MAX_TRIALS

if TYPE_CHECKING:
    from improv.study.design import Study
    from improv.study.model_spec import Price

StudyName = Annotated[
    str, typer.Argument(help="A study or scene: a file, or the name of a shipped one.")
]
ModelName = Annotated[
    str | None,
    typer.Option(help='"embedded", "puppet", a GGUF file, or a model name of the endpoint.'),
]
BaseUrl = Annotated[str | None, typer.Option(help="The address of an OpenAI-compatible endpoint.")]
PlayMode = Annotated[str | None, typer.Option(help='"chat" or "script".')]
Turns = Annotated[int | None, typer.Option(min=1, help="Improvised turns of each scene.")]
Replicates = Annotated[int | None, typer.Option(min=1, help="How often each condition is played.")]
Planted = Annotated[str, typer.Option(help="Let puppets play this planted truth of the study.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Play only this many trials, the first ones.")
]
RunName = Annotated[
    str | None, typer.Option(help="The run's id; by default made from study, date and time.")
]
UntilDecided = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Look at the results at each look of the plan, and stop when all is decided.",
    ),
]
ToTheEnd = Annotated[
    bool,
    typer.Option("--to-the-end", help="Play all blocks of a run that was to play until decided."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Estimate calls, tokens and cost, and play nothing.")
]


@app.command("run")
def run_command(
    study: StudyName,
    runs: Runs = "runs",
    model: ModelName = None,
    base_url: BaseUrl = None,
    mode: PlayMode = None,
    turns: Turns = None,
    replicates: Replicates = None,
    planted: Planted = "",
    limit: Limit = None,
    name: RunName = None,
    ray: RayAt = "local",
    hosts: Hosts = None,
    stages: Stages = None,
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    price: PriceOption = None,
    fail_on_error: FailOnError = None,
    max_trials: MaxTrials = MAX_TRIALS,
    trust: Trust = None,
    batch: Batch = False,
    until_decided: UntilDecided = False,
    dry_run: DryRun = False,
) -> None:
    """Play a study or a scene, and store it as a new run."""
    with reported_errors():
        from improv.study.loader import load

        patch = patched(turns, model=model, base_url=base_url, mode=mode)
        loaded = load(study, patch, planted, replicates=replicates, max_trials=max_trials)
        if dry_run:
            _print_estimate(loaded, limit, price)
            raise typer.Exit(0)
        # These take seconds to import, so the study is checked first.
        from improv.models.budget import Budget
        from improv.runner.launch import run
        from improv.runner.session import Setup

        setup = Setup(
            ray=ray,
            hosts=hosts,
            stages=stages,
            connections=connections,
            limit=limit,
            budget=Budget(max_calls, max_tokens, max_cost),
            fail_on_error=fail_on_error,
            price=price,
            max_trials=max_trials,
            batch=batch,
            until_decided=until_decided,
            # An address on the command line is the user's own choice, so it is trusted.
            trusted=(*(trust or ()), *([base_url] if base_url else ())),
        )
        source = {"file": study, "patch": patch, "replicates": replicates, "planted": planted}
        with terminal.progress() as watch:
            result = run(loaded, runs=runs, name=name, setup=setup, watch=watch, source=source)
        terminal.result(result, setup)
    exit_with(result)


def patched(turns: int | None, **options: str | None) -> dict[str, Any]:
    """Return what the options change in every scene."""
    model_fields = {name: value for name, value in options.items() if value is not None}
    patch: dict[str, Any] = {"model": model_fields} if model_fields else {}
    return patch | ({"turns": turns} if turns is not None else {})


def _print_estimate(study: Study, limit: int | None, price: Price | None) -> None:
    from improv.runner.estimate import estimate
    from improv.study.branch import planned_branches
    from improv.study.named_models import with_price
    from improv.study.trial import plan

    study = with_price(study, price) if price is not None else study
    trials = plan(study).first(limit)
    terminal.print_estimate(estimate(trials, branches=lambda trial: planned_branches(study, trial)))


@app.command("resume")
def resume_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    runs: Runs = "runs",
    ray: RayAt = "local",
    hosts: Hosts = None,
    stages: Stages = None,
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    price: PriceOption = None,
    fail_on_error: FailOnError = None,
    max_trials: MaxTrials = MAX_TRIALS,
    trust: Trust = None,
    batch: Batch = False,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="Play all failed trials again. Without it, only those whose failure may pass, "
            "such as a timeout.",
        ),
    ] = False,
    until_decided: UntilDecided = False,
    to_the_end: ToTheEnd = False,
    anyway: Anyway = False,
) -> None:
    """Play the rest of an unfinished run, without repeating calls that its journal contains.

    Budgets count the spending of all sessions of the run. The first failure of a trial that is
    played again stays on record.
    """
    with reported_errors():
        from improv.models.budget import Budget
        from improv.runner.launch import resume
        from improv.runner.session import Setup
        from improv.storage.runs import open_run

        folder = open_run(runs, run)
        budget = Budget(max_calls, max_tokens, max_cost)
        setup = Setup(
            ray=ray,
            hosts=hosts,
            stages=stages,
            connections=connections,
            budget=budget,
            fail_on_error=fail_on_error,
            price=price,
            max_trials=max_trials,
            trusted=tuple(trust or ()),
            batch=batch,
            anyway=anyway,
            failed=failed,
            until_decided=until_decided,
            to_the_end=to_the_end,
        )
        with terminal.progress() as watch:
            result = resume(folder, setup=setup, watch=watch)
        terminal.result(result, setup)
    exit_with(result)


@app.command("branch")
def branch_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN/TRIAL[~BRANCH]@TURN", help="The turn after which the branch begins."
        ),
    ],
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many branches.")] = 1,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="A change: line=TEXT, move=TEXT, memory.NAME=TEXT, author.frame=TEXT, "
            "cast.NAME.card=TEXT, model=NAME, any other field of the scene, or a YAML file."
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--regenerate", help="Draw only this turn again, and play nothing after it."),
    ] = False,
    runs: Runs = "runs",
    ray: RayAt = "off",
    connections: Connections = 64,
    max_trials: MaxTrials = MAX_TRIALS,
    trust: Trust = None,
    anyway: Anyway = False,
) -> None:
    """Branch a played scene: keep its turns up to TURN, and play on from there.

    The kept turns are the parent's and are not drawn again. The branches belong to the same run,
    and you can branch them again.
    """
    with reported_errors():
        from improv.runner.branching import branch
        from improv.runner.session import Setup
        from improv.storage.runs import open_run
        from improv.study.overrides import read_edit

        run, trial, turn = read_place(what)
        folder = open_run(runs, run)
        setup = Setup(
            ray=ray,
            connections=connections,
            trusted=tuple(trust or ()),
            anyway=anyway,
            max_trials=max_trials,
        )
        result = branch(
            folder,
            trial,
            turn,
            edit=read_edit(edit or []),
            draws=number,
            again=again,
            setup=setup,
        )
        terminal.branches(result, trial)
    exit_with(result)


@app.command("replay")
def replay_command(
    what: Annotated[
        str,
        typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="The run, trial or branch to check."),
    ] = "last",
    runs: Runs = "runs",
) -> None:
    """Play recorded scenes again from stored replies, and check that each turn is the same."""
    with reported_errors():
        from improv.runner.replay import replay
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        folder = open_run(runs, run)
        same = terminal.replayed(replay(folder, trial))
    raise typer.Exit(0 if same else 1)


@app.command("demo")
def demo_command(
    runs: Runs = "runs",
    ray: RayAt = "local",
) -> None:
    """Play a small demonstration study with the embedded model, and print one scene."""
    with reported_errors():
        from improv.runner.launch import run
        from improv.runner.session import Setup
        from improv.study.loader import load

        terminal.say(
            "Two scenes, with their author and without, played by a model of 135M parameters."
        )
        with terminal.progress() as watch:
            result = run(load("demo"), runs=runs, setup=Setup(ray=ray), watch=watch)
        transcript.show_demonstration(result)
    exit_with(result)
