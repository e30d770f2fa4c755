"""What the commands print that bring characters and screenplays in: what was kept of them, what is
left, and what was told to the model and is not obeyed."""

from __future__ import annotations

from collections.abc import Iterable

from improv.cli import terminal
from improv.study.importing.cards.convert import Account
from improv.study.importing.screenplay import Adapted
from improv.study.scene import Scene

SHOWN = 1500
"""Characters of an instruction that are printed."""


def _tell(text: str) -> None:
    """Print beside the scene, which may be going into a file."""
    terminal.plain_error(text)


def accounts(found: Iterable[Account], *, brief: bool = False) -> None:
    """Say what became of each card; `brief` leaves what was taken over unsaid."""
    for account in found:
        _tell(f"{account.file}: {account.title}")
        if account.kept and not brief:
            _tell(f"- taken over: {', '.join(account.kept)}")
        for note in account.notes:
            _tell(f"- {note}")
        for field, text in account.orders:
            more = f" … ({len(text):,} characters)" if len(text) > SHOWN else ""
            _tell(f"- shown, not obeyed: {field}")
            for line in (text[:SHOWN] + more).splitlines():
                _tell(f"  | {line}".lstrip())


def adapted(file: str, scene: Scene, found: Adapted) -> None:
    """Say what became of a screenplay."""
    lines = sum(one.line is not None for one in scene.opening)
    samples = sum(len(c.samples) for c in scene.cast)
    who = ", ".join(c.name for c in scene.cast)
    _tell(f"{file}: {scene.title}, with {who}")
    _tell(
        f"- taken over: {lines} lines and {len(scene.opening) - lines} directions as the opening, "
        f"{samples} sample lines"
    )
    if found.left:
        _tell(f"- left out: {', '.join(f'{count} {what}' for what, count in found.left.items())}")
    if found.others:
        more = f" and {len(found.others) - 12} more" if len(found.others) > 12 else ""
        _tell(f"- other scenes (--scene): {'; '.join(found.others[:12])}{more}")
