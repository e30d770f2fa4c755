"""Writes docs/storm.md: how the storm is made, and the table of what it measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.storm.tally import StormTally

_HEAD = """\
# The storm

Written by `make storm`. Small runs are played, and something befalls each of them at a random
moment. Then the run is resumed until it is done, and checked: every planned trial and branch is
there once, the tables are equal to those of an undisturbed run (apart from the columns of clocks),
no call that the journal held is asked again, nothing hangs, and nothing ends in a traceback.

"""
_KINDS = """
## What befalls the runs

All moments come from the seed. Where nothing else is said, the run is played with `--ray off`. Many
runs are struck up to five times, each time in the resume of the last.

| kind | what is done |
| --- | --- |
%s
A run has %d trials and branches. Driver and puppet are processes of their own on loopback. A driver
is forked from a process that has imported everything, so that its time is spent in the run.

## What is not done here

- The power is not cut: what a process wrote is in the system's memory and survives its death. So
  this does not test that files reach the disk.
- The machine's own clock is not moved, because others use it. Drivers get the time of day through a
  library that adds an offset (`LD_PRELOAD`). The time since the machine's start is not moved.
- A file server that goes away, and a network that is cut between machines of a cluster, need more
  than one machine.
"""


def write(file: Path, tally: StormTally, kinds: dict[str, str], note: str = "") -> None:
    """Write the page. `kinds` says in words what each kind does."""
    seeds = ", ".join(map(str, sorted(set(tally.seeds))))
    total = tally.total()
    said = (
        f"\n{total.events} events in {total.runs} runs, seed {seeds}, {tally.seconds / 60:.0f} "
        f"minutes. {tally.journaled:,} calls were in a journal when something befell their run. "
    )
    wrong = "\n".join(f"- {line.splitlines()[0]}" for line in tally.wrong)
    said += f"What was wrong:\n\n{wrong}\n" if wrong else "Nothing was wrong.\n"
    unplayed = [kind for kind in kinds if kind not in tally.counts]
    said += f"\nNot played this time: {', '.join(unplayed)}.\n" if unplayed else ""
    said += f"\n{note}\n" if note else ""
    rows = "".join(f"| {kind} | {what} |\n" for kind, what in kinds.items() if kind in tally.counts)
    file.write_text(_HEAD + tally.table() + "\n" + said + _KINDS % (rows, tally.size))
