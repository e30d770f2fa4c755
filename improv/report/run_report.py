"""Writes the report of a run as one page for a referee. The input is the run's material.

The planned result is first, with its interval and decision. Every number has its unit of
replication and a count of missing values. Results that were not planned are called exploratory.
No rates are printed of a judge that cannot judge.
"""

from __future__ import annotations

from improv.analysis.decision import DoubtKind
from improv.analysis.inference import Analysis, Arm
from improv.report.appendix import (
    add_cost,
    add_delivery,
    add_endpoints,
    add_exposure,
    add_missing,
    add_reproduction,
)
from improv.report.doubts import all_doubts, decisions, plan_notice, sentences, undecided_reasons
from improv.report.history import add_history
from improv.report.material import Material
from improv.report.numbers import estimate_text, unit_count
from improv.report.page import Page
from improv.report.scrutiny import add_scrutiny
from improv.report.sections import (
    add_contrasts,
    add_exploratory_contrasts,
    add_judges,
    add_networks,
    add_trajectories,
)
from improv.study.plan import Plan

_PUPPET = "puppet"


def report(material: Material) -> Page:
    """Return the page of a run."""
    page = Page(f"{material.meta.get('study', 'A run')} · {material.run}")
    if material.question:
        page.say(material.question)
    if notice := played_by(material):
        page.note(notice)
    _result(page, material)
    _plan(page, material)
    _design(page, material)
    add_controls(page, material.analysis)
    add_scrutiny(page, material.analysis)
    add_judges(page, material)
    add_trajectories(page, material.analysis, hidden=material.analysis.mute)
    add_exploratory_contrasts(page, material.analysis, hidden=material.analysis.mute)
    add_networks(page, material)
    add_missing(page, material.trials, material.failures)
    add_delivery(page, material.delivery)
    add_exposure(page, material.exposure)
    add_cost(page, material)
    add_endpoints(page, material.calls, material.limits)
    add_history(page, material.past)
    add_reproduction(page, material)
    return page


# -- the planned result -------------------------------------------------------------------------


def played_by(material: Material) -> str:
    """Return a notice about the models that played, "" if they need none."""
    if demonstrations := [d for d in all_doubts(material) if d.kind is DoubtKind.DEMONSTRATION]:
        return demonstrations[0].sentence
    if material.meta.get("models") == [_PUPPET]:
        return (
            "Played by puppets, fake models of a declared process: what is found here was planted."
        )
    return ""


def result_heading(analysis: Analysis) -> str:
    """Return the heading of the result."""
    if analysis.plan is None:
        return "Result"
    return "Planned result" if analysis.planned else "Result (exploratory)"


def _result(page: Page, material: Material) -> None:
    analysis = material.analysis
    page.head(result_heading(analysis))
    if analysis.plan is None:
        page.say(plan_notice(material))
        for why in undecided_reasons(material):
            page.note(why)
        return
    if notice := plan_notice(material):
        page.note(notice)
    page.say(f"Hypothesis: {analysis.plan.hypothesis}")
    for why in undecided_reasons(material):
        page.note(why)
    for note in material.notes:
        page.note(note)
    if not analysis.mute:
        page.listed(sentences(material))
        contrasts = [decision.contrast for decision in decisions(material)]
        add_contrasts(page, contrasts, "difference, with its interval", "Holm")
        if looked := looks_text(analysis):
            page.say(looked)


def looks_text(analysis: Analysis) -> str:
    """Return what the plan's looks are and which one this is, "" if it has none."""
    return analysis.standing.sentence if analysis.standing is not None else ""


def _plan(page: Page, material: Material) -> None:
    plan = material.analysis.plan
    if material.about:
        page.head("What it tests")
        page.say(material.about)
    if plan is None:
        return
    page.head("The plan")
    outcome = plan.outcome
    outcome_name = f"{OUTCOME_NAMES[outcome.of]} of {outcome.measure}"
    if outcome.less:
        outcome_name += f" less that of {outcome.less}"
    hashes = [("hash of this plan", plan.hash)]
    stored = material.meta.get("plan_hash")
    hashes.append(("hash stored before the first call", stored or "none"))
    page.table(
        ["what", "which"],
        [
            ("primary outcome", outcome_name),
            ("compared", "within blocks" if outcome.unit == "block" else "scene against scene"),
            ("planned contrasts", len(plan.contrasts) or "the correlation of phrasings"),
            ("α, over all of them (Holm)", f"{plan.alpha:g}"),
            ("blocks", plan.blocks),
            ("stops", plan.stop),
            ("looks", looks_planned(plan)),
            ("decides nothing above", f"{plan.exclude.missing_above:.0%} missing in an arm"),
            *hashes,
        ],
    )


def looks_planned(plan: Plan) -> str:
    """Return when the plan allows a decision."""
    if plan.looks is None:
        return "one, when all blocks are there"
    return f"every {plan.looks.every} blocks, with α spent over them (Lan–DeMets)"


OUTCOME_NAMES = {
    "broken": "share of readable lines at the opposite",
    "broke": "whether a line is at the opposite",
    "mean": "mean score",
    "recovered": "whether it is back within so many own lines",
    "time": "turn of the first break",
    "collision": "collision probability of regenerated acts",
    "phrasing": "intraclass correlation of phrasings",
}


# -- the design and its controls -----------------------------------------------------------------


def _design(page: Page, material: Material) -> None:
    page.head("What was played")
    rows = []
    for condition in material.meta.get("conditions", []):
        mains = [
            t for t in material.trials if t["condition"] == condition and t["origin"] == "main"
        ]
        branches = sum(
            t["condition"] == condition and t["origin"] != "main" for t in material.trials
        )
        done = [t for t in mains if t["status"] == "done"]
        tokens = sum(t["prompt_tokens"] + t["completion_tokens"] for t in mains)
        turns, calls = (sum(t[name] for t in mains) for name in ("turns", "calls"))
        blocks = len({t["block"] for t in mains})
        rows.append(
            (condition, blocks, len(done), len(mains) - len(done), turns, calls, tokens, branches)
        )
    names = ["condition", "blocks", "done", "failed", "turns", "calls", "tokens", "branches"]
    page.table(names, rows)
    planned = int(material.meta.get("trials", 0))
    played = sum(t["origin"] == "main" for t in material.trials)
    if played < planned:
        page.say(f"{planned - played} of {planned} planned trials have not been played yet.")
    if material.analysis.outcome is not None and material.analysis.arms:
        outcome = material.analysis.outcome
        page.say(f"The outcome, {OUTCOME_NAMES[outcome.of]} of {outcome.measure}, by condition:")
        page.table(
            [
                "condition",
                "mean [interval]",
                "corrected for the judge",
                "units",
                "without",
                "scores",
                "missing",
            ],
            [_arm_row(arm, material) for arm in material.analysis.arms],
        )
    if material.lengths:
        page.say("Lengths of the texts in which arms differ, as counted by the playing model:")
        page.table(
            ["scene", "text", "tokens", "matches", "tokens", "apart", "counted by"],
            [
                (
                    r["scene"],
                    r["context"],
                    r["tokens"],
                    r["matches"],
                    r["of"],
                    f"{r['apart']:+.1%}",
                    r["by"],
                )
                for r in material.lengths
            ],
        )


def _arm_row(arm: Arm, material: Material) -> tuple[object, ...]:
    value = "not shown: no judge could tell" if material.analysis.mute else estimate_text(arm.value)
    corrected = material.analysis.corrected.get(arm.cell)
    corrected_text = "" if corrected is None or material.analysis.mute else estimate_text(corrected)
    share = f"{arm.missing} ({arm.missing_share:.1%})"
    return (arm.cell, value, corrected_text, arm.units, arm.without, arm.lines, share)


def add_controls(page: Page, analysis: Analysis) -> None:
    checks = analysis.checks
    if not checks:
        return
    page.head("Controls")
    if analysis.mute:
        page.note("Not shown: no judge could tell.")
        return
    verdicts = {True: "held", False: "not shown to hold", None: "unknown"}
    page.table(
        ["control", "what must hold", "estimate [interval]", "units", "verdict"],
        [
            (c.name, c.what, estimate_text(c.estimate), unit_count(c.estimate), verdicts[c.held])
            for c in checks
        ],
    )
    if any(c.held is not True for c in checks):
        page.note(
            "A control that is not shown to hold withdraws the result above; if its "
            "interval is wide, the reason may only be that there are few units."
        )
