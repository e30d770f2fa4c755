"""Judges' errors: how each judge did on planted lines in each arm, and the correction for it.

If a judge cannot tell planted lines apart, its verdicts decide nothing. If it can, its error rates
are known: each arm's numbers are corrected by that arm's own rates, so that a judge who errs more
in one arm than in another creates no effect. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from improv.analysis.stats.calibration import (
    Confusion,
    ErrorDifference,
    JudgeAbility,
    agreement,
    can_judge,
    compare_errors,
    rogan_gladen,
)
from improv.analysis.stats.contrast import Contrast, complete, contrast
from improv.analysis.stats.interval import Estimate
from improv.analysis.units import Frame, Tables
from improv.records import MAIN, seed_of
from improv.study.measure_spec import Need, find_measure

PLANTED = "calibration:"
"""The prefix of a measure's name in verdicts on planted lines."""
_DRAWS = 1000


@dataclass(frozen=True)
class JudgeErrors:
    """One judge on one measure: its confusion in each condition, and whether it may judge.

    `arms` maps a condition to the judge's confusion on the planted lines there, and whether that is
    good enough; `difference` tests whether its error rates are equal in all conditions;
    `agreement` is Krippendorff's alpha with the other judges of the same lines.
    """

    measure: str
    judge: str
    arms: Mapping[str, tuple[Confusion, JudgeAbility]]
    difference: ErrorDifference
    agreement: Estimate

    @property
    def pooled(self) -> Confusion:
        """All conditions together."""
        counts = [astuple(confusion) for confusion, _ in self.arms.values()]
        return Confusion(*map(sum, zip(*counts, strict=True)))

    @property
    def able(self) -> bool:
        return bool(self.arms) and all(verdict.able for _, verdict in self.arms.values())


def judge_of(tables: Tables, measure: str) -> str:
    """Return the name of the judge who made the scores of a measure, "" if no judge made them.

    A version ends in "@" and the judge's name where there is one.
    """
    versions = tables.scored(measure)["version"].unique()
    judges = sorted({v.partition("@")[2] for v in versions if "@" in v})
    return ", ".join(judges)


def is_trusted(tables: Tables, measure: str, judges: Sequence[JudgeErrors]) -> bool:
    """Return whether the scores of a measure may be shown: no judge made them, or an able one.

    Only some families have planted lines. In other families a judge is trusted if it is able on all
    families that it was tried on; a log-likelihood needs no judge. A judge that was tried in only
    some of the conditions is not trusted to compare them.
    """
    name = judge_of(tables, measure)
    family = measure.partition(":")[0]
    known = find_measure(measure)
    if not name or (known is not None and known.needs is Need.PROBABILITIES):
        return True
    tried = [j for j in judges if j.judge == name]
    own = [j for j in tried if j.measure == family] or tried
    conditions = set(tables.trials["condition"])
    return bool(own) and all(j.able and conditions <= set(j.arms) for j in own)


def measure_judges(verdicts: Frame, trials: Frame, *, seed: int) -> list[JudgeErrors]:
    """Return the errors of each judge on each measure that has planted lines."""
    conditions = trials[trials["branch"] == MAIN].set_index("trial")["condition"]
    planted = verdicts[verdicts["measure"].str.startswith(PLANTED) & (verdicts["error"] == "")]
    planted = planted.assign(condition=planted["trial"].map(conditions))
    judges = []
    family = planted["measure"].str.removeprefix(PLANTED).str.split(":").str[0]
    for (measure, judge), rows in planted.groupby([family, "judge"], sort=True):
        arms = {}
        for condition, part in rows.groupby("condition", sort=True):
            confusion = Confusion.of(zip(part["truth"], part["value"], strict=True))
            arms[str(condition)] = (confusion, can_judge(confusion))
        confusions = {name: confusion for name, (confusion, _) in arms.items()}
        where = seed_of("judged", seed, measure, judge)
        judges.append(
            JudgeErrors(
                str(measure),
                str(judge),
                arms,
                compare_errors(confusions, seed=where),
                _agreement(verdicts, str(measure), where),
            )
        )
    return judges


def corrected_rates(called: Frame, judges: JudgeErrors, *, seed: int) -> dict[str, Estimate]:
    """Return condition → its share of lines at the opposite, corrected by Rogan and Gladen.

    `called` has a row for each unit: condition, broken (lines called opposite) and read.
    """
    rates = {}
    for condition, part in called.groupby("condition", sort=False):
        if condition in judges.arms:
            confusion, _ = judges.arms[str(condition)]
            rates[str(condition)] = rogan_gladen(
                part["broken"].tolist(),
                part["read"].tolist(),
                confusion,
                seed=seed_of("corrected", seed, condition),
            )
    return rates


def corrected_contrast(
    values: Mapping[str, Mapping[str, float | None]],
    weights: Mapping[str, float],
    confusions: Mapping[str, Confusion],
    *,
    name: str,
    seed: int,
) -> Contrast:
    """Return a contrast of shares, each corrected for how its own arm was judged.

    The correction is linear in the share, so a block's is (share + Sp − 1)/(Se + Sp − 1). The
    variance is that between blocks plus that of the correction, from Beta(x + ½, n − x + ½)
    draws of each arm's Se and Sp. The interval is Student's t with Satterthwaite's degrees of
    freedom: the blocks' where they make up the variance, more where the correction does. p is the
    larger one of that t and of the sign flips of the corrected blocks, since t alone rejects too
    often where few blocks have a break. Arms lack a value where their judge's Se + Sp is not
    above 1.
    """
    used = {cell: w for cell, w in weights.items() if w}
    right = {cell: _map(values[cell], _rates(confusions[cell])) for cell in used}
    plain = contrast(right, weights, name=name, seed=seed, planned=True)
    table, _ = complete(values, weights)
    if not len(table) or math.isnan(plain.estimate.value):
        return plain
    rng = np.random.default_rng(seed_of("correction", seed, name))
    means, shifted = table.mean(axis=0), np.zeros(_DRAWS)
    for (cell, weight), mean in zip(used.items(), means, strict=True):
        c = confusions[cell]
        se = rng.beta(c.hits + 0.5, c.misses + 0.5, size=_DRAWS)
        sp = rng.beta(c.clears + 0.5, c.alarms + 0.5, size=_DRAWS)
        youden = np.maximum(se + sp - 1, 0.05)
        shifted += weight * (mean + sp - 1) / youden
    return _studentised(plain, float(shifted.var(ddof=1)))


def _studentised(plain: Contrast, correction: float) -> Contrast:
    """Return a contrast of corrected shares with the variance of the correction in it."""
    n, value, level = plain.blocks, plain.estimate.value, plain.estimate.level
    between = plain.sd**2 / n if n > 1 else 0.0
    if not between:
        # Blocks that are all alike have no spread: what they may hide is in the plain interval.
        half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(correction)
        estimate = replace(
            plain.estimate, low=plain.estimate.low - half, high=plain.estimate.high + half
        )
        return replace(plain, estimate=estimate)
    error = math.sqrt(between + correction)
    freedom = (n - 1) * (error**2 / between) ** 2
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = max(float(2 * stats.t.sf(abs(value) / error, freedom)), plain.p)
    estimate = replace(plain.estimate, low=value - half, high=value + half)
    return replace(plain, estimate=estimate, p=p)


def _rates(confusion: Confusion) -> tuple[float, float]:
    return confusion.sensitivity().value, confusion.specificity().value


def _map(values: Mapping[str, float | None], rates: tuple[float, float]) -> dict[str, float | None]:
    se, sp = rates
    if not se + sp > 1:
        return dict.fromkeys(values)
    return {
        block: None if v is None else (v + sp - 1) / (se + sp - 1) for block, v in values.items()
    }


def _agreement(verdicts: Frame, measure: str, seed: int) -> Estimate:
    """Return the agreement of all judges on the lines of scenes."""
    rows = verdicts[(verdicts["error"] == "") & ~verdicts["measure"].str.startswith(PLANTED)]
    return line_agreement(rows[rows["measure"].str.split(":").str[0] == measure], seed)


def line_agreement(rows: Frame, seed: int) -> Estimate:
    """Return the agreement of judges whose verdicts `rows` are, by resampling whole scenes."""
    # An item that one judge alone rated says nothing, and in a large run nearly all items are such.
    rows = rows[rows["item"].duplicated(keep=False)]
    judges = sorted(rows["judge"].unique())
    if len(judges) < 2:
        return Estimate.unknown("one judge alone", unit="scenes")
    # Grouped, never spread over the product of all trials, turns and items: a run of 120 scenes
    # would make 150 million rows, nearly all of them of nothing.
    row, items = pd.factorize(rows["item"])
    column = pd.Categorical(rows["judge"], judges).codes
    ratings = np.full((len(judges), len(items)), np.nan)
    # If a judge rated one item twice, the last verdict stands.
    ratings[column, row] = rows["value"].to_numpy(dtype=float)
    scene = np.empty(len(items), dtype=object)
    scene[row] = rows["trial"].to_numpy(dtype=object)
    return agreement(ratings.tolist(), seed=seed, scenes=scene.tolist())
