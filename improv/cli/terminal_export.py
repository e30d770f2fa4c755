"""What `improv export` prints: what was taken out of a run, and what was not."""

from __future__ import annotations

from improv.cli import terminal
from improv.export.exporter import Exported

OPEN = {
    "hf": 'load it:  datasets.load_dataset("{}", "turns")',
    "inspect": "read it:  inspect view --log-dir {}",
}
"""What to do next with a format."""


def exported(found: Exported, to: str) -> None:
    """Say what was written and where to, and what was left out."""
    counted = ", ".join(f"{n:,} {what}" for what, n in found.written.items())
    scenes = f"{found.scenes:,} scene{'s' if found.scenes != 1 else ''}"
    terminal.say(f"written: {found.path} ({counted or 'nothing'}, of {scenes})")
    if found.failed:
        kept = "is in the tables, as failed" if to == "hf" else "is left out"
        terminal.complain(f"of the scenes that were asked for {found.failed:,} failed; that {kept}")
    if found.playing:
        terminal.complain("the run is still playing: this is what it holds by now")
    if found.owed:
        terminal.complain(f"{found.owed:,} planned trials are not played yet")
    if to in OPEN:
        terminal.say(OPEN[to].format(found.path))
