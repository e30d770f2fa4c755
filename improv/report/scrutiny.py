"""The sections of a report that try its planned contrasts: what is missing, and length."""

from __future__ import annotations

import math

from improv.analysis.inference import Analysis
from improv.report.numbers import estimate_text, number, unit_count
from improv.report.page import Page


def add_scrutiny(page: Page, analysis: Analysis) -> None:
    """Add what was tried against the planned contrasts, with the result of each trial."""
    if analysis.mute:
        return
    _add_missing(page, analysis)
    _add_lengths(page, analysis)
    _add_borrowed(page, analysis)


def _add_missing(page: Page, analysis: Analysis) -> None:
    if not analysis.bounds:
        return
    page.head("What missing lines could change")
    page.say(
        "Nobody knows what a line that could not be read would have scored. Each planned contrast "
        "is computed twice more: with all that is missing broken on the first side and kept on the "
        "second, and the other way round. A contrast is shown only if it is shown in both. The "
        "last two columns compare the share that is missing on both sides, block by block: a small "
        "p says that the sides do not lose lines alike."
    )
    page.table(
        [
            "contrast",
            "lines missing",
            "scenes missing",
            "missing broken on the first side [interval]",
            "missing kept on the first side [interval]",
            "holds",
            "missing, first less second [interval]",
            "p",
        ],
        [
            (
                b.contrast,
                b.lines,
                b.units,
                estimate_text(b.broken),
                estimate_text(b.kept),
                "yes" if b.holds else "no",
                "nothing is missing" if not b.lines + b.units else estimate_text(b.apart),
                "—" if not b.lines + b.units else number(b.p),
            )
            for b in analysis.bounds
        ],
    )


def _add_lengths(page: Page, analysis: Analysis) -> None:
    lengths = analysis.lengths
    if lengths.arms:
        page.head("Length of lines")
        page.table(
            ["condition", "words a line [interval]", "scenes", "lines"],
            [(a.cell, estimate_text(a.words), a.words.n, a.lines) for a in lengths.arms],
        )
    if lengths.reason and analysis.plan is not None and analysis.findings:
        page.say(f"No contrast was tried at equal length. {lengths.reason}")
    if not lengths.checks:
        return
    page.say(
        "A longer line has more words that can break a sign, so arms that differ only in how much "
        "they talk can look as if they differed in character. Each planned contrast is estimated "
        "twice more. “At equal length”: lines are weighted so that the lines that keep the sign "
        "are equally long on both sides (overlap weights). “By the word”: from each line is taken "
        "the chance that a line of so many words has, if every word has the same chance. If the "
        "sides differ in length, or an estimate changes by more than half, a contrast is shown "
        "only if it is shown in both as well (Holm)."
    )
    if left_out := lengths.checks[0].left_out:
        page.say(
            f"Signs that verify length itself ({', '.join(left_out)}) are left out of these "
            "estimates: there a shorter line is what the trait means."
        )
    page.table(
        [
            "contrast",
            "words, first less second [interval]",
            "p",
            "broken lines [interval]",
            "at equal length [interval]",
            "p (Holm)",
            "by the word [interval]",
            "p (Holm)",
            "holds",
        ],
        [
            (
                c.contrast,
                estimate_text(c.words),
                number(c.words_p),
                estimate_text(c.plain),
                estimate_text(c.matched),
                _p(analysis, c.matched_p),
                estimate_text(c.by_word),
                _p(analysis, c.by_word_p),
                "yes" if c.holds else "no",
            )
            for c in lengths.checks
        ],
    )


def _add_borrowed(page: Page, analysis: Analysis) -> None:
    borrowed = analysis.borrowed
    if not analysis.findings and not borrowed.signs:
        return
    page.head("Lines of other characters in a character's place")
    if borrowed.reason:
        page.say(f"No contrast was tried on them. {borrowed.reason}")
    if borrowed.signs:
        page.say(
            "A sign that says something about a character is broken more often by the lines of the "
            "others in its scene. “Tells apart” says whether the others' share is higher, with its "
            "whole interval. A sign that only forbids words is kept by everybody who has no reason "
            "to say them: it shows when a character falls, and not who it is."
        )
        page.table(
            [
                "scene",
                "character",
                "sign",
                "own broken",
                "others'",
                "apart [interval]",
                "units",
                "tells apart",
            ],
            [
                (
                    s.scene,
                    s.character,
                    s.measure,
                    number(s.own),
                    number(s.others),
                    estimate_text(s.apart),
                    unit_count(s.apart),
                    "yes" if s.tells_apart else "no",
                )
                for s in borrowed.signs
            ],
        )
    if borrowed.contrasts:
        page.say(
            "What an arm does to everybody's lines alike is no finding about a character. Each "
            "planned contrast is also computed on the others' lines, as if the character had "
            "spoken them; it is shown only if its own lines differ by more, in the same direction."
        )
        page.table(
            ["contrast", "own lines", "others' lines", "own less others' [interval]", "p", "holds"],
            [
                (
                    c.contrast,
                    estimate_text(c.own),
                    estimate_text(c.others),
                    estimate_text(c.apart),
                    _p(analysis, c.p),
                    "yes" if c.holds else "no",
                )
                for c in borrowed.contrasts
            ],
        )


def _p(analysis: Analysis, p: float) -> str:
    """Return a p as text, none where the contrasts themselves have none to show."""
    hidden = any(doubt.hides_p for doubt in analysis.doubts)
    return "—" if hidden or math.isnan(p) else number(p)
