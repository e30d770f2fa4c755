"""The steps that every room shares: read the address, choose the run, draw, report an error."""

from __future__ import annotations

from collections.abc import Callable

from improv.errors import ImprovError, RunError
from ui.shared import address, navigation, notices, permission, run_data, run_picker
from ui.shared.lazy_rows import Rows


def open_room(room: str, draw: Callable[[], None]) -> None:
    """Read the address, draw a room with `draw`, and write the address. An ImprovError of `draw` is
    shown on the page."""
    permission.keep_token()
    address.arrive(room)
    navigation.follow_links()
    try:
        draw()
    except ImprovError as e:
        notices.unreadable(e)
    address.settle()


def chosen(
    *parts: str, unwatched: Callable[[str], bool] = lambda run: False
) -> tuple[run_data.ViewedRun, Rows] | None:
    """Return the chosen run and its finished trials. Return None, after a notice, where there is no
    run or no finished trial; the `parts` of the address are emptied then.

    While a run is being played, a notice shows how far it is, unless `unwatched` is true for the
    run's id: the room then shows that itself.
    """
    runs = run_data.all_runs()
    if not runs:
        notices.no_runs()
        return None
    run = run_picker.choose_run(runs)
    if run.problem:
        raise RunError(run.problem)
    rows = run_data.trial_rows(run)
    if run.playing and not unwatched(run.id):
        notices.being_played(run, len(rows))
    if rows:
        return run, rows
    notices.no_trials(run)
    address.put(**dict.fromkeys(parts, ""))
    return None
