"""How long lines are in each arm, and what is left of a planned contrast at equal length. Pure.

Which signs a longer line can break by its length alone follows from their marker. A marker that is
itself about length (`at_most_words`) needs no such check, and would not survive it: there a shorter
line is what the trait means. Where an outcome pools such signs with others, the check is of the
others, because what short lines do to all of the signs is no finding about each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.speech import Speech, with_words
from improv.analysis.stats.contrast import Contrast, contrast, holm
from improv.analysis.stats.interval import Estimate, Floats
from improv.analysis.stats.matching import Lines, beyond_exposure, comparable, equal_length
from improv.analysis.units import Frame, Tables, by_cell, cell_names, cell_weights, outcome_scores
from improv.records import seed_of
from improv.study.measure_spec import NEITHER, find_measure
from improv.study.plan import Outcome, Plan

LENGTH_ITSELF = frozenset({"at_most_words", "at_least_words", "one_sentence"})
"""Markers that verify how long a line is."""
_BREAKS = frozenset({"never_says", "never_asks"})
"""Markers that a phrase breaks: a longer line is more likely to have it."""
_KEEPS = frozenset({"says_any", "always_asks"})
"""Markers that a phrase keeps: a longer line is more likely to have it."""
_CHANGED = 0.5
"""The share of an estimate that may go with length although lengths are not shown to differ."""


@dataclass(frozen=True, slots=True)
class ArmLength:
    """The mean number of words of an arm's lines; a scene is one unit."""

    cell: str
    words: Estimate
    lines: int


@dataclass(frozen=True, slots=True)
class LengthCheck:
    """A planned contrast at equal length.

    `words` is the difference of the words of a line, paired by block, and `words_p` its p. `plain`
    is the difference of the shares of broken lines, `matched` that difference where kept lines are
    equally long in all cells, `by_word` what is left of it if every word has the same chance; their
    p are corrected by Holm over the planned contrasts. `left_out` names the markers that are about
    length itself. `holds` says whether a contrast that is shown may be called so.
    """

    contrast: str
    words: Estimate
    words_p: float
    plain: Estimate
    matched: Estimate
    matched_p: float
    by_word: Estimate
    by_word_p: float
    left_out: tuple[str, ...]
    holds: bool


@dataclass(frozen=True)
class Lengths:
    """The lengths of all arms, and the check of each planned contrast. `reason` says why there is
    no check, if there is none."""

    arms: tuple[ArmLength, ...] = ()
    checks: tuple[LengthCheck, ...] = ()
    reason: str = ""


def check_lengths(
    plan: Plan | None,
    outcome: Outcome,
    units: Frame,
    tables: Tables,
    speech: Speech,
    findings: Sequence[Contrast],
    seed: int,
) -> Lengths:
    """Return the length of lines by arm, and the planned contrasts at equal length."""
    lines = _lines(outcome, units, tables, speech)
    if not len(lines):
        return Lengths(reason="The outcome is not scored line by line.")
    arms = tuple(_arm_lengths(lines, list(cell_names(units)), seed))
    if plan is None or not plan.contrasts:
        return Lengths(arms)
    known = find_measure(outcome.measure)
    if known is not None and known.unit.range != (0.0, 1.0):
        return Lengths(arms, reason="The outcome is no share of lines.")
    about_length = lines["marker"].isin(LENGTH_ITSELF)
    if about_length.all():
        reason = "What the outcome verifies is itself the length of a line: no check applies."
        return Lengths(arms, reason=reason)
    left_out = tuple(sorted(lines["marker"][about_length].unique()))
    checked = lines[~about_length]
    tried = [_tried(spec, units, lines, checked, seed) for spec in plan.contrasts]
    families = [holm([t[i] for t in tried], plan.alpha) for i in (2, 3)]
    checks = tuple(
        _check(outcome, found, t[0], t[1], matched, by_word, left_out)
        for found, t, matched, by_word in zip(findings, tried, *families, strict=True)
    )
    return Lengths(arms, checks)


def length_doubts(findings: Sequence[Contrast], lengths: Lengths) -> Iterator[Doubt]:
    """Yield a doubt for each contrast that is rejected and does not hold at equal length."""
    rejected = {c.name: c.rejected for c in findings}
    for check in lengths.checks:
        if check.holds or not rejected[check.contrast]:
            continue
        longer = "longer" if check.words.value > 0 else "shorter"
        signs = " of the signs that are not about length" if check.left_out else ""
        why = (
            f"It goes with length: lines are {abs(check.words.value):.3g} words {longer} on the "
            f"first side. The share of broken lines{signs} differs by {check.plain.value:.3g}; at "
            f"equal length by {_interval(check.matched)}, and if every word has the same chance by "
            f"{_interval(check.by_word)}. What is shown must be shown in both as well."
        )
        yield Doubt(DoubtKind.LENGTH, why, contrast=check.contrast)


def _interval(e: Estimate) -> str:
    if math.isnan(e.value):
        return f"an unknown amount ({e.why or 'no line has its like on the other side'})"
    return f"{e.value:.3g} [{e.low:.3g}, {e.high:.3g}]"


def _lines(outcome: Outcome, units: Frame, tables: Tables, speech: Speech) -> Frame:
    """Return the readable scored lines: broken, words, marker, sign, cell, block and unit."""
    if outcome.of in ("collision", "phrasing"):
        return pd.DataFrame()
    scores = outcome_scores(outcome, tables)
    scores = scores[scores["value"].notna() & scores["turn"].notna()]
    lines = with_words(
        scores[["trial", "branch", "turn", "character", "measure", "value", "at"]], speech
    )
    own = units[units["status"] == "done"][["at", "cell", "block", "scene"]]
    lines = lines.merge(own, on="at", how="inner")
    if not len(lines):
        return lines
    key = list(zip(lines["scene"], lines["character"], lines["measure"], strict=True))
    codes, names = pd.factorize(pd.Series(key, dtype=object))
    found = [speech.predicates.get(name) for name in names]
    markers = np.array([p.marker if p is not None else "" for p in found], dtype=object)
    return lines.assign(
        broken=_broken(lines["value"].to_numpy(dtype=float)),
        sign=codes,
        marker=markers[codes],
        words=lines["words"].to_numpy(dtype=float),
    )


def _broken(values: Floats) -> Floats:
    """Return 1 for a line at the opposite, 0 for others, and what is between for a mean score."""
    return np.where(values == NEITHER, 0.0, 1 - values)


def _arm_lengths(lines: Frame, cells: Sequence[str], seed: int) -> Iterator[ArmLength]:
    # A line that two signs are scored on is one line.
    spoken = lines.drop_duplicates(["at", "turn", "character"])
    for cell in cells:
        part = spoken[spoken["cell"] == cell]
        means = part.groupby("at")["words"].mean()
        names = {str(at): value for at, value in means.items()}
        words = contrast({"w": names}, {"w": 1.0}, name=cell, seed=seed, planned=False)
        yield ArmLength(cell, replace(words.estimate, unit="scenes"), len(part))


def _tried(
    spec: object, units: Frame, lines: Frame, checked: Frame, seed: int
) -> tuple[Contrast, Contrast, Contrast, Contrast]:
    """Return a contrast of words, and of broken lines: plain, at equal length, and by the word."""
    name, plus, minus = (getattr(spec, key) for key in ("name", "plus", "minus"))
    try:
        weights = cell_weights(units, plus, minus)
    except ValueError as e:
        nothing = Contrast(
            name, Estimate.unknown(str(e), unit="blocks"), math.nan, 0, (), math.nan, planned=True
        )
        return nothing, nothing, nothing, nothing
    spoken = lines.drop_duplicates(["at", "turn", "character"])
    own = checked[checked["cell"].isin(list(weights))]
    blocks = own.groupby("block")["cell"].nunique()
    own = own[own["block"].isin(blocks.index[blocks == len(weights)])]
    where = seed_of("length", seed, name)

    def means(rows: Frame, values: Floats) -> Contrast:
        by_unit = rows.assign(value=values).groupby("at")["value"].mean()
        of_units = units[units["at"].isin(by_unit.index)]
        of_units = of_units.assign(value=of_units["at"].map(by_unit))
        return contrast(by_cell(of_units), weights, name=name, seed=where, planned=True)

    words = means(spoken, spoken["words"].to_numpy(dtype=float))
    plain = means(own, own["broken"].to_numpy(dtype=float))
    if not len(own):
        return words, plain, plain, plain
    cells = list(weights)
    coded = Lines(
        own["broken"].to_numpy(dtype=float),
        own["words"].to_numpy(dtype=float),
        pd.factorize(own["sign"])[0].astype(np.int64),
        own["cell"].map({c: i for i, c in enumerate(cells)}).to_numpy(dtype=np.int64),
        pd.factorize(own["block"])[0].astype(np.int64),
    )
    coded = comparable(coded)
    at_blocks = equal_length(coded, np.array([weights[c] for c in cells]))
    values = {str(i): float(value) for i, value in enumerate(at_blocks)}
    matched = contrast({"d": values}, {"d": 1.0}, name=name, seed=where, planned=True)
    marker = own["marker"]
    exposed = marker.isin(_BREAKS | _KEEPS).to_numpy(dtype=bool)
    event = np.where(marker.isin(_KEEPS), 1 - coded.broken, coded.broken)
    by_word = means(own, beyond_exposure(coded, event, exposed))
    return words, plain, matched, by_word


def _check(
    outcome: Outcome,
    found: Contrast,
    words: Contrast,
    plain: Contrast,
    matched: Contrast,
    by_word: Contrast,
    left_out: tuple[str, ...],
) -> LengthCheck:
    side = np.sign(found.estimate.value) * _direction(outcome)
    agrees = all(c.rejected and np.sign(c.estimate.value) == side for c in (matched, by_word))
    differs = not words.p > 0.05
    size = abs(plain.estimate.value)
    changed = [abs(c.estimate.value - plain.estimate.value) for c in (matched, by_word)]
    moved = not max(changed) <= _CHANGED * size
    return LengthCheck(
        found.name,
        words.estimate,
        words.p,
        plain.estimate,
        matched.estimate,
        matched.adjusted,
        by_word.estimate,
        by_word.adjusted,
        left_out,
        holds=bool(agrees or not (differs or moved)),
    )


def _direction(outcome: Outcome) -> int:
    """Return 1 if the outcome rises where more lines are broken, −1 if it falls."""
    return -1 if outcome.of in ("mean", "recovered", "time") else 1
