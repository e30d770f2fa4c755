"""What happens at the door of every room: where the reader stands, which run is read, and what is
said where there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable

from improv.errors import ImprovError
from ui.shared import address, navigation, notices, run_data, run_picker
from ui.shared.lazy_rows import Rows


def enter(room: str, draw: Callable[[], None]) -> None:
    """Bring the reader to where the address says, draw the room, or say what cannot be read."""
    address.arrive(room)
    navigation.lead()
    try:
        draw()
    except ImprovError as e:
        notices.unreadable(e)
    address.settle()


def chosen(
    *parts: str, unwatched: Callable[[str], bool] = lambda run: False
) -> tuple[run_data.Run, Rows] | None:
    """Return the run that is read and its finished trials, or None when it was said that there
    are none; the `parts` of the address then say nothing any more.

    A run that is being played is watched, but where the room does so itself: `unwatched`.
    """
    runs = run_data.runs()
    if not runs:
        notices.no_runs()
        return None
    run = run_picker.choose_run(runs)
    rows = run_data.trials(run)
    if run.playing and not unwatched(run.id):
        notices.being_played(run, len(rows))
    if rows:
        return run, rows
    notices.no_trials(run)
    address.put(**dict.fromkeys(parts, ""))
    return None
