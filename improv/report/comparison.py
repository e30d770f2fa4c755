"""Compares several runs on one page. The input is the material of each run."""

from __future__ import annotations

from collections.abc import Sequence

from improv.report import charts
from improv.report.appendix import exposure_summary
from improv.report.charts import ForestRow
from improv.report.doubts import decisions, undecided_reasons
from improv.report.material import Material
from improv.report.numbers import contrast_units, estimate_text, number
from improv.report.page import Page


def comparison_page(several: Sequence[Material]) -> Page:
    """Return one page on several runs, with the estimates of the same contrasts in each."""
    page = Page("Runs side by side")
    hashes = {m.analysis.plan.hash if m.analysis.plan else "" for m in several}
    if len(hashes) > 1 or hashes == {""}:
        page.note(
            "These runs have no plan in common, so their findings answer different questions. "
            "The results below are exploratory."
        )
    elif len(several) > 1:
        page.say(
            "One plan, several runs. Each run was decided by itself; if one shows a contrast and "
            "another does not, this is no evidence that they differ."
        )
    _add_runs(page, several)
    for m in several:
        if m.embedded:
            page.note(f"{m.run}: played by a model of 135M parameters, a demonstration.")
    for m in several:
        for note in m.notes:
            page.note(f"{m.run}: {note}")
    for name in dict.fromkeys(c.name for m in several for c in m.analysis.findings):
        _add_contrast(page, several, name)
    page.head("Means by condition")
    page.table(
        ["run", "condition", "mean [interval]", "units", "missing"],
        [
            (
                m.run,
                arm.cell,
                "not shown: no judge could tell" if m.analysis.mute else estimate_text(arm.value),
                arm.units,
                f"{arm.missing_share:.1%}",
            )
            for m in several
            for arm in m.analysis.arms
        ],
    )
    return page


def _add_runs(page: Page, several: Sequence[Material]) -> None:
    """Add a table of the runs: models, finished trials, kind of analysis, exposure check."""
    rows: list[tuple[object, ...]] = []
    for m in several:
        done = sum(t["origin"] == "main" and t["status"] == "done" for t in m.trials)
        state = " ".join(undecided_reasons(m)) or (
            "planned" if m.analysis.planned else "exploratory"
        )
        seen = exposure_summary(m.exposure)
        models = ", ".join(m.meta.get("models", []))
        rows.append((m.run, m.meta.get("study", ""), models, done, state, seen))
    page.table(["run", "study", "models", "done", "analysis", "exposure"], rows)


def _add_contrast(page: Page, several: Sequence[Material], name: str) -> None:
    """Add the findings of one contrast, run by run, as a table and a chart."""
    page.head(name)
    findings = [
        (m.run, decision)
        for m in several
        for decision in decisions(m)
        if decision.contrast.name == name
    ]
    page.table(
        ["run", "estimate [interval]", "p", "p (Holm)", "units", "verdict"],
        [
            (
                run,
                estimate_text(decision.contrast.estimate),
                number(decision.contrast.p),
                number(decision.contrast.adjusted),
                contrast_units(decision.contrast),
                decision.sentence,
            )
            for run, decision in findings
        ],
    )
    marks = [
        ForestRow(run, estimate.value, estimate.low, estimate.high, estimate_text(estimate))
        for run, estimate in ((run, decision.contrast.estimate) for run, decision in findings)
    ]
    page.chart(charts.forest_chart(name, name, "difference, with its interval", marks), name)
