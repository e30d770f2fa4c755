"""Commands that play: run, resume, branch, replay, demo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from improv.cli import terminal, transcript
from improv.cli.options import (
    Anyway,
    Connections,
    FailOnError,
    Hosts,
    MaxCalls,
    MaxCost,
    MaxTokens,
    RayAt,
    Runs,
    Stages,
    Trust,
    app,
    leave,
    place,
    telling,
)


@app.command("run")
def run_command(
    study: Annotated[
        str, typer.Argument(help="A study or scene: a file, or the name of a shipped one.")
    ],
    runs: Runs = "runs",
    model: Annotated[
        str | None,
        typer.Option(help='"embedded", "puppet", a GGUF file, or a name the endpoint knows.'),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible address.")] = None,
    mode: Annotated[str | None, typer.Option(help='"chat" or "script".')] = None,
    turns: Annotated[int | None, typer.Option(min=1, help="Improvised turns a scene.")] = None,
    replicates: Annotated[
        int | None, typer.Option(min=1, help="Times each condition is played.")
    ] = None,
    planted: Annotated[
        str, typer.Option(help="Have puppets play this one of the study's planted truths.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Play only the first so many trials.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's id, instead of one made for it.")
    ] = None,
    ray: RayAt = "local",
    hosts: Hosts = None,
    stages: Stages = None,
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    fail_on_error: FailOnError = None,
    trust: Trust = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and play nothing.")
    ] = False,
) -> None:
    """Play a study, or a scene, into a new run."""
    with telling():
        from improv.study.design import with_replicates
        from improv.study.loader import load

        told = {"model": model, "base_url": base_url, "mode": mode}
        asked: dict[str, Any] = {k: v for k, v in told.items() if v is not None}
        patch: dict[str, Any] = {"model": asked} if asked else {}
        if turns is not None:
            patch["turns"] = turns
        loaded = load(study, patch, planted)
        if replicates is not None:
            loaded = with_replicates(loaded, replicates)
        if dry_run:
            from improv.runner.estimate import estimate
            from improv.study.branch import planned_branches
            from improv.study.trial import plan

            trials = plan(loaded)[:limit]
            terminal.dry_run(
                estimate(trials, branches=lambda trial: planned_branches(loaded, trial))
            )
            raise typer.Exit(0)

        # Not before all is well: they take seconds to load.
        from improv.models.budget import Budget
        from improv.runner.launch import run
        from improv.runner.session import Setup

        setup = Setup(
            ray,
            hosts,
            stages,
            connections,
            limit,
            Budget(max_calls, max_tokens, max_cost),
            fail_on_error,
            # Whoever types an address vouches for it.
            (*(trust or ()), *([base_url] if base_url else ())),
        )
        source = {"file": study, "patch": patch, "replicates": replicates, "planted": planted}
        with terminal.progress() as watch:
            result = run(loaded, runs=runs, name=name, setup=setup, watch=watch, source=source)
        terminal.result(result, setup)
    leave(result)


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
    fail_on_error: FailOnError = None,
    trust: Trust = None,
    anyway: Anyway = False,
) -> None:
    """Play what a run still owes; calls that its journal holds are not made again.

    Budgets count what the run spent in all its sessions.
    """
    with telling():
        from improv.models.budget import Budget
        from improv.runner.launch import resume
        from improv.runner.session import Setup
        from improv.storage.runs import open_run

        folder = open_run(runs, run)
        budget = Budget(max_calls, max_tokens, max_cost)
        setup = Setup(
            ray, hosts, stages, connections, None, budget, fail_on_error, tuple(trust or ()), anyway
        )
        with terminal.progress() as watch:
            result = resume(folder, setup=setup, watch=watch)
        terminal.result(result, setup)
    leave(result)


@app.command("branch")
def branch_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN/TRIAL[~BRANCH]@TURN", help="Where to branch.")
    ],
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many.")] = 1,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="What is changed: line=TEXT, move=TEXT, memory.NAME=TEXT, author.frame=TEXT, "
            "cast.NAME.card=TEXT, model=NAME, any other field of the scene, or a YAML file."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--regenerate", help="Draw that single turn again instead.")
    ] = False,
    runs: Runs = "runs",
    ray: RayAt = "off",
    connections: Connections = 64,
    trust: Trust = None,
    anyway: Anyway = False,
) -> None:
    """Enter a played scene again: share its turns up to TURN, and play on from there.

    Everything up to that turn is the parent's own and is not drawn again. The branches land in
    the same run and can be branched in turn.
    """
    with telling():
        from improv.runner.branching import branch
        from improv.runner.session import Setup
        from improv.storage.runs import open_run
        from improv.study.overrides import read_edit

        run, trial, turn = place(what)
        folder = open_run(runs, run)
        setup = Setup(ray, connections=connections, trusted=tuple(trust or ()), anyway=anyway)
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
    leave(result)


@app.command("replay")
def replay_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="What to check.")
    ] = "last",
    runs: Runs = "runs",
) -> None:
    """Step a recorded scene again from its calls, and say whether the same turns come of it."""
    with telling():
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
    """Play the demonstration: a small study with the embedded model, and one scene to read."""
    with telling():
        from improv.runner.launch import run
        from improv.runner.session import Setup
        from improv.study.loader import load

        terminal.say(
            "Two scenes, with their author and without, played by a model of 135M parameters."
        )
        with terminal.progress() as watch:
            result = run(load("demo"), runs=runs, setup=Setup(ray), watch=watch)
        transcript.demonstration(result)
    leave(result)
