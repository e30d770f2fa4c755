"""Lines of other characters, put in a character's place: do they do as well, and do they change as
much from arm to arm?

A sign that says something about a character must tell its lines from those of the others in the
same scene. What an arm does to everybody's lines alike (milder words, say) is no finding about a
character. So each planned contrast on signs or habits is also computed on the others' lines, as if
the character had spoken them, and is shown only if its own lines change by more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.speech import PredicateKey
from improv.analysis.stats.contrast import Contrast, contrast
from improv.analysis.stats.interval import Estimate
from improv.analysis.units import Frame, Tables, by_cell, cell_weights, outcome_scores
from improv.records import MAIN, seed_of
from improv.storage.run_folder import RunFolder
from improv.study.plan import ContrastSpec, Outcome, Plan
from improv.study.predicate import is_unreadable, satisfies
from improv.study.scene import EVERYBODY, Predicate

_FAMILIES = ("sign", "habit")
"""Measures that are about one character; a rule may bind everybody."""
_MOST_LINES = 40_000
"""The most lines that are read again. Of larger runs, whole blocks are read until that many."""


@dataclass(frozen=True, slots=True)
class SignCheck:
    """How often a sign is broken by a character's own lines, and how often the lines of the others
    in the scene would break it. `apart` is the others' share less its own; a block is one unit."""

    scene: str
    character: str
    measure: str
    own: float
    others: float
    apart: Estimate

    @property
    def tells_apart(self) -> bool:
        return self.apart.low > 0


@dataclass(frozen=True, slots=True)
class BorrowedCheck:
    """A planned contrast on own lines, on the others' lines in their place, and the difference of
    the two with its p. `holds` says whether own lines change by more, in the same direction."""

    contrast: str
    own: Estimate
    others: Estimate
    apart: Estimate
    p: float
    holds: bool


@dataclass(frozen=True)
class Borrowed:
    """The check of each sign and of each planned contrast. `reason` says why there is none."""

    signs: tuple[SignCheck, ...] = ()
    contrasts: tuple[BorrowedCheck, ...] = ()
    reason: str = ""


PUPPETS = "All characters of a puppet say the same sentences: their lines cannot tell them apart."


def read_borrowed(
    folder: RunFolder,
    outcome: Outcome,
    tables: Tables,
    predicates: Mapping[PredicateKey, Predicate],
) -> Frame:
    """Return for each trial and predicate how many readable lines of others there are, and how many
    of them would break it: trial, scene, character, measure, lines, broken. Raises RunError."""
    family = outcome.measure.partition(":")[0]
    wanted: dict[str, list[tuple[PredicateKey, Predicate]]] = defaultdict(list)
    if family in _FAMILIES:
        for key, predicate in predicates.items():
            named = key[2] == outcome.measure or outcome.measure == family
            mine = outcome.of_whom in (EVERYBODY, key[1])
            if key[2].startswith(f"{family}:") and named and mine:
                wanted[key[0]].append((key, predicate))
    shared = {
        (slug, measure): _speakers(predicates, slug, measure) for slug, _, measure in predicates
    }
    mains = tables.trials[(tables.trials["branch"] == MAIN) & (tables.trials["status"] == "done")]
    scenes = dict(zip(mains["trial"], mains["scene"], strict=True))
    chosen = _chosen(mains)
    counts: dict[tuple[str, PredicateKey], list[int]] = defaultdict(lambda: [0, 0])
    columns = ["trial", "branch", "kind", "speaker", "text"]
    for piece in folder.tables.read_batches("turns", columns) if wanted else ():
        for row in piece.to_pylist():
            if row["kind"] != "line" or row["branch"] != MAIN or row["trial"] not in chosen:
                continue
            scene = scenes[row["trial"]]
            readable = None
            for key, predicate in wanted.get(scene, ()):
                if row["speaker"] in shared[scene, key[2]]:
                    continue
                if readable is None:
                    readable = not is_unreadable(row["text"])
                if readable:
                    count = counts[row["trial"], key]
                    count[0] += 1
                    count[1] += not satisfies(predicate, row["text"])
    rows = [(trial, *key, n, broken) for (trial, key), (n, broken) in counts.items()]
    names = ["trial", "scene", "character", "measure", "lines", "broken"]
    return pd.DataFrame(rows, columns=names)


def _speakers(predicates: Mapping[PredicateKey, Predicate], slug: str, measure: str) -> set[str]:
    """Return the characters of a scene who have that very trait or habit: they are no others."""
    return {who for scene, who, name in predicates if (scene, name) == (slug, measure)}


def _chosen(mains: Frame) -> set[str]:
    """Return the trials whose lines are read: those of whole blocks, the first ones of each scene,
    until there are enough lines."""
    lines = mains.groupby("block")["turns"].sum()
    first = lines.index[lines.cumsum() - lines < _MOST_LINES] if lines.sum() else lines.index
    if lines.sum() > _MOST_LINES:
        # Names of blocks begin with their scene: every k-th block is of every scene.
        step = math.ceil(lines.sum() / _MOST_LINES)
        first = lines.index[::step]
    return set(mains["trial"][mains["block"].isin(first)])


def check_borrowed(
    plan: Plan | None,
    outcome: Outcome,
    units: Frame,
    tables: Tables,
    borrowed: Frame | None,
    findings: Sequence[Contrast],
    seed: int,
) -> Borrowed:
    """Compare own lines with the others' lines in their place."""
    if outcome.measure.partition(":")[0] not in _FAMILIES:
        return Borrowed(reason="The outcome is not a sign or a habit of one character.")
    if borrowed is None:
        return Borrowed(reason=PUPPETS)
    if not len(borrowed):
        return Borrowed(
            reason="No other character speaks in the scenes: there is nobody to compare."
        )
    mains = tables.trials[tables.trials["branch"] == MAIN]
    places = dict(zip(mains["trial"], mains.index, strict=True))
    # A planned look reads the first blocks alone.
    borrowed = borrowed[borrowed["trial"].isin(list(places))]
    borrowed = borrowed.assign(at=borrowed["trial"].map(places))
    scores = outcome_scores(outcome, tables)
    scores = scores[scores["value"].notna() & scores["at"].isin(borrowed["at"])]
    own = scores.assign(broken=1 - scores["value"].to_numpy(dtype=float))
    keys = ["at", "character", "measure"]
    for name in ("character", "measure"):
        own[name] = own[name].astype(object)
    shares = own.groupby(keys)["broken"].mean().rename("own").reset_index()
    both = borrowed.assign(others=borrowed["broken"] / borrowed["lines"]).merge(shares, on=keys)
    both = both.assign(block=tables.trials["block"].to_numpy()[both["at"].to_numpy()])
    signs = tuple(_sign_checks(both, seed))
    if plan is None or not len(both):
        return Borrowed(signs)
    means = both.groupby("at")[["own", "others"]].mean()
    if plan.of_arms:
        return Borrowed(signs, reason="The plan compares branches, whose other lines are few.")
    checks = tuple(
        _check(spec, units, means, found, plan.alpha, seed)
        for spec, found in zip(plan.contrasts, findings, strict=True)
        if not math.isnan(found.estimate.value)
    )
    return Borrowed(signs, checks)


def borrowed_doubts(findings: Sequence[Contrast], borrowed: Borrowed) -> Iterator[Doubt]:
    """Yield a doubt for each contrast that others' lines in a character's place show as well."""
    rejected = {c.name: c.rejected for c in findings}
    for check in borrowed.contrasts:
        if check.holds or not rejected[check.contrast]:
            continue
        why = (
            f"The lines of other characters, put in a character's place, differ as its own do: "
            f"{check.others.value:.3g} against {check.own.value:.3g}, a difference of "
            f"{check.apart.value:.3g} [{check.apart.low:.3g}, {check.apart.high:.3g}]. What "
            "changes everybody's lines alike is no finding about a character."
        )
        yield Doubt(DoubtKind.SIGN_FAILS, why, contrast=check.contrast)


def _sign_checks(both: Frame, seed: int) -> Iterator[SignCheck]:
    for (scene, who, measure), part in both.groupby(["scene", "character", "measure"], sort=True):
        blocks = (part["others"] - part["own"]).groupby(part["block"]).mean().to_dict()
        name = f"{scene} {who} {measure}"
        apart = contrast({"d": blocks}, {"d": 1.0}, name=name, seed=seed, planned=False, draws=1)
        own, others = float(part["own"].mean()), float(part["others"].mean())
        yield SignCheck(str(scene), str(who), str(measure), own, others, apart.estimate)


def _check(
    spec: ContrastSpec, units: Frame, means: Frame, found: Contrast, alpha: float, seed: int
) -> BorrowedCheck:
    weights = cell_weights(units, spec.plus, spec.minus)
    part = units[units["at"].isin(means.index) & units["value"].notna()]
    where = seed_of("borrowed", seed, spec.name)

    def compared(values: pd.Series) -> Contrast:
        numbers = part.assign(value=part["at"].map(values).to_numpy(dtype=float))
        return contrast(by_cell(numbers), weights, name=spec.name, seed=where, planned=True)

    own, others = compared(means["own"]), compared(means["others"])
    apart = compared(means["own"] - means["others"])
    same = np.sign(apart.estimate.value) == np.sign(own.estimate.value)
    holds = bool(apart.p <= alpha and same)
    return BorrowedCheck(spec.name, own.estimate, others.estimate, apart.estimate, apart.p, holds)
