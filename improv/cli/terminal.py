"""What the command prints: progress, tables, a scene replayed. Model text is made harmless here.

Colour and bars appear when the output is a terminal; plain lines when it is not.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from improv import files
from improv.errors import ErrorKind
from improv.records import MAIN
from improv.text import one_line

if TYPE_CHECKING:
    from improv.runner.doctor import Finding
    from improv.runner.estimate import Estimate
    from improv.runner.launch import Result
    from improv.runner.power import Rehearsed
    from improv.runner.replay import Check
    from improv.runner.session import Progress as Standing
    from improv.runner.session import Setup, Watch
    from improv.scoring.scorer import Scored
    from improv.storage.run_folder import RunFolder

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

PLAIN_EVERY = 5.0
"""Seconds between progress lines where the output is no terminal."""


def say(text: str) -> None:
    """Print text unwrapped: a command that is broken in two cannot be copied."""
    out.print(Text(one_line(text)), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error for a person, in red where there are colours."""
    for line in text.splitlines():
        err.print(Text(one_line(line), style="red"), soft_wrap=True)


def plain_error(text: str) -> None:
    """Print problems one a line, unwrapped, as editors and scripts read them."""
    for line in text.splitlines():
        print(one_line(line), file=sys.stderr)


@contextmanager
def progress() -> Iterator[Watch]:
    """Show how a run stands: a bar a condition, or a plain line every few seconds."""
    told = False

    def stopping(standing: Standing) -> None:
        nonlocal told
        if standing.stopping and not told:
            told = True
            complain("Finishing what is in flight; Ctrl-C again stops at once.")

    if not err.is_terminal:
        last = 0.0

        def tell(standing: Standing) -> None:
            nonlocal last
            stopping(standing)
            total = sum(standing.planned.values())
            if standing.over == total or time.monotonic() - last > PLAIN_EVERY:
                last = time.monotonic()
                print(_standing(standing, total), file=sys.stderr, flush=True)

        yield tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
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
                speed = f"{standing.tokens / standing.seconds:,.0f} tokens/s"
                bars.update(rows[condition], completed=over, speed=speed)

        yield draw


def _standing(standing: Standing, total: int) -> str:
    left = (total - standing.over) * standing.seconds / max(standing.over, 1)
    parts = [
        f"{standing.over}/{total} trials",
        f"{sum(standing.failed.values())} failed",
        f"{standing.turns / standing.seconds:.1f} turns/s",
        f"{standing.tokens / standing.seconds:.0f} tokens/s",
        f"{left:.0f} s left",
    ]
    return " · ".join(parts)


def result(found: Result, setup: Setup | None = None) -> None:
    """Say what came of a run and what to do next."""
    folder = found.folder
    style = "green" if not found.failed and not found.owed else "yellow"
    head = f"{found.done} trials done, {found.failed} failed"
    head += f", {found.branches} branches" if found.branches else ""
    head += f", {found.owed} still owed" if found.owed else ""
    out.print(Text(head, style=style), Text(f"in {folder.path}"), soft_wrap=True)
    for notice in found.notices:
        complain(notice)
    if found.stopped:
        complain(f"stopped: {found.stopped}")
    elif found.idle:
        say("Nothing was owed: every planned trial is there.")
    if found.owed:
        say(f"go on with:  improv resume {folder.id}{_at(folder)}{_again(found, setup)}")
    if found.failed:
        say(f"see why:     improv show {folder.id}{_at(folder)}")
    if found.done or found.failed:
        say(f"read it:     improv show {folder.id}/0 --notes{_at(folder)}")
    say(f"replay it:   improv view {folder.id}{_at(folder)}")


def branches(found: Result, trial: str) -> None:
    """Name the branches that were grown, and how to read them."""
    transcripts = found.folder.transcripts
    trials = {b.trial for b in found.fresh}
    rows = {r["branch"]: r for t in trials for r in transcripts.branches(t)}
    for notice in found.notices:
        complain(notice)
    for new in found.fresh:
        row = rows.get(new.id)
        state = "owed" if row is None else row["status"]
        played = row and found.folder.transcripts.read(new.trial, new.id).lines()
        lines = [t for t in played or () if t.branch == new.id]
        first = one_line(f"{lines[0].speaker}: {lines[0].text}") if lines else ""
        out.print(
            Text(new.id, style="bold"),
            Text(f"{new.origin} after turn {new.fork}, {state}", style="dim"),
            Text(first),
            soft_wrap=True,
        )
    if found.stopped:
        complain(f"stopped: {found.stopped}")
    if found.owed:
        say(f"go on with:  improv resume {found.folder.id}{_at(found.folder)}")
    if there := [b.id for b in found.fresh if b.id in rows]:
        name = f"{found.folder.id}/{trial.partition('~')[0]}~{there[0]}"
        say(f"read it:     improv show {name} --notes{_at(found.folder)}")


def power(found: Sequence[Rehearsed], planted: str, pool: int, repetitions: int) -> None:
    """Show how often each planned contrast would be found, with its Monte-Carlo error."""
    sizes = [p.n for p in found[0].sizes] if found else []
    table = Table("contrast", *(f"{n} blocks" for n in sizes))
    for one in found:
        shown = [
            f"{p.power.value:.2f} [{p.power.low:.2f}, {p.power.high:.2f}]"
            if p.power.value == p.power.value
            else p.power.why
            for p in one.sizes
        ]
        table.add_row(Text(one.name), *shown)
    out.print(table)
    say(
        f"The share of {repetitions:,} studies, drawn from about {pool} blocks that puppets played "
        f"('{planted}'), that show the contrast. In brackets the Monte-Carlo error (95%); that the "
        "pool is itself a sample is not in it. Puppets are not your model: what is planted is an "
        "assumption."
    )


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of something there are: one line that stays, or a plain one now and then."""
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > (0.2 if err.is_terminal else PLAIN_EVERY):
            last = now
            line = Text(f"{done:,} of {total:,} {what}")
            err.print(line, end="\r" if err.is_terminal and done < total else "\n")

    yield tell


def scored(found: Scored) -> None:
    """Say which scores a run has got, by which version of what, and how many are missing."""
    for notice in found.notices:
        complain(notice)
    table = Table(box=None, pad_edge=False)
    for column in ("measure", "scores", "missing", "made by"):
        table.add_column(column, justify="right" if column in ("scores", "missing") else "left")
    for measure, (n, missing, version) in found.measures.items():
        table.add_row(one_line(measure), f"{n:,}", f"{missing:,}", one_line(version))
    out.print(table)
    if found.asked:
        say(f"{found.asked:,} verdicts were asked for, {found.failed:,} failed")
    if found.stopped:
        complain(f"stopped: {found.stopped}")
    if found.owed or found.failed:
        say(f"{found.owed + found.failed:,} verdicts are owed: the same command goes on")


def replayed(checks: Iterable[Check]) -> bool:
    """Say of each scene that was stepped again whether it came out the same."""
    same = different = 0
    for check in checks:
        name = check.trial if check.branch == "main" else f"{check.trial}~{check.branch}"
        if check.difference:
            different += 1
            out.print(Text(f"✗ {name}: ", style="red"), Text(one_line(check.difference)), sep="")
        else:
            same += 1
    word = "scene comes" if same == 1 else "scenes come"
    say(f"{same} {word} out the same" + (f", {different} not" if different else ""))
    return not different


def dry_run(found: Estimate) -> None:
    """Print what a run would ask of its models and cost: a table, and how it was found."""
    from improv.runner.estimate import table

    head, *rows = table(found)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for i, name in enumerate(head):
        shown.add_column(name, justify="right" if i else "left", overflow="fold")
    for i, row in enumerate(rows):
        last = i == len(rows) - 1
        shown.add_row(*(Text(one_line(c), style="bold" if last else "") for c in row))
    out.print(shown)
    tried = "all" if found.played == found.trials else f"scaled up from {found.played}"
    count = f"{found.trials} trial{'s' if found.trials != 1 else ''}"
    say(f"{count}, {tried} played on paper; low / expected / high; {found.counting}.")
    say("Nothing was asked of any model, and nothing was written.")


def width() -> int:
    """Return how many columns there are to print in."""
    return out.width


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(one_line(cell)) for cell in row))
    out.print(shown)


def write(name: str, text: str | bytes) -> None:
    """Write a file that somebody asked for, and say where it is. Raises RunError."""
    files.write(name, text)
    say(f"written: {name}")


def runs(folders: Sequence[RunFolder], where: str) -> None:
    """List runs as a table."""
    if not folders:
        say(f"no runs in {where} yet; begin with:  improv run cold-pass")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "status", "trials", "created", "model", "study"):
        # An id is copied: it stands in one piece, whatever else must be cut.
        table.add_column(name, overflow="ellipsis", no_wrap=name not in ("model", "study"))
    for folder in folders:
        meta = folder.meta()
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


def finding(found: Finding) -> None:
    """Print one finding of the doctor."""
    mark = Text("✓ " if found.good else "✗ ", style="green" if found.good else "red")
    out.print(mark + Text(one_line(f"{found.what}: {found.found}")), soft_wrap=True)
    if found.remedy:
        out.print(Text(f"    → {one_line(found.remedy)}"), soft_wrap=True)


def _at(folder: RunFolder) -> str:
    """Return the option that names the runs folder, where it is not the one by default."""
    from improv.storage.runs import place

    here = folder.root in ("runs", place("runs")[1])
    return "" if here else f" --runs {shlex.quote(folder.root)}"


def _again(found: Result, setup: Setup | None) -> str:
    """Return the options without which going on would be refused, or be another's money."""
    if setup is None:
        return ""
    budget, reached = setup.budget, found.kind == ErrorKind.BUDGET
    limits = (("calls", budget.calls), ("tokens", budget.tokens), ("cost", budget.cost))
    words = [f" --trust {shlex.quote(address)}" for address in setup.trusted]
    words += [f" --max-{n} {'MORE' if reached else most}" for n, most in limits if most is not None]
    return "".join(words)
