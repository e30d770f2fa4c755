"""How much of a plan is there, and what may be decided by now. Pure.

Without `looks` in its plan, a study decides nothing before all planned blocks are there. With them,
its contrasts are tested at each planned look, on the first blocks in the order of play, by the
alpha spending of `stats.sequential`. Blocks count as they are planned: one that is missing, for
whatever reason, ends what can be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.stats.contrast import Contrast, complete, holm
from improv.analysis.stats.interval import Floats
from improv.analysis.stats.sequential import Looks, normal_boundary, repeated
from improv.analysis.stats.survival import Spell, restricted_times
from improv.analysis.trajectories import unbroken_spells
from improv.analysis.units import (
    Frame,
    Tables,
    by_cell,
    cell_weights,
    matching_units,
    outcome_units,
)
from improv.records import MAIN, seed_of
from improv.study.plan import ContrastSpec, Outcome, Plan
from improv.study.trial import PlannedBlock

_TOO_EARLY = 1e-12
"""The level of a test at a look that spends no α."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many of the planned blocks are there.

    `there` counts whole blocks, and `first` those before the first gap in the order of play.
    `looks` are the planned looks that were reached (in blocks); without `looks` in the plan, the
    only look is at all blocks. `planned_looks` has all of them.
    """

    planned: int
    there: int
    first: int
    looks: tuple[int, ...]
    planned_looks: tuple[int, ...]
    sequential: bool

    @property
    def is_whole(self) -> bool:
        return self.first >= self.planned

    @property
    def decides_by_looks(self) -> bool:
        """Whether a look was reached that the plan declares."""
        return self.sequential and bool(self.looks)

    @property
    def sentence(self) -> str:
        """What the study's looks are, and which one this is; "" for a plan without looks."""
        if not self.decides_by_looks:
            return ""
        return (
            f"Look {len(self.looks)} of {len(self.planned_looks)} planned ones, at {self.look:,} "
            f"of {self.planned:,} planned blocks. The p are those of alpha spending (Lan and "
            "DeMets, like O'Brien and Fleming), and the intervals are repeated confidence "
            "intervals: both hold whichever look ends the study. The estimates themselves are, on "
            "average, somewhat too far from zero if a study ends early."
        )

    @property
    def look(self) -> int:
        """The blocks of the last look that was reached, 0 before the first."""
        return self.looks[-1] if self.looks else 0

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(n / self.planned for n in self.looks)


def standing(plan: Plan, tables: Tables, *, judged: bool = False) -> Standing:
    """Return how much of a plan is there. Rates that are corrected for a judge's errors have no
    looks: verdicts come when all is played."""
    order = _order(tables)[: plan.blocks]
    played = _played(tables)
    whole = [block.conditions <= played.get(block.name, frozenset()) for block in order]
    first = next((i for i, is_there in enumerate(whole) if not is_there), len(whole))
    sequential = plan.looks is not None and not judged
    planned = [plan.blocks]
    if plan.looks is not None and not judged:
        planned = plan.looks.blocks(plan.blocks)
    return Standing(
        planned=plan.blocks,
        there=sum(whole),
        first=first,
        looks=tuple(n for n in planned if n <= first),
        planned_looks=tuple(planned),
        sequential=sequential,
    )


def at_look(tables: Tables, blocks: int) -> Tables:
    """Return the tables of the first planned blocks alone."""
    names = {block.name for block in _order(tables)[:blocks]}
    trials = tables.trials[tables.trials["block"].isin(names)].reset_index(drop=True)
    return replace(tables, trials=trials, _kept={})


def spend(
    plan: Plan,
    outcome: Outcome,
    tables: Tables,
    findings: Sequence[Contrast],
    reached: Standing,
    seed: int,
) -> list[Contrast]:
    """Return planned contrasts, as found at the last look, with the p and the intervals of a plan
    that has looks: both hold whenever somebody looks and stops."""
    units = outcome_units(outcome, tables, arms=plan.of_arms)
    order = [block.name for block in _order(tables)[: reached.look]]
    spent = []
    for spec, found in zip(plan.contrasts, findings, strict=True):
        if math.isnan(found.p):
            spent.append(found)
            continue
        parts = list(_differences(spec, outcome, units, order, reached.looks))
        looks = Looks.of(parts, reached.shares, seed=seed_of("looks", seed, spec.name))
        paired = outcome.unit == "block" or outcome.of == "time"
        spent.append(
            replace(
                found,
                p=looks.p,
                estimate=repeated(
                    found.estimate, reached.shares, units=found.blocks if paired else 0
                ),
            )
        )
    return holm(spent, plan.alpha)


def with_spent_alpha(plan: Plan, reached: Standing) -> Plan:
    """Return the plan for its controls at the last look: with the level of each one-sided test of
    sameness at which all looks together keep the plan's α."""
    if not reached.decides_by_looks:
        return plan
    shares = tuple(round(share, 9) for share in reached.shares)
    critical = normal_boundary(shares, round(2 * plan.alpha, 9))[-1]
    alpha = float(stats.norm.sf(critical)) if math.isfinite(critical) else _TOO_EARLY
    return plan.model_copy(update={"alpha": alpha})


def look_doubts(reached: Standing | None, findings: Sequence[Contrast]) -> Iterator[Doubt]:
    """Yield what the blocks that are missing have against a decision."""
    if reached is None or reached.is_whole or not findings:
        return
    gone = ""
    if reached.there > reached.first:
        gone = f", and only the first {reached.first:,} of them without a gap"
    if not reached.decides_by_looks:
        first = f" The first planned look is at {reached.planned_looks[0]:,} blocks."
        yield Doubt(
            DoubtKind.PARTIAL,
            f"{reached.there:,} of {reached.planned:,} planned blocks are there{gone}; a part of a "
            f"study decides nothing, and no p is given.{first if reached.sequential else ''}",
        )
        return
    for c in findings:
        if not c.rejected:
            yield Doubt(
                DoubtKind.MORE_LOOKS,
                f"{reached.look:,} of {reached.planned:,} planned blocks were looked at{gone}, and "
                "at this look it is open.",
                contrast=c.name,
            )


def _differences(
    spec: ContrastSpec,
    outcome: Outcome,
    units: Frame,
    order: Sequence[str],
    looks: Sequence[int],
) -> Iterator[Floats]:
    """Yield for each look the number of each block whose sign is as likely as the other, if the
    conditions do not matter. A block without one has 0."""
    if outcome.unit == "block" and outcome.of != "time":
        values = by_cell(units)
        weights = cell_weights(units, spec.plus, spec.minus)
        table, dropped = complete(values, weights)
        names = sorted({b for cell in weights for b in values.get(cell, {})} - set(dropped))
        sums = table @ np.array([w for w in weights.values() if w])
        known = dict(zip(names, sums.tolist(), strict=True))
        whole = np.array([known.get(block, 0.0) for block in order])
        yield from (whole[:n] for n in looks)
        return
    place = {block: i for i, block in enumerate(order)}
    if outcome.of == "time":
        spells = [
            spell
            for where, name in ((spec.plus[0], "plus"), (spec.minus[0], "minus"))
            for spell in unbroken_spells(matching_units(units, where), name)
            if spell.block in place
        ]
        for n in looks:
            yield _longer([spell for spell in spells if place[spell.block] < n], order[:n])
        return
    sides = []
    for where, sign in ((spec.plus[0], 1.0), (spec.minus[0], -1.0)):
        part = matching_units(units, where)
        part = part[part["value"].notna() & part["block"].isin(place)]
        at = part["block"].map(place).to_numpy(dtype=np.int64)
        values = part["value"].to_numpy(dtype=float)
        sides.append(np.column_stack([at, values, np.full(len(part), sign)]))
    at, value, sign = np.concatenate(sides).T
    for n in looks:
        seen = at < n
        far = value[seen] - value[seen].mean() if seen.any() else value[seen]
        yield np.bincount(at[seen].astype(np.int64), far * sign[seen], minlength=n).astype(float)


def _longer(spells: Sequence[Spell], order: Sequence[str]) -> Floats:
    """Return how many turns longer the first side lasts, block by block; 0 where one is missing."""
    times, _ = restricted_times(spells, "plus", "minus")
    both = times["plus"].keys() & times["minus"].keys()
    return np.array([times["plus"][b] - times["minus"][b] if b in both else 0.0 for b in order])


def _played(tables: Tables) -> dict[str, frozenset[str]]:
    """Return the conditions of each block that were played to an end, or failed."""
    main = tables.trials[tables.trials["branch"] == MAIN]
    grouped = main.groupby("block", sort=False)["condition"]
    return {str(block): frozenset(names) for block, names in grouped}


def _order(tables: Tables) -> Sequence[PlannedBlock]:
    """Return the planned blocks in the order of play. Where nobody says them, those that are there
    count, each with the conditions of the fullest block."""
    if tables.blocks:
        return tables.blocks
    main = tables.trials[tables.trials["branch"] == MAIN]
    played = _played(tables)
    fullest = max(played.values(), key=len, default=frozenset())
    names = main.sort_values("index")["block"] if "index" in main else main["block"]
    return [PlannedBlock(str(name), fullest, 0) for name in names.unique()]
