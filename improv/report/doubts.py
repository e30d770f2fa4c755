"""Gathers all doubts about a run's planned contrasts, from its tables and from its folder, and
hands them to the one place that decides. Every page and program reads decisions from here."""

from __future__ import annotations

from collections.abc import Iterator

from improv.analysis.decision import Decision, Doubt, DoubtKind, decide
from improv.report.appendix import exposure_summary
from improv.report.material import Material
from improv.report.numbers import contrast_units, estimate_text, p_text

_NOTICES = (DoubtKind.NO_PLAN, DoubtKind.LATE_PLAN, DoubtKind.DEMONSTRATION)
"""Kinds of doubts that a page says in a notice of its own."""


def all_doubts(material: Material) -> list[Doubt]:
    """Return everything that speaks against a decision."""
    return [*_from_the_run(material), *material.doubts, *material.analysis.doubts]


def _from_the_run(material: Material) -> Iterator[Doubt]:
    if material.embedded:
        why = (
            "Played by an embedded model of 135M parameters: a demonstration that the program "
            "works, and evidence of nothing else. The results below decide nothing."
        )
        yield Doubt(DoubtKind.DEMONSTRATION, why)
    if material.analysis.plan is None:
        why = (
            "This study has no plan: nothing was fixed beforehand, so nothing is decided. The "
            "results below are exploratory."
        )
        yield Doubt(DoubtKind.NO_PLAN, why)
    elif not material.analysis.planned:
        why = (
            "The plan that made this page is not the one whose hash was stored with the run before "
            "its first call. What it finds is exploratory."
        )
        yield Doubt(DoubtKind.LATE_PLAN, why)
    for difference in material.differences:
        yield Doubt(DoubtKind.CHANGED_FILES, f"{difference}.")
    if not material.exposure.clean:
        why = (
            f"The exposure check found {exposure_summary(material.exposure)}; no arm may see "
            "another's text, and every block that was shown must be known (see below)."
        )
        yield Doubt(DoubtKind.LEAK, why)


def decisions(material: Material) -> tuple[Decision, ...]:
    """Return the decision of each planned contrast. Empty if no judge can judge the outcome."""
    analysis = material.analysis
    if analysis.plan is None or analysis.mute:
        return ()
    return decide(analysis.findings, all_doubts(material), analysis.plan.alpha)


def undecided_reasons(material: Material) -> list[str]:
    """Return a sentence for each doubt, except those about the model that played and about the
    plan, which have a notice of their own. A doubt that several contrasts share is said once."""
    contrasts: dict[str, list[str]] = {}
    for doubt in all_doubts(material):
        if doubt.kind not in _NOTICES:
            contrasts.setdefault(doubt.sentence, []).append(doubt.contrast)
    everything = "Nothing is decided. " if material.analysis.plan is not None else ""
    return [
        f"{everything if '' in names else _not_decided(names)}{sentence}"
        for sentence, names in contrasts.items()
    ]


def _not_decided(names: list[str]) -> str:
    *others, last = dict.fromkeys(names)
    if not others:
        return f"{last} is not decided. "
    return f"{', '.join(others)} and {last} are not decided. "


def plan_notice(material: Material) -> str:
    """Return a notice that the plan came late or that there is none, "" if it was stored before
    the first call."""
    kinds = (DoubtKind.NO_PLAN, DoubtKind.LATE_PLAN)
    return next((d.sentence for d in _from_the_run(material) if d.kind in kinds), "")


def sentences(material: Material) -> list[str]:
    """Return a sentence for each planned contrast: its estimate, and whether it is decided. Empty
    if no judge can judge the outcome."""
    return [_sentence(decision) for decision in decisions(material)]


def _sentence(decision: Decision) -> str:
    c = decision.contrast
    if c.estimate.value != c.estimate.value:
        return f"{c.name}: {decision.sentence}"
    parts = [f"{c.name}: {estimate_text(c.estimate)}"]
    if decision.shows_p:
        parts += [p_text(c.p), p_text(c.adjusted, "Holm")]
    parts.append(contrast_units(c))
    return f"{', '.join(parts)}. {decision.sentence}"
