"""The Compare room's page: the planned result, the conditions, exploratory comparisons, controls.

Every warning and every decision has the words of the report. The rows and points of a chart lead to
the scenes behind them (`compare.scene_panel`), and each chart has a table with the same values.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from improv.analysis.decision import Decision
from improv.analysis.exposure import Exposure
from improv.analysis.inference import Analysis
from improv.analysis.stats.contrast import Contrast
from improv.graph.figure import distinguishing_names
from improv.records import digest
from improv.report import appendix, doubts, run_report, sections
from improv.report.material import Material
from improv.report.numbers import estimate_text, number, p_text, unit_count
from improv.report.page import Page
from improv.study.plan import Outcome
from ui.compare import chart
from ui.compare.chart import IntervalRow
from ui.shared import address, chart_colours, processes, run_data
from ui.shared.html import inert, safe, short_line

REPORTING = 600.0
"""Most seconds that `improv report` may take."""
LINES_AT_FIRST = 4
"""Conditions whose curves are drawn unless the reader chooses others."""
EXPLORED = 12
"""Exploratory comparisons that are drawn; the table has all."""


def compare_heading(run: run_data.ViewedRun, material: Material, exposed: Exposure | None) -> None:
    """Draw the room's heading: the study, its question, its facts, and the download of the
    report."""
    rows = run_data.trial_rows(run)
    done = len(rows.places(status="done"))
    facts = [
        ("Conditions", f"{len(rows.distinct('condition')):,}"),
        ("Blocks", f"{len(rows.distinct('block')):,}"),
        ("Scenes", f"{done:,}" + (f", {len(rows) - done:,} failed" if done < len(rows) else "")),
    ]
    if material.analysis.outcome is not None:
        facts.append(("Outcome", outcome_said(material.analysis.outcome)))
    facts.append(("Exposure", _exposed(run, exposed)))
    facts_html = "".join(
        f"<div><dt>{k}</dt><dd>{safe(short_line(v, 140))}</dd></div>" for k, v in facts
    )
    name = short_line(str(run.meta.get("study", "")) or run.id, 120)
    asks = f'<p class="form">{safe(material.question)}</p>' if material.question else ""
    st.html(f'<header class="room-head"><h1>{safe(name)}</h1>{asks}</header>')
    with st.container(horizontal=True, vertical_alignment="center", key="compare-strip"):
        st.html(f'<dl class="strip">{facts_html}</dl>')
        st.download_button(
            "The report",
            partial(report_html, run_data.root(), run.id),
            f"{run.id}.html",
            "text/html",
            key="report",
            on_click="ignore",
            help="The whole report as one page, to keep or send",
        )
    if said := run_report.played_by(material):
        note(said)


def outcome_said(outcome: Outcome) -> str:
    """Return the name of an outcome in the report's words."""
    less = f" less that of {outcome.less}" if outcome.less else ""
    return f"{run_report.OUTCOME_NAMES[outcome.of]} of {outcome.measure}{less}"


def _exposed(run: run_data.ViewedRun, exposed: Exposure | None) -> str:
    if run.playing:
        return "checked when the run has ended"
    return "being checked" if exposed is None else appendix.exposure_summary(exposed)


def report_html(root: str, run: str) -> bytes:
    """Return the report of a run as HTML, made by a process of its own. If that fails, the page has
    its output."""
    with tempfile.TemporaryDirectory(prefix="improv-") as home:
        file = Path(home) / "report.html"
        command = processes.improv("report", run, "--runs", root)
        try:
            done = subprocess.run(
                [*command, "--output", str(file)],
                capture_output=True,
                text=True,
                check=False,
                timeout=REPORTING,
                env=processes.environment() | {"NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
            )
            if file.is_file():
                return file.read_bytes()
            why = done.stderr or done.stdout
        except (OSError, subprocess.TimeoutExpired) as e:
            why = str(e)
        page = Page(f"No report of {run}")
        page.say("The report could not be written.")
        page.code(inert(why)[-4000:])
        return page.as_html().encode()


def note(text: str) -> None:
    """Draw a warning in a box."""
    st.html(f'<div class="notice" role="note"><p>{safe(text)}</p></div>')


# --- the planned result


def planned_result(run: run_data.ViewedRun, material: Material) -> None:
    """Draw the planned result: the hypothesis, each contrast, and whether it is decided."""
    analysis = material.analysis
    st.html(f'<h2 class="side-title">{safe(run_report.result_heading(analysis))}</h2>')
    if warning := doubts.plan_notice(material):
        note(warning)
    if analysis.plan is not None:
        st.html(f'<p class="hypothesis">{safe(analysis.plan.hypothesis)}</p>')
    for why in doubts.undecided_reasons(material):
        note(why)
    for sentence in material.notes:
        note(sentence)
    decisions = doubts.decisions(material)
    if decisions:
        said = doubts.sentences(material)
        rows = [
            IntervalRow(d.contrast.name, d.contrast.estimate, _said(d), d.decided is True)
            for d in decisions
        ]
        _intervals(
            run,
            "contrast",
            rows,
            axis="difference, with its interval",
            zero=True,
            alt="Planned contrasts with their intervals. " + " ".join(said),
        )
        if looked := run_report.looks_text(analysis):
            st.html(f'<p class="quiet">{safe(looked)}</p>')
        with st.expander("The contrasts as a table"):
            st.dataframe(_contrasts([d.contrast for d in decisions], said), hide_index=True)


def _said(decision: Decision) -> str:
    c = decision.contrast
    if math.isnan(c.estimate.value):
        return f"{c.name}: {decision.sentence}"
    holm = f", {p_text(c.adjusted, 'Holm')}" if decision.shows_p else ""
    return f"{decision.verdict}: {estimate_text(c.estimate)}{holm}, {unit_count(c.estimate)}"


def _contrasts(contrasts: Sequence[Contrast], said: Sequence[str] = ()) -> pd.DataFrame:
    rows = {
        "contrast": [c.name for c in contrasts],
        "estimate [interval]": [estimate_text(c.estimate) for c in contrasts],
        "p": [number(c.p) for c in contrasts],
        "p (corrected)": [number(c.adjusted) for c in contrasts],
        "units": [unit_count(c.estimate) for c in contrasts],
        "left out": [len(c.dropped) for c in contrasts],
    }
    if said:
        rows["in words"] = list(said)
    return pd.DataFrame(rows)


# --- the conditions


def conditions(run: run_data.ViewedRun, analysis: Analysis) -> None:
    """Draw the mean outcome of each condition, with its share of missing scores."""
    if analysis.mute or not analysis.arms or analysis.outcome is None:
        return
    st.html('<h2 class="side-title">Condition by condition</h2>')
    names = distinguishing_names([arm.cell for arm in analysis.arms])
    rows = []
    for arm, name in zip(analysis.arms, names, strict=True):
        right = analysis.corrected.get(arm.cell)
        known = f"; corrected for the judge {estimate_text(right)}" if right is not None else ""
        estimate = f"{estimate_text(arm.value)}{known}, {counted_units(arm.units)}"
        gone = f", {arm.missing_share:.1%} of scores missing" if arm.missing else ""
        rows.append(IntervalRow(name, arm.value, estimate + gone))
    cells = [arm.cell for arm in analysis.arms]
    _intervals(
        run,
        "condition",
        rows,
        axis=outcome_said(analysis.outcome),
        zero=False,
        values=cells,
        alt="Conditions with their means and intervals. "
        + " ".join(f"{r.name}: {r.said}." for r in rows),
    )
    with st.expander("The conditions as a table"):
        corrected = [analysis.corrected.get(arm.cell) for arm in analysis.arms]
        st.dataframe(
            pd.DataFrame(
                {
                    "condition": cells,
                    "mean [interval]": [estimate_text(a.value) for a in analysis.arms],
                    "corrected for the judge": [
                        "" if c is None else estimate_text(c) for c in corrected
                    ],
                    "units": [a.units for a in analysis.arms],
                    "failed": [a.failed for a in analysis.arms],
                    "without": [a.without for a in analysis.arms],
                    "scores": [a.lines for a in analysis.arms],
                    "missing": [f"{a.missing} ({a.missing_share:.1%})" for a in analysis.arms],
                }
            ),
            hide_index=True,
        )


def counted_units(n: int) -> str:
    return f"{n:,} {'unit' if n == 1 else 'units'}"


# --- exploratory comparisons, controls, judges


def unplanned(run: run_data.ViewedRun, analysis: Analysis) -> None:
    """Draw the exploratory comparisons."""
    if analysis.mute or not analysis.exploratory:
        return
    st.html('<h2 class="side-title">Exploratory</h2>')
    st.html(f'<p class="together">{safe(sections.EXPLORATORY_NOTE)}</p>')
    order = sorted(analysis.exploratory, key=lambda c: (math.isnan(c.adjusted), c.adjusted, c.p))
    rows = [
        IntervalRow(
            c.name,
            c.estimate,
            f"{estimate_text(c.estimate)}, {p_text(c.adjusted, 'Benjamini–Hochberg')}",
            full=False,
        )
        for c in order[:EXPLORED]
    ]
    with st.expander(f"{len(order)} comparisons", key="explored"):
        _intervals(
            run,
            "contrast",
            rows,
            axis="difference",
            zero=True,
            name="explored-chart",
            alt="Exploratory comparisons, those with the smallest p first.",
        )
        st.dataframe(_contrasts(order), hide_index=True)


def fine_print(material: Material) -> None:
    """Draw the controls, the judges and the exposure in the words of the report."""
    for title, write in (("Controls", run_report.add_controls), ("Judges", None)):
        page = Page("")
        if write is not None:
            write(page, material.analysis)
        else:
            sections.add_judges(page, material)
        _from_report(title, page)
    if material.exposure.leaked or material.exposure.unknown:
        page = Page("")
        appendix.add_exposure(page, material.exposure)
        _from_report("Who saw what", page)


def _from_report(title: str, page: Page) -> None:
    """Draw a section of the report under a heading. A wide table scrolls, with keys too."""
    if page.html:
        st.html(f'<h2 class="side-title">{title}</h2>')
        st.html(
            f'<div class="from-report" tabindex="0" role="region" aria-label="{title}">'
            f"{inert(''.join(page.html[1:]))}</div>"
        )


# --- charts and their clicks


def _intervals(
    run: run_data.ViewedRun,
    what: str,
    rows: Sequence[IntervalRow],
    *,
    axis: str,
    zero: bool,
    alt: str,
    values: Sequence[str] = (),
    name: str = "",
) -> None:
    """Draw rows of intervals; a click on one puts its value into the address as `what`."""
    known = [i for i, row in enumerate(rows) if not math.isnan(row.estimate.value)]
    options = list(values) or [row.name for row in rows]
    wanted = address.get(what) if not (what == "condition" and address.get("of")) else ""
    chosen = rows[options.index(wanted)].name if wanted in options else ""
    if not known:
        return
    key = f"{name or what}-{digest(repr((run.id, run.stamp, options)))}"
    st.vega_lite_chart(
        spec=chart.intervals(rows, chosen, chart_colours.current(), axis=axis, zero=zero),
        key=key,
        on_select=partial(_row, key, what, options),
        selection_mode=chart.PICK,
        theme=None,
        alt=alt[:2000],
    )
    with st.container(horizontal=True, key=f"{name or what}-rows"):
        st.session_state[f"{key}-chosen"] = wanted if wanted in options else None
        short = {t: rows[i].name for i, t in enumerate(options)}
        st.selectbox(
            "The scenes behind",
            [options[i] for i in known],
            key=f"{key}-chosen",
            index=None,
            placeholder="Choose here, or click a row",
            format_func=lambda t: short_line(short[t], 80),
            on_change=_listed,
            args=(f"{key}-chosen", what),
            width=420,
        )


def _row(key: str, what: str, values: Sequence[str]) -> None:
    place = _clicked(key)
    if place is not None and 0 <= place["i"] < len(values):
        open_behind(what, values[place["i"]])


def picked_point(key: str, kind: str, names: Sequence[str]) -> None:
    place = _clicked(key)
    if place is not None and 0 <= place["i"] < len(names):
        open_behind("condition", names[place["i"]], of=kind, turn=str(place.get("turn", "")))


def _listed(key: str, what: str) -> None:
    value = st.session_state[key]
    if value is not None:
        open_behind(what, value)


def open_behind(what: str, value: str, **more: str) -> None:
    """Show the scenes behind a contrast or a condition, for a callback."""
    clean = {"contrast": "", "condition": "", "of": "", "turn": "", "sheet": ""}
    address.go(**{**clean, what: value, **more})


def _clicked(key: str) -> dict[str, int] | None:
    """Return the fields of the clicked mark, None where a click cleared the selection."""
    picked = st.session_state[key]["selection"].get(chart.PICK) or []
    point = picked[0] if picked else {}
    whole = {name: int(value) for name, value in point.items() if isinstance(value, int | float)}
    return whole if "i" in whole else None
