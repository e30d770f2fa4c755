"""The table of the lobby: a row for each run, which leads to its scenes and other rooms. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from improv.records import Json
from improv.study.measure_spec import measure
from ui.shared import run_data
from ui.shared import navigation
from ui.runs.data import Mean, Standing
from ui.shared.html import one_line, safe

COLUMNS = ("Run", "Status", "Played by", "Trials", "Cost", "Mean scores", "Leads to")
ROOMS = (("graph", "Graph"), ("multiverse", "Multiverse"), ("compare", "Compare"))
SHOWN = 4
"""Mean scores that a row shows; its title has them all."""

_MARKS = {"playing": "▶", "done": "✓", "stopped": "❚❚"}
_WORDS = {"playing": "being played", "done": "done", "stopped": "stopped"}


def table(runs: Sequence[tuple[run_data.Run, Standing | None]]) -> str:
    """Return the table. A run without a standing could not be read."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(_row(run, found) for run, found in runs)
    return (
        '<table class="playbill"><caption>The runs, the newest first. A row leads to its scenes.'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(run: run_data.Run, found: Standing | None) -> str:
    study = one_line(str(run.meta.get("study") or run.id), 60)
    name = f"{study}: open the scenes of run {run.id}"
    # With its trial: an address that must be completed first takes two steps back.
    first = found.first if found is not None else ""
    way = navigation.way("scene", study, name=name, run=run.id, trial=first)
    cells = [
        ("Status", _status(run, found)),
        ("Played by", safe(one_line(", ".join(map(_model, run.models)) or "unknown", 60))),
        ("Trials", _trials(run, found)),
        ("Cost", _cost(found)),
        ("Mean scores", _means(found)),
        ("Leads to", _ways(run)),
    ]
    drawn = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in cells)
    return (
        f'<tr class="{"on" if run.playing else "over"}"><th scope="row">{way}'
        f'<span class="told">{_told(run.meta)}</span><span class="id">{safe(run.id)}</span></th>'
        f"{drawn}</tr>"
    )


def _model(name: str) -> str:
    return "SmolLM2 135M (embedded)" if name == "embedded" else name.rpartition("/")[2] or name


def _told(meta: Json) -> str:
    """Say what was played under what, and when."""
    parts = []
    for key, one in (("scenes", "scene"), ("conditions", "condition")):
        count = len(meta.get(key) or [])
        parts += [f"{count} {one}{'' if count == 1 else 's'}"] if count else []
    begun = str(meta.get("created", ""))[:16].replace("T", " ")
    return safe(one_line(", ".join([*parts, begun]), 80))


def _status(run: run_data.Run, found: Standing | None) -> str:
    status = str(run.meta.get("status") or "")
    word = _WORDS.get(status, one_line(status, 24) or "unknown")
    head = f'<span class="status"><i aria-hidden="true">{_MARKS.get(status, "?")}</i> {safe(word)}'
    if run.playing and found is not None and run.planned:
        share = min(found.over / run.planned, 1.0)
        told = f"{found.over} of {run.planned} trials are over"
        return head + (
            f'</span><span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{100 * share:.0f}" aria-label="{told}">'
            f'<b style="width:{share:.1%}"></b></span>'
        )
    why = one_line(str(run.meta.get("stopped") or ""), 80)
    return f'{head}</span><span class="why">{safe(why)}</span>' if why else f"{head}</span>"


def _trials(run: run_data.Run, found: Standing | None) -> str:
    if found is None:
        return '<span class="wrong">cannot be read</span>'
    of = f" of {run.planned:,}" if found.over < run.planned else ""
    failed = f'<span class="wrong">{found.failed:,} failed</span>' if found.failed else ""
    grown = f'<span class="why">{found.grown:,} grown</span>' if found.grown else ""
    return f'<span class="number">{found.over:,}{of}</span>{failed}{grown}'


def _cost(found: Standing | None) -> str:
    if found is None or found.cost is None:
        return '<span class="why" title="No model of this run has a price">unknown</span>'
    least = "at least " if found.unpriced else ""
    digits = 2 if found.cost >= 1 else 4
    return f'<span class="number">{least}${found.cost:,.{digits}f}</span>'


def _means(found: Standing | None) -> str:
    if found is None or not found.means:
        return '<span class="why">no scores</span>'
    told = "; ".join(
        f"{_name(m)} {m.value:.3f} over {m.scores:,} scores, {m.missing:,} missing"
        for m in found.means
    )
    drawn = "".join(map(_mean, found.means[:SHOWN]))
    more = len(found.means) - SHOWN
    rest = f'<span class="why">and {more} more</span>' if more > 0 else ""
    return f'<span class="means" title="{safe(told)}">{drawn}{rest}</span>'


def _name(mean: Mean) -> str:
    return measure(mean.family).words.short or mean.family


def _mean(mean: Mean) -> str:
    share = min(max(mean.value, 0.0), 1.0)
    return (
        f'<span class="mean"><span>{safe(_name(mean))}</span>'
        f'<span class="bar" aria-hidden="true"><b style="width:{share:.1%}"></b></span>'
        f"<span>{mean.value:.2f}</span></span>"
    )


def _ways(run: run_data.Run) -> str:
    links = (
        navigation.way(room, title, name=f"{title} of run {run.id}", run=run.id) for room, title in ROOMS
    )
    return f'<span class="ways">{" ".join(links)}</span>'
