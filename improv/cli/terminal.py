"""What several commands print: progress, tables, results. Control characters are removed here.

A terminal gets colours and progress bars; a file or pipe gets plain lines.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from improv import files
from improv.cli.console import CleanConsole
from improv.errors import ErrorKind, RunError
from improv.records import MAIN
from improv.text import one_line, visible

if TYPE_CHECKING:
    from improv.runner.doctor import Finding
    from improv.runner.estimate import UsageEstimate
    from improv.runner.launch import Result
    from improv.runner.power import Rehearsed
    from improv.runner.replay import Check
    from improv.runner.session import Progress as Standing
    from improv.runner.session import Setup, Watch
    from improv.scoring.scorer import ScoringResult
    from improv.storage.run_folder import RunFolder

out = CleanConsole()
err = CleanConsole(stderr=True)

_PLAIN_INTERVAL = 5.0
"""Seconds between progress lines if the output is no terminal."""


def say(text: str) -> None:
    """Print text without wrapping, so that a command in it can be copied."""
    out.print(Text(one_line(text)), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error or a warning on standard error, in red if it is a terminal."""
    for line in text.splitlines():
        err.print(Text(one_line(line), style="red"), soft_wrap=True)


def plain_error(text: str) -> None:
    """Print one problem per line on standard error, unwrapped, for editors and scripts."""
    for line in text.splitlines():
        print(one_line(line), file=sys.stderr)


@contextmanager
def progress() -> Iterator[Watch]:
    """Show a run's progress: one bar per condition, or a plain line every few seconds."""
    warned = said = False
    look = ""
    lost: set[tuple[str, str]] = set()

    def stopping(standing: Standing) -> None:
        nonlocal warned, said, look
        if standing.look != look:
            look = standing.look
            complain(look)
        if standing.estimated and not said:
            said = True
            complain("An endpoint does not count tokens; they are estimated by length.")
        for sentence in new_losses(standing, lost):
            complain(sentence)
        if standing.stopping and not warned:
            warned = True
            complain("Finishing the open calls; Ctrl-C again stops at once.")

    if not err.is_terminal:
        last = 0.0

        def tell(standing: Standing) -> None:
            nonlocal last
            stopping(standing)
            total = sum(standing.planned.values())
            if standing.over == total or time.monotonic() - last > _PLAIN_INTERVAL:
                last = time.monotonic()
                print(_standing(standing, total), file=sys.stderr, flush=True)

        yield tell
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        rows: dict[str, Any] = {}

        def draw(standing: Standing) -> None:
            stopping(standing)
            for condition, planned in standing.planned.items():
                if condition not in rows:
                    rows[condition] = bars.add_task(one_line(condition), total=planned, speed="")
                over = standing.done.get(condition, 0) + standing.failed.get(condition, 0)
                speed = batch_words(standing)
                speed = speed or f"{standing.tokens / standing.seconds:,.0f} tokens/s"
                bars.update(rows[condition], completed=over, speed=speed)

        yield draw


def new_losses(standing: Standing, told: set[tuple[str, str]]) -> list[str]:
    """Return a sentence for each kind of loss that a run has shown and that is not `told` yet.

    The first scene is enough to say it: a run whose lines are all silence should be stopped early.
    """
    from improv.analysis.delivery import losses_by_fault

    if not any(delivery.faults for delivery in standing.delivery.values()):
        return []
    losses = losses_by_fault(standing.delivery)
    fresh = [sentence for key, sentence in losses.items() if key not in told]
    told.update(losses)
    return fresh


def batch_words(standing: Standing) -> str:
    """Return in a few words how far the batches are that a run waits for, "" without one."""
    batches, requests, answered = standing.batches
    if not batches:
        return ""
    noun = "batch" if batches == 1 else "batches"
    return f"{batches:,} {noun} at the endpoint: {answered:,} of {requests:,} requests answered"


def _standing(standing: Standing, total: int) -> str:
    if words := batch_words(standing):
        return f"{standing.over}/{total} trials · {words}"
    left = (total - standing.over) * standing.seconds / max(standing.over, 1)
    parts = [
        f"{standing.over}/{total} trials",
        f"{sum(standing.failed.values())} failed",
        f"{standing.turns / standing.seconds:.1f} turns/s",
        f"{standing.tokens / standing.seconds:.0f} tokens/s",
        f"{left:.0f} s left",
    ]
    return " · ".join(parts)


def result(outcome: Result, setup: Setup | None = None) -> None:
    """Print the counts of a run's trials, its notices, and the next commands."""
    folder = outcome.folder
    good = not (outcome.failed or outcome.owed or outcome.undelivered)
    style = "green" if good else "yellow"
    head = f"{outcome.done} trials done, {outcome.failed} failed"
    if outcome.undelivered:
        failed = f", {outcome.failed} failed" if outcome.failed else ""
        head = f"{outcome.done} trials done{failed}, {outcome.undelivered}"
    head += f", {outcome.branches} branches" if outcome.branches else ""
    head += f", {outcome.owed} still owed" if outcome.owed else ""
    out.print(Text(head, style=style), Text(f"in {folder.path}"), soft_wrap=True)
    for notice in outcome.notices:
        complain(notice)
    if outcome.stopped:
        complain(f"stopped: {outcome.stopped}")
    elif outcome.idle:
        say(
            "Nothing to play: nothing is owed."
            if outcome.failed or outcome.broken
            else "Nothing to play: all planned trials are done."
        )
    if outcome.kind is ErrorKind.DECIDED:
        say(f"read it:     improv report {folder.id}{_at(folder)}")
        say(f"play all:    improv resume {folder.id} --to-the-end{_at(folder)}")
    elif outcome.owed:
        say(f"go on with:  improv resume {folder.id}{_at(folder)}{_again(outcome, setup)}")
    if outcome.failed:
        say(f"see why:     improv show {folder.id}{_at(folder)}")
    if (outcome.failed or outcome.broken) and not outcome.owed:
        again = _again(outcome, setup)
        say(f"play again:  improv resume {folder.id} --failed{_at(folder)}{again}")
    if outcome.done or outcome.failed:
        say(f"read it:     improv show {folder.id}/0 --notes{_at(folder)}")
    say(f"replay it:   improv view {folder.id}{_at(folder)}")


def branches(outcome: Result, trial: str) -> None:
    """Print the new branches with their first lines, and the next commands."""
    transcripts = outcome.folder.transcripts
    trials = {b.trial for b in outcome.fresh}
    rows = {r["branch"]: r for t in trials for r in transcripts.branches(t)}
    for notice in outcome.notices:
        complain(notice)
    for new in outcome.fresh:
        row = rows.get(new.id)
        state = "owed" if row is None else row["status"]
        played = row and outcome.folder.transcripts.read(new.trial, new.id).lines()
        lines = [t for t in played or () if t.branch == new.id]
        first = one_line(f"{lines[0].speaker}: {lines[0].text}") if lines else ""
        out.print(
            Text(new.id, style="bold"),
            Text(f"{new.origin} after turn {new.fork}, {state}", style="dim"),
            Text(first),
            soft_wrap=True,
        )
    if outcome.stopped:
        complain(f"stopped: {outcome.stopped}")
    if outcome.owed:
        say(f"go on with:  improv resume {outcome.folder.id}{_at(outcome.folder)}")
    if there := [b.id for b in outcome.fresh if b.id in rows]:
        name = f"{outcome.folder.id}/{trial.partition('~')[0]}~{there[0]}"
        say(f"read it:     improv show {name} --notes{_at(outcome.folder)}")


def power(contrasts: Sequence[Rehearsed], planted: str, pool: int, repetitions: int) -> None:
    """Print the power of each planned contrast by study size, with its Monte-Carlo error."""
    sizes = [p.n for p in contrasts[0].sizes] if contrasts else []
    table = Table("contrast", *(f"{n} blocks" for n in sizes))
    for contrast in contrasts:
        cells = [
            f"{p.power.value:.2f} [{p.power.low:.2f}, {p.power.high:.2f}]"
            + (f" after {p.played:.0f}" if p.played == p.played else "")
            if p.power.value == p.power.value
            else p.power.why
            for p in contrast.sizes
        ]
        table.add_row(Text(contrast.name), *cells)
    out.print(table)
    if any(p.played == p.played for contrast in contrasts for p in contrast.sizes):
        say(
            "After: the mean number of blocks at the look of the plan that decides the contrast, "
            "or all of them."
        )
    say(
        f"Each cell is the share of {repetitions:,} studies that find the contrast. Studies are "
        f"drawn from about {pool} blocks that puppets played ('{planted}'). Brackets: Monte-Carlo "
        "error (95%), without the error from the pool being a sample. Puppets are not your model: "
        "the planted effect is an assumption."
    )


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a count: one line that is updated, or a plain line every few seconds."""
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > (0.2 if err.is_terminal else _PLAIN_INTERVAL):
            last = now
            line = Text(f"{done:,} of {total:,} {what}")
            err.print(line, end="\r" if err.is_terminal and done < total else "\n")

    yield tell


def scored(outcome: ScoringResult) -> None:
    """Print each measure's number of scores, how many are missing, and its version."""
    for notice in outcome.notices:
        complain(notice)
    table = Table(box=None, pad_edge=False)
    for column in ("measure", "scores", "missing", "made by"):
        table.add_column(column, justify="right" if column in ("scores", "missing") else "left")
    for measure, (n, missing, version) in outcome.measures.items():
        table.add_row(one_line(measure), f"{n:,}", f"{missing:,}", one_line(version))
    out.print(table)
    if outcome.asked:
        say(f"{outcome.asked:,} verdicts were asked for, {outcome.failed:,} failed")
    if outcome.stopped:
        complain(f"stopped: {outcome.stopped}")
    if outcome.owed or outcome.failed:
        say(f"{outcome.owed + outcome.failed:,} verdicts are missing; run the same command again")


def replayed(checks: Iterable[Check]) -> bool:
    """Print each scene whose replay differs; return whether all are the same."""
    same = different = 0
    for check in checks:
        name = check.trial if check.branch == "main" else f"{check.trial}~{check.branch}"
        if check.difference:
            different += 1
            out.print(Text(f"✗ {name}: ", style="red"), Text(one_line(check.difference)), sep="")
        else:
            same += 1
    verb = "scene comes" if same == 1 else "scenes come"
    say(f"{same} {verb} out the same" + (f", {different} not" if different else ""))
    return not different


def print_estimate(estimated: UsageEstimate) -> None:
    """Print the estimated calls, tokens and cost of a run, and how they were estimated."""
    from improv.runner.estimate import usage_table

    head, *rows = usage_table(estimated)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for i, name in enumerate(head):
        shown.add_column(name, justify="right" if i else "left", overflow="fold")
    for i, row in enumerate(rows):
        last = i == len(rows) - 1
        shown.add_row(*(Text(one_line(c), style="bold" if last else "") for c in row))
    out.print(shown)
    tried = "all" if estimated.played == estimated.trials else f"scaled up from {estimated.played}"
    count = f"{estimated.trials} trial{'s' if estimated.trials != 1 else ''}"
    say(f"{count}, {tried} simulated without a model; low / expected / high; {estimated.counting}.")
    say("No model was called, and nothing was written.")


def width() -> int:
    """Return the number of columns of the terminal."""
    return out.width


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(one_line(cell)) for cell in row))
    out.print(shown)


def write_output(name: str, text: str | bytes) -> None:
    """Write a file and print its name. Raises RunError."""
    files.write_file(name, text)
    say(f"written: {name}")


def print_file(text: str) -> None:
    """Print the text of a file. Characters that are invisible are left out, which is said."""
    sys.stdout.write(text)
    if visible(text) != text:
        complain("invisible characters were left out; with -o FILE, the text is written whole")


def runs(folders: Sequence[RunFolder], where: str) -> None:
    """List runs as a table."""
    if not folders:
        say(f"no runs in {where} yet; begin with:  improv run cold-pass")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "status", "trials", "created", "model", "study"):
        # People copy the id, so it is never cut; other cells may be.
        table.add_column(name, overflow="ellipsis", no_wrap=name not in ("model", "study"))
    problems = []
    for folder in folders:
        try:
            meta = folder.meta()
        except RunError as e:
            problems.append(str(e))
            table.add_row(Text(one_line(folder.id)), Text("cannot be read; see below"))
            continue
        failed = f", {meta['failed']} failed" if meta.get("failed") else ""
        cells = [
            folder.id,
            meta.get("status"),
            f"{meta.get('done', '…')}/{meta.get('trials')}{failed}",
            str(meta.get("created", ""))[5:16].replace("T", " "),
            ", ".join(meta.get("models", [])),
            meta.get("study"),
        ]
        table.add_row(*(Text(one_line(str(c if c is not None else ""))) for c in cells))
    out.print(table)
    for problem in problems:
        say(one_line(problem))


def trials(folder: RunFolder) -> None:
    """List a run's finished trials as a table."""
    meta = folder.meta()
    rows = folder.tables.read("trials").to_pylist()
    say(
        f"{folder.id} · {meta.get('study')} · {meta.get('status')} · "
        f"{sum(r['branch'] == MAIN for r in rows)} of {meta.get('trials')} trials"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("#", "trial", "scene", "condition", "turns", "calls", "tokens", "status"):
        table.add_column(name, no_wrap=name in ("#", "trial"))
    for row in rows:
        status = row["status"]
        if status == "failed":
            status = f"failed: {row['failure'].splitlines()[-1]}"
        elif row["origin"] != "main":
            status = f"{row['origin']} after turn {row['fork']}"
            status += f" of {row['parent']}" if row["parent"] != MAIN else ""
        number = str(row["index"])
        if row["branch"] != MAIN:
            number += f"~{row['branch']}"
        cells = [
            number,
            row["trial"],
            row["scene"],
            row["condition"],
            row["turns"],
            row["calls"],
            row["prompt_tokens"] + row["completion_tokens"],
            status,
        ]
        table.add_row(*(Text(one_line(str(c))) for c in cells))
    out.print(table)
    if rows:
        say(f"read one:  improv show {folder.id}/{rows[0]['index']} --notes{_at(folder)}")


def finding(check: Finding) -> None:
    """Print one check of the doctor."""
    mark = Text("✓ " if check.good else "✗ ", style="green" if check.good else "red")
    out.print(mark + Text(one_line(f"{check.what}: {check.result}")), soft_wrap=True)
    if check.remedy:
        out.print(Text(f"    → {one_line(check.remedy)}"), soft_wrap=True)


def _at(folder: RunFolder) -> str:
    """Return the option that names the runs folder, or "" for the default folder."""
    from improv.storage.runs import runs_filesystem

    here = folder.root in ("runs", runs_filesystem("runs")[1])
    return "" if here else f" --runs {shlex.quote(folder.root)}"


def _again(outcome: Result, setup: Setup | None) -> str:
    """Return the options that `improv resume` needs again: trusted hosts, and budgets."""
    if setup is None:
        return ""
    budget, reached = setup.budget, outcome.kind == ErrorKind.BUDGET
    limits = (("calls", budget.calls), ("tokens", budget.tokens), ("cost", budget.cost))
    words = [f" --trust {shlex.quote(address)}" for address in setup.trusted]
    words += [f" --max-{n} {'MORE' if reached else most}" for n, most in limits if most is not None]
    return "".join(words)
