"""Writes what came of a run on one page that a referee could read. Pure: material in, page out.

The planned result stands first, with its interval and decision. Every number has its unit of
replication and a count of what is missing; what was not planned is called exploratory; a judge
that cannot judge has no rates printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from improv.analysis.inference import Analysis, Arm
from improv.analysis.stats.contrast import Contrast
from improv.report.appendix import cost, exposed, exposure, missing, reproduce, weather
from improv.report.material import Material
from improv.report.numbers import counted, p_said, shown, units
from improv.report.page import Page
from improv.report.sections import contrasts, explored, judging, networks, pictures
from improv.study.plan import Plan

PUPPET = "puppet"


def report(of: Material) -> Page:
    """Return the page of a run."""
    page = Page(f"{of.meta.get('study', 'A run')} · {of.run}")
    if of.question:
        page.say(of.question)
    if told := played_by(of):
        page.note(told)
    _result(page, of)
    _plan(page, of)
    _design(page, of)
    controls(page, of.analysis)
    judging(page, of)
    pictures(page, of.analysis, hidden=of.analysis.mute)
    explored(page, of.analysis, hidden=of.analysis.mute)
    networks(page, of)
    missing(page, of.trials)
    exposure(page, of.exposure)
    cost(page, of)
    weather(page, of.calls, of.limits)
    reproduce(page, of)
    return page


# -- the planned result -------------------------------------------------------------------------


def played_by(of: Material) -> str:
    """Say what it means that these models played, "" where it means nothing by itself."""
    if of.embedded:
        return (
            "Played by an embedded model of 135M parameters: a demonstration that all this works, "
            "and evidence of nothing else. Whatever follows decides nothing."
        )
    if of.meta.get("models") == [PUPPET]:
        return (
            "Played by puppets, fake models of a declared process: what is found here was planted."
        )
    return ""


def head(of: Analysis) -> str:
    """Return what stands over the result."""
    if of.plan is None:
        return "Result"
    return "Planned result" if of.planned else "Result (exploratory)"


def late(of: Analysis) -> str:
    """Say that the plan came late, or that there is none; "" where it stood before the first
    call."""
    if of.plan is None:
        return (
            "This study has no plan: nothing was settled beforehand, so nothing is decided. What "
            "follows is exploratory."
        )
    if not of.planned:
        return (
            "The plan that made this page is not the one whose hash was stored with the run before "
            "its first call. What it finds is exploratory."
        )
    return ""


def stops(of: Material) -> list[str]:
    """Return every reason why nothing is decided, but who played and a plan that came late."""
    if of.analysis.plan is None:
        return [reason.sentence for reason in of.analysis.stopped]
    told = [f"Nothing is decided. {reason.sentence}" for reason in of.analysis.stopped]
    if not of.exposure.clean:
        found = exposed(of.exposure)
        told.insert(
            0,
            f"Nothing is decided: the exposure check found {found}; no arm may see another's "
            "text, and all that was shown must be known (see below).",
        )
    return told


def decides(of: Material) -> bool:
    """Whether what is found decides what was planned."""
    return of.analysis.planned and not of.embedded and not stops(of)


def sentences(of: Material, *, undecided: bool = False) -> list[str]:
    """Return what was found of each planned contrast, and whether that decides it; nothing where
    no judge could tell. With `undecided` there is a reason that `of` does not know."""
    found = of.analysis
    if found.plan is None or found.mute:
        return []
    still = undecided or not decides(of)
    return [_sentence(c, found.plan, undecided=still) for c in found.findings]


def _result(page: Page, of: Material) -> None:
    found = of.analysis
    page.head(head(found))
    if found.plan is None:
        page.say(late(found))
        for why in stops(of):
            page.note(why)
        return
    if told := late(found):
        page.note(told)
    page.say(f"Hypothesis: {found.plan.hypothesis}")
    for why in stops(of):
        page.note(why)
    if not found.mute:
        page.listed(sentences(of))
        contrasts(page, found.findings, "difference, with its interval", "Holm")
        short = shortfall(found.plan, found.arms)
        if short:
            page.say(short)


def _sentence(c: Contrast, plan: Plan, *, undecided: bool) -> str:
    if math.isnan(c.estimate.value):
        return f"{c.name}: cannot be told ({c.estimate.why or 'no data'})."
    told = f"{c.name}: {shown(c.estimate)}, {p_said(c.p)}, {p_said(c.adjusted, 'Holm')}, {units(c)}"
    if undecided:
        return f"{told}. Not decided."
    if c.rejected:
        way = "more" if c.estimate.value > 0 else "less"
        return f"{told}. Shown at α = {plan.alpha:g}: {way} on the first side."
    return f"{told}. Not shown at α = {plan.alpha:g}; that is no proof of sameness."


def shortfall(plan: Plan, arms: Sequence[Arm]) -> str:
    """Say how many of the planned blocks were not played, "" for none."""
    most = max((arm.blocks for arm in arms), default=0)
    if most >= plan.blocks:
        return ""
    return (
        f"{plan.blocks} blocks were planned and {most} played: intervals are wider than "
        "planned, and effects of the size that the plan was made for may be missed."
    )


def _plan(page: Page, of: Material) -> None:
    plan = of.analysis.plan
    if of.about:
        page.head("What it tests")
        page.say(of.about)
    if plan is None:
        return
    page.head("The plan")
    outcome = plan.outcome
    what = f"{OUTCOMES[outcome.of]} of {outcome.measure}"
    if outcome.less:
        what += f" less that of {outcome.less}"
    hashes = [("hash of this plan", plan.hash)]
    stored = of.meta.get("plan_hash")
    hashes.append(("hash stored before the first call", stored or "none"))
    page.table(
        ["what", "which"],
        [
            ("primary outcome", what),
            ("compared", "within blocks" if outcome.unit == "block" else "scene against scene"),
            ("planned contrasts", len(plan.contrasts) or "the correlation of phrasings"),
            ("α, over all of them (Holm)", f"{plan.alpha:g}"),
            ("blocks", plan.blocks),
            ("stops", plan.stop),
            ("decides nothing above", f"{plan.exclude.missing_above:.0%} missing in an arm"),
            *hashes,
        ],
    )


OUTCOMES = {
    "broken": "share of readable lines at the opposite",
    "broke": "whether a line is at the opposite",
    "mean": "mean score",
    "recovered": "whether it is back within so many own lines",
    "time": "turn of the first break",
    "collision": "collision probability of regenerated acts",
    "phrasing": "intraclass correlation of phrasings",
}


# -- the design, and what controls it -----------------------------------------------------------


def _design(page: Page, of: Material) -> None:
    page.head("What was played")
    rows = []
    for condition in of.meta.get("conditions", []):
        mains = [t for t in of.trials if t["condition"] == condition and t["origin"] == "main"]
        grown = sum(t["condition"] == condition and t["origin"] != "main" for t in of.trials)
        done = [t for t in mains if t["status"] == "done"]
        tokens = sum(t["prompt_tokens"] + t["completion_tokens"] for t in mains)
        turns, calls = (sum(t[name] for t in mains) for name in ("turns", "calls"))
        blocks = len({t["block"] for t in mains})
        rows.append(
            (condition, blocks, len(done), len(mains) - len(done), turns, calls, tokens, grown)
        )
    names = ["condition", "blocks", "done", "failed", "turns", "calls", "tokens", "branches"]
    page.table(names, rows)
    planned = int(of.meta.get("trials", 0))
    there = sum(t["origin"] == "main" for t in of.trials)
    if there < planned:
        page.say(f"{planned - there} of {planned} planned trials have not been played yet.")
    if of.analysis.outcome is not None and of.analysis.arms:
        outcome = of.analysis.outcome
        page.say(f"The outcome, {OUTCOMES[outcome.of]} of {outcome.measure}, by condition:")
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
            [_arm_row(arm, of) for arm in of.analysis.arms],
        )
    if of.lengths:
        page.say("Lengths of the texts that arms are told apart by, as the playing model counts:")
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
                for r in of.lengths
            ],
        )


def _arm_row(arm: Arm, of: Material) -> tuple[object, ...]:
    value = "not shown: no judge could tell" if of.analysis.mute else shown(arm.value)
    right = of.analysis.corrected.get(arm.cell)
    known = "" if right is None or of.analysis.mute else shown(right)
    share = f"{arm.missing} ({arm.missing_share:.1%})"
    return (arm.cell, value, known, arm.units, arm.without, arm.lines, share)


def controls(page: Page, found: Analysis) -> None:
    checks = found.checks
    if not checks:
        return
    page.head("Controls")
    if found.mute:
        page.note("Not shown: no judge could tell.")
        return
    said = {True: "held", False: "not shown to hold", None: "cannot be told"}
    page.table(
        ["control", "what must hold", "found", "units", "verdict"],
        [(c.name, c.what, shown(c.estimate), counted(c.estimate), said[c.held]) for c in checks],
    )
    if any(c.held is not True for c in checks):
        page.note(
            "A control that is not shown to hold is a reason to doubt the result above; where its "
            "interval is wide, it says no more than that units are few."
        )
