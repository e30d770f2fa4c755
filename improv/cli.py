"""The command: parse, call one function, print. What it prints is drawn in terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import orjson
import typer

from improv import __version__, terminal
from improv.errors import ImprovError, RunError, StudyError

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
def _telling() -> Iterator[None]:
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


def _version(wanted: bool) -> None:
    if wanted:
        print(f"improv {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Language models on an improv stage."""


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
    with _telling():
        from improv.study import load, with_replicates

        told = {"model": model, "base_url": base_url, "mode": mode}
        asked: dict[str, Any] = {k: v for k, v in told.items() if v is not None}
        patch: dict[str, Any] = {"model": asked} if asked else {}
        if turns is not None:
            patch["turns"] = turns
        loaded = load(study, patch, planted)
        if replicates is not None:
            loaded = with_replicates(loaded, replicates)
        if dry_run:
            from improv.branch import planned
            from improv.estimate import estimate
            from improv.trial import plan

            trials = plan(loaded)[:limit]
            terminal.dry_run(estimate(trials, branches=lambda trial: planned(loaded, trial)))
            raise typer.Exit(0)

        # Not before all is well: they take seconds to load.
        from improv.budget import Budget
        from improv.launch import run
        from improv.session import Setup

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
    _leave(result)


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
    with _telling():
        from improv.budget import Budget
        from improv.launch import resume
        from improv.session import Setup
        from improv.store import open_run

        folder = open_run(runs, run)
        budget = Budget(max_calls, max_tokens, max_cost)
        setup = Setup(
            ray, hosts, stages, connections, None, budget, fail_on_error, tuple(trust or ()), anyway
        )
        with terminal.progress() as watch:
            result = resume(folder, setup=setup, watch=watch)
        terminal.result(result, setup)
    _leave(result)


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
    with _telling():
        from improv.launch import branch
        from improv.session import Setup
        from improv.store import open_run
        from improv.study import read_edit

        run, trial, turn = _place(what)
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
    _leave(result)


@app.command("replay")
def replay_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="What to check.")
    ] = "last",
    runs: Runs = "runs",
) -> None:
    """Step a recorded scene again from its calls, and say whether the same turns come of it."""
    with _telling():
        from improv.replay import replay
        from improv.store import open_run

        run, _, trial = what.partition("/")
        folder = open_run(runs, run)
        same = terminal.replayed(replay(folder, trial))
    raise typer.Exit(0 if same else 1)


@app.command("score")
def score_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    measure: Annotated[
        list[str] | None, typer.Option(help="Only this measure; may be given several times.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help='Who judges: "embedded", "puppet", a GGUF, or a model\'s name.')
    ] = "",
    base_url: Annotated[str | None, typer.Option(help="The judge's address.")] = None,
    second_judge: Annotated[
        str, typer.Option(help="Another judge, whose agreement with the first is reported.")
    ] = "",
    second_base_url: Annotated[str | None, typer.Option(help="Its address, if another.")] = None,
    plants: Annotated[
        int, typer.Option(min=0, help="Planted lines of each truth for each condition.")
    ] = 60,
    lines: Annotated[
        str | None, typer.Option(help="A file of planted lines, for scenes that ship none.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Ask again what a judge has said already.")
    ] = False,
    runs: Runs = "runs",
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    trust: Trust = None,
) -> None:
    """Score a played run, by measures and by judges; nothing is played.

    Verdicts that the run holds are not asked for again. Budgets are for this call.
    """
    with _telling():
        from improv.budget import Budget
        from improv.score import Judges, score
        from improv.store import open_run

        judges = Judges(
            judge, second_judge, base_url, second_base_url, plants, lines, tuple(trust or ())
        )
        with terminal.counting("verdicts") as tell:
            result = score(
                open_run(runs, run),
                tuple(measure or ()),
                judges,
                redo=redo,
                connections=connections,
                budget=Budget(max_calls, max_tokens, max_cost),
                tell=tell,
            )
        terminal.scored(result)
    _leave(result)


@app.command("report")
def report_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    runs: Runs = "runs",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="report.html or report.md; both in . by default."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="A study whose plan to analyse by; exploratory if it is another's."),
    ] = None,
) -> None:
    """Write a page on a run that a referee could read: result, design, controls, who saw what."""
    with _telling():
        from improv.reading import appraise
        from improv.report.referee import report
        from improv.store import open_run
        from improv.study import load

        folder = open_run(runs, run)
        page = report(appraise(folder, load(plan).plan if plan else None))
        names = [output] if output else [f"{folder.id}.html", f"{folder.id}.md"]
        for name in names:
            text = page.as_markdown() if name.endswith(".md") else page.as_html()
            terminal.write(name, text)


@app.command("compare")
def compare_command(
    runs_of: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, two or more.")],
    runs: Runs = "runs",
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where to: an .html or an .md file.")
    ] = "compare.html",
) -> None:
    """Set runs side by side, of several models say: the same plan's findings, run by run."""
    with _telling():
        from improv.reading import appraise
        from improv.report.comparison import compared
        from improv.store import open_run

        page = compared([appraise(open_run(runs, run)) for run in runs_of])
        text = page.as_markdown() if output.endswith(".md") else page.as_html()
        terminal.write(output, text)


@app.command("graph")
def graph_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="What to make graphs of.")
    ] = "last",
    output: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", help="A file: .gexf .graphml .json .dot .csv .svg or .png."),
    ] = None,
    of: Annotated[str, typer.Option(help='"talk", "branches", "exposure" or "flips".')] = "talk",
    by: Annotated[str, typer.Option(help='A graph for each "condition" or "scene".')] = "",
    kinds: Annotated[
        str, typer.Option(help="Of addresses,answers,mentions,note,cue: these alone.")
    ] = "",
    first: Annotated[
        int, typer.Option("--from", min=0, help="The first turn; 0 is the written opening.")
    ] = 1,
    last: Annotated[int | None, typer.Option("--to", min=0, help="The last turn.")] = None,
    window: Annotated[
        int, typer.Option(min=0, help="A graph for each stretch of so many turns.")
    ] = 0,
    guesses: Annotated[
        bool, typer.Option("--guesses/--no-guesses", help="With whom the order of turns suggests.")
    ] = True,
    each: Annotated[bool, typer.Option("--each", help="An edge for every single line.")] = False,
    scene: Annotated[str, typer.Option(help="Of one scene alone, by its name.")] = "",
    condition: Annotated[str, typer.Option(help="Of one condition alone.")] = "",
    against: Annotated[str, typer.Option(help="Another, to compare it with.")] = "",
    around: Annotated[
        str, typer.Option(help='Compare before and after the first "break" or "move".')
    ] = "",
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Measure, beside a null model.")
    ] = True,
    runs: Runs = "runs",
) -> None:
    """Make graphs of who speaks to whom, measure them, and write them to files.

    Figures are means over scenes. The null model keeps how much everybody says and shuffles the
    order. Conditions are compared within blocks.
    """
    with _telling():
        from improv import terminal_graph
        from improv.graphing import Asked, files, graphed
        from improv.store import open_run

        run, _, trial = what.partition("/")
        wanted = tuple(kind for kind in kinds.replace(",", " ").split() if kind)
        asked = Asked(
            trial, of, by, wanted, first, last, window, guesses, each, condition, against, around,
            null, scene,
        )  # fmt: skip
        found = graphed(open_run(runs, run), asked)
        terminal_graph.graphed(found)
        for name in output or []:
            for file, data in files(found, name, wanted):
                terminal.write(file, data)


@app.command("power")
def power_command(
    study: Annotated[str, typer.Argument(help="A study with a plan and a planted truth.")],
    planted: Annotated[str, typer.Option(help="Which planted truth puppets play.")] = "effect",
    sizes: Annotated[
        list[int] | None, typer.Option("-n", min=2, help="Blocks of a study; several.")
    ] = None,
    pool: Annotated[
        int, typer.Option(min=4, max=5000, help="Blocks that are played and drawn from.")
    ] = 200,
    repetitions: Annotated[
        int, typer.Option(min=10, max=100_000, help="Studies drawn at each size.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Changes which studies are drawn.")] = 0,
) -> None:
    """Say how often the plan of a study would find what is planted, at several sizes."""
    with _telling():
        from improv.rehearsal import SIZES, powers, rehearse
        from improv.study import load

        loaded = load(study, None, planted)
        with terminal.progress() as watch:
            given = rehearse(loaded, blocks=pool, watch=watch)
        found = powers(loaded, given, sizes or SIZES, repetitions=repetitions, seed=seed)
        terminal.power(found, planted, pool, repetitions)


def _place(what: str) -> tuple[str, str, int]:
    """Read RUN/TRIAL[~BRANCH]@TURN."""
    rest, at, turn = what.rpartition("@")
    run, slash, trial = rest.partition("/")
    if not at or not slash or not trial or not turn.isascii() or not turn.isdecimal():
        raise RunError(f"{what!r}: not a place; write RUN/TRIAL@TURN, such as last/0@4")
    return run, trial, int(turn)


def _leave(result: Any) -> NoReturn:
    raise typer.Exit(result.exit_code)


@app.command("list")
def list_command(runs: Runs = "runs") -> None:
    """List the runs, newest first."""
    with _telling():
        from improv.store import list_runs

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
        bool, typer.Option("--prompts", help="Show what each call was shown.")
    ] = False,
) -> None:
    """Show a run's trials, or replay one trial in the terminal."""
    with _telling():
        from improv.store import open_run

        run, _, trial = what.partition("/")
        folder = open_run(runs, run)
        if trial:
            terminal.replay(folder, folder.trial(trial), notes=notes, prompts=prompts)
        else:
            terminal.trials(folder)


@app.command("validate")
def validate_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Scenes and studies.")],
) -> None:
    """Check scene and study files; print everything that is wrong with them and exit 2."""
    from improv.study import load
    from improv.trial import plan

    wrong = 0
    for file in files:
        try:
            study = load(file)
        except StudyError as e:
            wrong += len(e.problems)
            terminal.plain_error(str(e))
        else:
            count = len(plan(study))
            terminal.say(f"{file}: good ({count} trial{'s' if count != 1 else ''})")
    if wrong:
        terminal.plain_error(f"{wrong} problem{'s' if wrong != 1 else ''} found")
        raise typer.Exit(2)


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of scene and study files, for editors."""
    from improv.study import schema

    print(orjson.dumps(schema(), option=orjson.OPT_INDENT_2).decode())


@app.command("view")
def view_command(
    what: Annotated[str, typer.Argument(metavar="[RUN[/TRIAL]]", help="What to open.")] = "",
    runs: Runs = "runs",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Open the viewer in a browser, on this machine only."""
    with _telling():
        from improv.viewer import view

        raise typer.Exit(view(runs, what, port=port, browser=browser))


@app.command("doctor")
def doctor_command(runs: Runs = "runs", ray: RayAt = "local") -> None:
    """Say what is installed, which model would play, and whether everything answers."""
    with _telling():
        from improv.doctor import examine

        good = True
        for finding in examine(runs, ray):
            terminal.finding(finding)
            good = good and finding.good
    raise typer.Exit(0 if good else 3)


@app.command("demo")
def demo_command(
    runs: Runs = "runs",
    ray: RayAt = "local",
) -> None:
    """Play the demonstration: a small study with the embedded model, and one scene to read."""
    with _telling():
        from improv.launch import run
        from improv.session import Setup
        from improv.study import load

        terminal.say(
            "Two scenes, with their author and without, played by a model of 135M parameters."
        )
        with terminal.progress() as watch:
            result = run(load("demo"), runs=runs, setup=Setup(ray), watch=watch)
        terminal.demonstration(result)
    _leave(result)


@app.command("puppet")
def puppet_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="P(a character breaks) at a line.")
    ] = 0.1,
    beta: Annotated[float, typer.Option(min=0, max=1, help="P(it recovers) at a line.")] = 0.3,
) -> None:
    """Serve a puppet, a fake model with a declared process, at an OpenAI-compatible address."""
    from improv.puppet_server import serve
    from improv.scene import Puppet

    serve(Puppet(latency=latency, alpha=alpha, beta=beta), port)


def main() -> None:
    """The entry point of the `improv` command."""
    app()


if __name__ == "__main__":
    main()
