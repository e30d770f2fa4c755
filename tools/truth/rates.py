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
    PLACEBO,
    SAME,
    TOLD,
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
            found = getattr(cell.chain, name)
            covered[name].append((group, found.low <= truth <= found.high))
            means[name].append((group, found.value))
    called = {"alpha": "α", "beta": "β", "opposite_share": "π"}
    return [
        *(
            figure(f"interval of {called[name]} covers {truths[name]:.4f}", found, 0.93, 0.97)
            for name, found in covered.items()
        ),
        *(
            figure(
                f"mean {called[name]}̂: truth {truth:.4f}", means[name], 0.97 * truth, 1.03 * truth
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
    plan: Plan, found: Frame, size: int, *, groups: int, deals: int, seed: int
) -> list[tuple[int, float]]:
    """Deal the units into studies; return whether each rejects any of the planned contrasts.

    The first study goes through `compare_sides`. For all others what that does is done here, but
    for
    making each block's numbers anew from the units, which takes most of the time.
    """
    values = by_cell(found)
    weighed = {c.name: cell_weights(found, c.plus, c.minus) for c in plan.contrasts}
    blocks, results = sorted(found["block"].unique()), []
    dealt = deal(blocks, size, groups=groups, deals=deals, seed=seed)
    for k, (group, names) in enumerate(dealt):
        own = {cell: {b: of[b] for b in names if b in of} for cell, of in values.items()}
        here = seed_of("test", seed, k)
        made = [
            contrast(own, weighed[c.name], name=c.name, seed=here, planned=True)
            for c in plan.contrasts
        ]
        if not k:
            part = found[found["block"].isin(names)]
            whole = [
                compare_sides(c.name, c.plus, c.minus, plan.outcome, part, here)
                for c in plan.contrasts
            ]
            if whole != made:
                raise RuntimeError("what is tested here is not what a report tests")
        results.append((group, float(any(c.rejected for c in holm(made, plan.alpha)))))
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
        found = rejections(
            settled,
            outcome_units(settled.outcome, played.given),
            size,
            groups=groups,
            deals=deals,
            seed=seed,
        )
        seen = intraclass(sequences(played.given, "sign"))
        figures.append(figure(f"rejects, ICC {icc:g} (played: {seen:.2f})", found, 0.03, 0.07))
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
    given = outcome_units(settled.outcome, played.given)
    once = rejections(settled, given, size, groups=1, deals=1, seed=seed)
    again = rejections(settled, given, size, groups=groups, deals=deals, seed=seed)
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
    found: dict[int, list[float]] = {size: [] for size in POWER}
    for k in range(pools):
        one = seed_of("power", seed, k)
        wanted = study("power", one, puppet, 8, 1, {"none": SAME, "brief": BRIEF}, plan)
        (row,) = powers(wanted, rehearse(wanted, blocks=blocks), tuple(POWER), seed=one)
        for told in row.sizes:
            found[told.n].append(told.power.value)
    return [averaged(f"power, {n} blocks", found[n], *band) for n, band in POWER.items()]


# -- 5 ------------------------------------------------------------------------------------------

DRIFT = {"alpha": 0.08, "beta": 0.5, "drift": 0.12, "spread": 1.0}
LATE = 4
"""The first turn of the slope: before it scenes are still leaving the pole that they begin at."""


def marginal(puppet: dict[str, float], turns: int) -> tuple[Array, Array]:
    """Return P(pole) at each turn and P(pole at both) for each two, over the puppets' logits."""
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
    """Return what GEE with an exchangeable correlation converges to: the root of D'V⁻¹(E[y] − μ),
    with the correlation that residuals then have."""
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
        found, covered = [], []
        for _, blocks in deal(played.blocks, size, groups=1, deals=1, seed=seed):
            given = played.study(blocks)
            ((_, told),) = drift_slopes(
                outcome, turn_grids(outcome, given, outcome_units(outcome, given))
            )
            found.append(told.value)
            covered.append(told.low <= truth <= told.high)
        room = max(0.05 * abs(truth), 0.005)
        what = f"mean slope, drift {name}: truth {truth:.4f}"
        figures.append(averaged(what, found, truth - room, truth + room))
        figures.append(averaged(f"its interval covers, drift {name}", covered, *TOLD))
    return figures


CHECKS = [
    Check(
        1,
        "Chain recovery",
        "α .10, β .30, 100 scenes × 20 turns, scene SD 1 on the logit of α",
        "One puppet alone on the stage says 20 lines a scene. Each study is 100 scenes; its chain "
        "is fitted and its scenes are resampled by `trajectories.cell_chains`. Scenes differ in "
        "α, so "
        "that the estimand is the pooled ratio E[n01]/E[n0·], had by Gauss–Hermite quadrature of "
        "the declared process; β is .3 in all. The pool is dealt into studies several times over.",
        "Intervals that are too short (scenes counted as if they were alike, or turns as if they "
        "were independent) fall below the band, and every interval on an α or β in a report is "
        "then wrong.",
        chain,
        {"studies": 200, "groups": 20, "deals": 4},
        {"studies": 40, "groups": 10, "deals": 8},
        {"studies": 16, "groups": 4, "deals": 5, "scenes": 30, "turns": 10},
    ),
    Check(
        3,
        "False alarms of the primary test",
        "two arms that differ by a text no puppet listens to; lines of a scene correlate by .1, "
        ".3, .5",
        "Both arms have the same puppet, 40 blocks each, ten lines a scene; the planned contrast "
        "goes through `outcome_units` and `compare_sides` as in a report. The correlation comes "
        "of a spread of "
        "α and of a chain that stays where it is; the one measured on what was played is given.",
        "Above the band the test takes turns for units, and finds effects in nothing; below it "
        "the test wastes scenes.",
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
        "A power that is promised and not there makes studies too small; the contrast loses "
        "blocks or pairs them wrongly.",
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
        "averaged over "
        "studies of 100 scenes. The truth is marginal: the root of the population's estimating "
        "equation, with the mean and the covariances of lines by quadrature.",
        "A slope off the band is biased (a conditional slope, say, would be steeper), and one "
        "where none was planted is an artefact of the turn.",
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
        "that share no scene: how many reject anything. The same scenes dealt into 2,000 studies "
        "give the rate with a smaller error.",
        "Above the band the instrument finds effects of nothing, whatever else it finds.",
        placebo,
        {"studies": 400, "groups": 20, "deals": 5},
        {"studies": 80, "groups": 8, "deals": 20},
        {"studies": 18, "groups": 6, "deals": 20, "size": 10},
    ),
]
