"""Checks of how often a character breaks: chains, false alarms, power, drift, placebos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from improv.analysis.compare import compare_sides
from improv.analysis.stats.contrast import contrast, holm
from improv.analysis.trajectories import cell_chains, drift_slopes, turn_grids
from improv.analysis.units import Frame, by_cell, cell_weights, outcome_units, sequences
from improv.records import seed_of
from improv.runner.power import powers, rehearse
from improv.study.plan import Outcome, Plan
from tools.truth.planting import (
    BRIEF,
    NO_BAND,
    PLACEBO,
    SAME,
    Check,
    Figure,
    averaged,
    deal,
    figure,
    planned,
    pool,
    study,
)

Array = Any
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

# -- 1 ------------------------------------------------------------------------------------------

CHAIN = {"alpha": 0.1, "beta": 0.3, "spread": 1.0}


def pooled_alpha(turns: int) -> float:
    """Return E[n01]/E[n0·] of scenes that begin at the pole, over the puppets' normal logits."""
    alpha = expit(logit(CHAIN["alpha"]) + CHAIN["spread"] * NODES)
    opposite, left, stayed = alpha, 0.0, 0.0
    for _ in range(turns - 1):
        stayed += float(WEIGHTS @ (1 - opposite))
        left += float(WEIGHTS @ ((1 - opposite) * alpha))
        opposite = opposite * (1 - CHAIN["beta"]) + (1 - opposite) * alpha
    return left / stayed


def chain(
    seed: int,
    root: Path,
    *,
    studies: int,
    groups: int,
    deals: int,
    scenes: int = 100,
    turns: int = 20,
) -> list[Figure]:
    def make(one: int, many: int) -> Any:
        return study("chain", one, CHAIN, turns, many)

    played = pool(make, studies * scenes, seed, root)
    alpha, beta = pooled_alpha(turns), CHAIN["beta"]
    truths = {"alpha": alpha, "beta": beta, "opposite_share": alpha / (alpha + beta)}
    covered: dict[str, list[tuple[int, float]]] = {name: [] for name in truths}
    means: dict[str, list[tuple[int, float]]] = {name: [] for name in truths}
    dealt = deal(played.blocks, scenes, groups=groups, deals=deals, seed=seed)
    for k, (group, blocks) in enumerate(dealt):
        (cell,) = cell_chains(Outcome(), played.study(blocks), seed_of("fit", seed, k))
        for name, truth in truths.items():
            estimate = getattr(cell.chain, name)
            covered[name].append((group, estimate.low <= truth <= estimate.high))
            means[name].append((group, estimate.value))
    letters = {"alpha": "α", "beta": "β", "opposite_share": "π"}
    return [
        *(
            figure(f"interval of {letters[name]} covers {truths[name]:.4f}", pairs, 0.93, 0.97)
            for name, pairs in covered.items()
        ),
        *(
            figure(
                f"mean {letters[name]}̂: truth {truth:.4f}", means[name], 0.97 * truth, 1.03 * truth
            )
            for name, truth in truths.items()
        ),
    ]


# -- 3, 10 --------------------------------------------------------------------------------------

ALIKE = {
    0.1: {"alpha": 0.3, "beta": 0.5, "spread": 0.8},
    0.3: {"alpha": 0.2, "beta": 0.3, "spread": 1.5},
    0.5: {"alpha": 0.12, "beta": 0.15, "spread": 2.0},
}
"""ICC of ten lines of a scene → the puppet that has it, by simulation of the process alone."""


def intraclass(frame: Frame) -> float:
    """Return the ANOVA estimate of the correlation of two lines of one scene."""
    lines = 1 - np.array(frame["values"].tolist())
    n, turns = lines.shape
    means = lines.mean(axis=1)
    between = turns * means.var(ddof=1)
    within = ((lines - means[:, None]) ** 2).sum() / (n * (turns - 1))
    return float((between - within) / (between + (turns - 1) * within))


def rejections(
    plan: Plan, units: Frame, size: int, *, groups: int, deals: int, seed: int
) -> list[tuple[int, float]]:
    """Deal the units into studies; return whether each rejects any of the planned contrasts.

    The first study goes through `compare_sides`, and has to give the same contrasts. The other
    studies are tested by the same functions, but each block's numbers are made only once, because
    that takes most of the time.
    """
    values = by_cell(units)
    weighed = {c.name: cell_weights(units, c.plus, c.minus) for c in plan.contrasts}
    blocks, results = sorted(units["block"].unique()), []
    dealt = deal(blocks, size, groups=groups, deals=deals, seed=seed)
    for k, (group, names) in enumerate(dealt):
        own = {
            cell: {b: by_block[b] for b in names if b in by_block}
            for cell, by_block in values.items()
        }
        test_seed = seed_of("test", seed, k)
        contrasts = [
            contrast(own, weighed[c.name], name=c.name, seed=test_seed, planned=True)
            for c in plan.contrasts
        ]
        if not k:
            part = units[units["block"].isin(names)]
            reported = [
                compare_sides(c.name, c.plus, c.minus, plan.outcome, part, test_seed)
                for c in plan.contrasts
            ]
            if reported != contrasts:
                raise RuntimeError("this test differs from the test of a report")
        results.append((group, float(any(c.rejected for c in holm(contrasts, plan.alpha)))))
    return results


def false_alarms(
    seed: int, root: Path, *, studies: int, groups: int, deals: int, size: int = 40
) -> list[Figure]:
    turns = 10
    plan = planned(("brief", "none"), blocks=size)
    figures = []
    for icc, puppet in ALIKE.items():

        def make(one: int, many: int, puppet: Any = puppet) -> Any:
            return study("alike", one, puppet, turns, many, {"none": SAME, "brief": BRIEF}, plan)

        played = pool(make, studies * size, seed, root)
        settled = Plan.model_validate(plan)
        rejected = rejections(
            settled,
            outcome_units(settled.outcome, played.tables),
            size,
            groups=groups,
            deals=deals,
            seed=seed,
        )
        seen = intraclass(sequences(played.tables, "sign"))
        figures.append(figure(f"rejects, ICC {icc:g} (played: {seen:.2f})", rejected, 0.03, 0.07))
    return figures


def placebo(
    seed: int, root: Path, *, studies: int, groups: int, deals: int, size: int = 40
) -> list[Figure]:
    turns = 10
    plan = planned(("brief", "none"), ("brief", "placebo"), blocks=size)
    arms = {"none": SAME, "brief": BRIEF, "placebo": PLACEBO}

    def make(one: int, many: int) -> Any:
        return study("placebo", one, CHAIN, turns, many, arms, plan)

    played = pool(make, studies * size, seed, root)
    settled = Plan.model_validate(plan)
    units = outcome_units(settled.outcome, played.tables)
    once = rejections(settled, units, size, groups=1, deals=1, seed=seed)
    again = rejections(settled, units, size, groups=groups, deals=deals, seed=seed)
    return [
        averaged(
            "rejects any of two, Holm, each scene in one study", [r for _, r in once], 0.03, 0.07
        ),
        figure("the same, scenes dealt several times over", again, 0.03, 0.07),
    ]


# -- 4 ------------------------------------------------------------------------------------------

POWER = {40: (0.57, 0.67), 80: (0.86, 0.94), 120: (0.94, 0.99)}


def power(seed: int, root: Path, *, pools: int, blocks: int) -> list[Figure]:
    brief = BRIEF["author"]["frame"]
    puppet = {"alpha": 0.3, "beta": 0.7, "spread": 0.43, "effects": {brief: -0.6}}
    plan = planned(("brief", "none"), blocks=blocks)
    by_size: dict[int, list[float]] = {size: [] for size in POWER}
    for k in range(pools):
        pool_seed = seed_of("power", seed, k)
        framed = study("power", pool_seed, puppet, 8, 1, {"none": SAME, "brief": BRIEF}, plan)
        (row,) = powers(framed, rehearse(framed, blocks=blocks), tuple(POWER), seed=pool_seed)
        for at_size in row.sizes:
            by_size[at_size.n].append(at_size.power.value)
    return [averaged(f"power, {n} blocks", by_size[n], *band) for n, band in POWER.items()]


# -- 5 ------------------------------------------------------------------------------------------

DRIFT = {"alpha": 0.08, "beta": 0.5, "drift": 0.12, "spread": 1.0}
LATE = 4
"""The first turn of the slope. Before it, scenes are still leaving the pole that they begin at."""


def marginal(puppet: dict[str, float], turns: int) -> tuple[Array, Array]:
    """Return P(pole) at each turn (turns,) and P(pole at both) for each two turns (turns, turns).

    The mean over the puppets' logits is taken by quadrature.
    """
    steps = [
        expit(logit(puppet["alpha"]) + puppet["drift"] * t + puppet["spread"] * NODES)
        for t in range(turns)
    ]
    leave = puppet["beta"]

    def onward(opposite: Array, t: int) -> Array:
        return opposite * (1 - leave) + (1 - opposite) * steps[t]

    at = [steps[0]]
    for t in range(1, turns):
        at.append(onward(at[-1], t))
    both = np.empty((turns, turns))
    for s in range(turns):
        later = np.zeros_like(NODES)  # at the pole at turn s
        both[s, s] = WEIGHTS @ (1 - at[s])
        for t in range(s + 1, turns):
            later = onward(later, t)
            both[s, t] = both[t, s] = WEIGHTS @ ((1 - at[s]) * (1 - later))
    return np.array([WEIGHTS @ (1 - p) for p in at]), both


def marginal_slope(puppet: dict[str, float], turns: int) -> float:
    """Return the slope to which GEE with an exchangeable correlation converges.

    It is the root of D'V⁻¹(E[y] − μ), with the correlation of the residuals at that root.
    """
    mean, both = marginal(puppet, turns)
    mean, both = mean[LATE - 1 :], both[LATE - 1 :, LATE - 1 :]
    design = np.column_stack([np.ones_like(mean), np.arange(LATE, turns + 1)])
    params, n = np.zeros(2), len(mean)
    for _ in range(100):
        mu = expit(design @ params)
        deviation = np.sqrt(mu * (1 - mu))
        off = both - np.outer(mean, mu) - np.outer(mu, mean) + np.outer(mu, mu)
        off = off / np.outer(deviation, deviation)
        rho = (off.sum() - np.trace(off)) / (n * (n - 1)) / (np.trace(off) / n)
        working = np.full((n, n), rho) + (1 - rho) * np.eye(n)
        d = design * (deviation**2)[:, None]
        weighed = np.linalg.solve(working * np.outer(deviation, deviation), d)
        step = np.linalg.solve(d.T @ weighed, weighed.T @ (mean - mu))
        params = params + step
        if np.abs(step).max() < 1e-12:
            break
    return float(params[1])


def drift(seed: int, root: Path, *, studies: int, size: int = 100) -> list[Figure]:
    turns = 14
    figures = []
    for name, puppet in (("planted", DRIFT), ("none", DRIFT | {"drift": 0.0})):

        def make(one: int, many: int, puppet: Any = puppet) -> Any:
            return study("drift", one, puppet, turns, many)

        played = pool(make, studies * size, seed, root)
        truth = marginal_slope(puppet, turns)
        outcome = Outcome(first=LATE)
        slopes, covered = [], []
        for _, blocks in deal(played.blocks, size, groups=1, deals=1, seed=seed):
            tables = played.study(blocks)
            ((_, slope),) = drift_slopes(
                outcome, turn_grids(outcome, tables, outcome_units(outcome, tables))
            )
            slopes.append(slope.value)
            covered.append(slope.low <= truth <= slope.high)
        room = max(0.05 * abs(truth), 0.005)
        what = f"mean slope, drift {name}: truth {truth:.4f}"
        figures.append(averaged(what, slopes, truth - room, truth + room))
        figures.append(averaged(f"its interval covers, drift {name}", covered, *NO_BAND))
    return figures


CHECKS = [
    Check(
        1,
        "Chain recovery",
        "α .10, β .30, 100 scenes × 20 turns, scene SD 1 on the logit of α",
        "One puppet alone on the stage says 20 lines a scene. Each study is 100 scenes; its chain "
        "is fitted and its scenes are resampled by `trajectories.cell_chains`. Scenes differ in "
        "α, so the estimand is the pooled ratio E[n01]/E[n0·], which Gauss–Hermite quadrature of "
        "the declared process gives; β is .3 in all. The pool is dealt into studies several times.",
        "If intervals are too short (scenes are taken to be alike, or turns to be independent), "
        "coverage falls below the band, and every interval of an α or β in a report is wrong.",
        chain,
        {"studies": 200, "groups": 20, "deals": 4},
        {"studies": 40, "groups": 10, "deals": 8},
        {"studies": 16, "groups": 4, "deals": 5, "scenes": 30, "turns": 10},
    ),
    Check(
        3,
        "False alarms of the primary test",
        "two arms that differ by a text that no puppet reacts to; lines of a scene correlate by "
        ".1, .3, .5",
        "Both arms have the same puppet, 40 blocks each, ten lines a scene; the planned contrast "
        "goes through `outcome_units` and `compare_sides` as in a report. The correlation comes "
        "from the spread of α and from a chain that stays where it is. It is measured on the "
        "played scenes.",
        "Above the band the test takes turns for units, and finds effects where there are none; "
        "below it the test wastes scenes.",
        false_alarms,
        {"studies": 120, "groups": 12, "deals": 20},
        {"studies": 40, "groups": 8, "deals": 30},
        {"studies": 16, "groups": 4, "deals": 20, "size": 10},
    ),
    Check(
        4,
        "Power",
        "an effect of −.6 on the logit of α (α .3, β .7, scene SD .43, 8 lines): by simulation of "
        "the process alone .36 standard deviations of a block's difference",
        "`rehearse` plays pools of blocks and `powers` draws studies from them, as `improv power` "
        "does. The error is between pools.",
        "If the estimated power is too high, studies are planned too small. If the power is below "
        "its band, the contrast loses blocks or pairs them wrongly.",
        power,
        {"pools": 8, "blocks": 1000},
        {"pools": 4, "blocks": 600},
        {"pools": 3, "blocks": 120},
    ),
    Check(
        5,
        "Drift",
        "+.12 on the logit of α with every line (and none), scene SD 1",
        "The slope of consistency on turns 4 to 14 by GEE, from `trajectories.drift_slopes`, "
        "averaged over studies of 100 scenes. The true slope is marginal: the root of the "
        "population's estimating equation, with the mean and the covariances of lines by "
        "quadrature.",
        "A slope outside the band is biased (a conditional slope, for example, is steeper). A "
        "slope without planted drift is an artefact of the turn.",
        drift,
        {"studies": 60},
        {"studies": 15},
        {"studies": 3, "size": 60},
    ),
    Check(
        10,
        "Placebo study",
        "three arms that are all the same puppet",
        "Two planned contrasts with Holm's correction, 40 blocks of ten lines, 400 repetitions "
        "that share no scene. The figure is the share of repetitions that reject a contrast. The "
        "same scenes, dealt into 2,000 studies, give the rate with a smaller error.",
        "Above the band improv finds effects where there are none.",
        placebo,
        {"studies": 400, "groups": 20, "deals": 5},
        {"studies": 80, "groups": 8, "deals": 20},
        {"studies": 18, "groups": 6, "deals": 20, "size": 10},
    ),
]
