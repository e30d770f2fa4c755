"""The table of the lobby: a row for each run, with links to its rooms. Pure: HTML out."""

from __future__ import annotations

from collections.abc import Sequence

from improv.records import Json
from improv.study.measure_spec import measure
from ui.shared import run_data
from ui.shared import navigation
from ui.runs.data import Mean, Standing
from ui.shared.html import short_line, safe

_COLUMNS = ("Run", "Status", "Played by", "Trials", "Cost", "Mean scores", "Leads to")
_ROOMS = (("graph", "Graph"), ("multiverse", "Multiverse"), ("compare", "Compare"))
_SHOWN = 4
"""Mean scores that a row shows; its tooltip lists all."""

_MARKS = {"playing": "▶", "done": "✓", "stopped": "❚❚"}
_WORDS = {"playing": "being played", "done": "done", "stopped": "stopped"}


def runs_table(runs: Sequence[tuple[run_data.ViewedRun, Standing | str]]) -> str:
    """Return the table. Instead of a Standing there is a sentence about a run that
    cannot be read."""
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    body = "".join(_row(run, standing) for run, standing in runs)
    return (
        '<table class="playbill"><caption>The runs, newest first. A row leads to the scenes of its run.'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(run: run_data.ViewedRun, standing: Standing | str) -> str:
    study = short_line(str(run.meta.get("study") or run.id), 60)
    name = f"{study}: open the scenes of run {run.id}"
    # The link names the trial: after an incomplete address, Back needs two steps.
    first = "" if isinstance(standing, str) else standing.first
    link = navigation.link("scene", study, name=name, run=run.id, trial=first)
    cells = [
        ("Status", _status(run, standing)),
        ("Played by", safe(short_line(", ".join(map(_model, run.models)) or "unknown", 60))),
        ("Trials", _trials(run, standing)),
        ("Cost", _cost(standing)),
        ("Mean scores", _means(standing)),
        ("Leads to", _ways(run)),
    ]
    drawn = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in cells)
    return (
        f'<tr class="{"on" if run.playing else "over"}"><th scope="row">{link}'
        f'<span class="told">{_told(run.meta)}</span><span class="id">{safe(run.id)}</span></th>'
        f"{drawn}</tr>"
    )


def _model(name: str) -> str:
    return "SmolLM2 135M (embedded)" if name == "embedded" else name.rpartition("/")[2] or name


def _told(meta: Json) -> str:
    """Return the numbers of scenes and conditions, and the start, of a run."""
    parts = []
    for key, noun in (("scenes", "scene"), ("conditions", "condition")):
        count = len(meta.get(key) or [])
        parts += [f"{count} {noun}{'' if count == 1 else 's'}"] if count else []
    begun = str(meta.get("created", ""))[:16].replace("T", " ")
    return safe(short_line(", ".join([*parts, begun]), 80))


def _status(run: run_data.ViewedRun, standing: Standing | str) -> str:
    status = str(run.meta.get("status") or "")
    label = _WORDS.get(status, short_line(status, 24) or "unknown")
    head = f'<span class="status"><i aria-hidden="true">{_MARKS.get(status, "?")}</i> {safe(label)}'
    if run.playing and not isinstance(standing, str) and run.planned:
        share = min(standing.over / run.planned, 1.0)
        progress = f"{standing.over} of {run.planned} trials are over"
        return head + (
            f'</span><span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{100 * share:.0f}" aria-label="{progress}">'
            f'<b style="width:{share:.1%}"></b></span>'
        )
    why = short_line(str(run.meta.get("stopped") or ""), 80)
    return f'{head}</span><span class="why">{safe(why)}</span>' if why else f"{head}</span>"


def _trials(run: run_data.ViewedRun, standing: Standing | str) -> str:
    if isinstance(standing, str):
        return f'<span class="wrong">{safe(short_line(standing, 400))}</span>'
    planned = f" of {run.planned:,}" if standing.over < run.planned else ""
    failed = f'<span class="wrong">{standing.failed:,} failed</span>' if standing.failed else ""
    lost = short_line(str(run.meta.get("undelivered") or ""), 160)
    failed += f'<span class="wrong">{safe(lost)}</span>' if lost else ""
    noun = "branch" if standing.grown == 1 else "branches"
    grown = f'<span class="why">{standing.grown:,} {noun}</span>' if standing.grown else ""
    return f'<span class="number">{standing.over:,}{planned}</span>{failed}{grown}'


def _cost(standing: Standing | str) -> str:
    if isinstance(standing, str) or standing.cost is None:
        return '<span class="why" title="No model of this run has a price">unknown</span>'
    least = "at least " if standing.unpriced else ""
    digits = 2 if standing.cost >= 1 else 4
    return f'<span class="number">{least}${standing.cost:,.{digits}f}</span>'


def _means(standing: Standing | str) -> str:
    if isinstance(standing, str) or not standing.means:
        return '<span class="why">no scores</span>'
    details = "; ".join(
        f"{_name(m)} {m.value:.3f} over {m.scores:,} scores, {m.missing:,} missing"
        for m in standing.means
    )
    drawn = "".join(map(_mean, standing.means[:_SHOWN]))
    more = len(standing.means) - _SHOWN
    rest = f'<span class="why">and {more} more</span>' if more > 0 else ""
    return f'<span class="means" title="{safe(details)}">{drawn}{rest}</span>'


def _name(mean: Mean) -> str:
    return measure(mean.family).words.short or mean.family


def _mean(mean: Mean) -> str:
    share = min(max(mean.value, 0.0), 1.0)
    return (
        f'<span class="mean"><span>{safe(_name(mean))}</span>'
        f'<span class="bar" aria-hidden="true"><b style="width:{share:.1%}"></b></span>'
        f"<span>{mean.value:.2f}</span></span>"
    )


def _ways(run: run_data.ViewedRun) -> str:
    links = (
        navigation.link(room, title, name=f"{title} of run {run.id}", run=run.id) for room, title in _ROOMS
    )
    return f'<span class="ways">{" ".join(links)}</span>'
