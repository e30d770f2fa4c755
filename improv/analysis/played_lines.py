"""People's verdicts on played lines, and what they make of a judge's numbers. Pure.

A judge that tells hand-written plants apart may still be swayed by the style of played lines, and
differently in each arm. People rate a sample of played lines of each arm, the same blocks in each
(`scoring.human_ratings`), and correct the judge where it disagrees with them: prediction-powered
inference (Angelopoulos and others 2023, Science 382:669-674). Nothing is assumed about the judge;
if it is of no use, the people's own verdicts are what remains, with their wider interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from improv.analysis.stats.contrast import Contrast, Values, complete
from improv.analysis.stats.interval import LEVEL, Estimate, Floats
from improv.analysis.stats.permutation import sign_flip
from improv.analysis.units import Frame
from improv.records import MAIN, seed_of

PEOPLE = "human:"
"""What the names of people among judges begin with."""
FEWEST_BLOCKS = 20
"""Fewer blocks with rated lines in every arm correct nothing."""
_TUNINGS = np.linspace(0.0, 1.0, 21)

RatedLines = Mapping[str, Mapping[str, tuple[float, float]]]
"""Condition → block → the share of its rated lines at the opposite: by people, and by the judge."""


def rated_lines(played: Frame, trials: Frame, judge: str, people: frozenset[str]) -> RatedLines:
    """Return the played lines that people and `judge` both rated, as shares of each block.

    `played` are verdicts on the lines of scenes, of one measure. A line that several people rated
    counts with the mean of their verdicts, one that nobody could tell does not count.
    """
    read = played[(played["branch"] == MAIN) & played["value"].notna()]
    broken = read.assign(broken=(read["value"] == 0).astype(float))
    by_people = broken[broken["judge"].isin(people)].groupby("item", observed=True)["broken"].mean()
    own = broken[broken["judge"] == judge].drop_duplicates("item", keep="last")
    both = own[own["item"].isin(by_people.index)]
    if not len(both):
        return {}
    main = trials[trials["branch"] == MAIN].set_index("trial")
    rows = pd.DataFrame(
        {
            "condition": both["trial"].map(main["condition"]).to_numpy(dtype=object),
            "block": both["trial"].map(main["block"]).to_numpy(dtype=object),
            "people": both["item"].map(by_people).to_numpy(dtype=float),
            "judge": both["broken"].to_numpy(dtype=float),
        }
    ).dropna()
    means = rows.groupby(["condition", "block"], sort=True)[["people", "judge"]].mean()
    shares: dict[str, dict[str, tuple[float, float]]] = {}
    for (condition, block), people_share, judge_share in means.itertuples():
        shares.setdefault(str(condition), {})[str(block)] = (people_share, judge_share)
    return shares


@dataclass(frozen=True, slots=True)
class PlayedLines:
    """How many blocks have rated lines in all arms of a contrast, and how the judge did there.

    `tuning` is the weight of the judge's numbers, from 0 (the people's alone) to 1.
    """

    blocks: int
    people: float
    judge: float
    tuning: float


def powered_contrast(
    values: Values,
    weights: Mapping[str, float],
    rated: RatedLines,
    *,
    name: str,
    seed: int,
    level: float = LEVEL,
) -> tuple[Contrast, PlayedLines]:
    """Return a contrast of shares that a judge called, corrected by the people's verdicts.

    With J a block's contrast by the judge, over all N blocks, and over the n blocks with rated
    lines H and j, the contrasts of those lines by people and by the judge, the estimate is
    t·mean(J) + mean(H − t·j). The tuning t is the one with the least variance (Angelopoulos,
    Duchi & Zrnic 2023, arXiv:2311.01453). The unit is the block, and the interval Student's t with
    n − 1 degrees of freedom. p is the larger one of that t's and of the sign flips of H − t·j + t·J
    over the rated blocks. NaN for fewer than FEWEST_BLOCKS rated blocks.
    """
    table, dropped = complete(values, weights)
    used = {cell: w for cell, w in weights.items() if w}
    judged = table @ np.array(list(used.values()))
    blocks = sorted({b for cell in used for b in values.get(cell, {})} - set(dropped))
    places = {block: i for i, block in enumerate(blocks)}
    shared = [block for block in blocks if all(block in rated.get(cell, {}) for cell in used)]
    n = len(shared)
    people, seen = (
        np.array([sum(w * rated[cell][block][k] for cell, w in used.items()) for block in shared])
        for k in (0, 1)
    )
    if n < FEWEST_BLOCKS:
        why = f"{n} blocks have lines that people rated in every arm; {FEWEST_BLOCKS} are needed"
        nothing = Estimate.unknown(why, n=n, unit="blocks", level=level)
        lines = PlayedLines(n, math.nan, math.nan, math.nan)
        return Contrast(name, nothing, math.nan, n, dropped, math.nan, planned=True), lines
    where = np.array([places[block] for block in shared])
    errors = [_error(judged, people - t * seen, where, t) for t in _TUNINGS]
    best = int(np.argmin(errors))
    tuning, error = float(_TUNINGS[best]), errors[best]
    value = float(tuning * judged.mean() + (people - tuning * seen).mean())
    whole = people - tuning * seen + tuning * judged[where]
    flips = float(sign_flip(whole[None, :], seed=seed_of("people", seed, name))[0])
    estimate, p = _by_t(value, error, n, level)
    made = Contrast(
        name=name,
        estimate=estimate,
        p=max(p, flips) if not math.isnan(p) else flips,
        blocks=n,
        dropped=dropped,
        sd=error * math.sqrt(n),
        planned=True,
    )
    return made, PlayedLines(n, float(people.mean()), float(seen.mean()), tuning)


def _by_t(value: float, error: float, n: int, level: float) -> tuple[Estimate, float]:
    if not error:
        why = "all rated blocks alike"
        return Estimate(value, math.nan, math.nan, level, n, "blocks", why), math.nan
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(value) / error, n - 1))
    return Estimate(value, value - half, value + half, level, n, "blocks"), p


def _error(judged: Floats, rest: Floats, where: Floats, tuning: float) -> float:
    """Return the standard error of t·mean(J) + mean(H − t·j), clustered by block."""
    n = len(rest)
    moved = tuning * (judged - judged.mean()) / len(judged)
    moved[where] += (rest - rest.mean()) / n
    return float(math.sqrt((moved**2).sum() * n / (n - 1)))
