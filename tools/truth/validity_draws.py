"""The data sets of docs/validity.md: declared processes, and what each data set comes to.

A function yields, for each data set, 1 if the interval covered the truth (or the test rejected), 0
if not, and NaN if a report would give no number. `validity_tests` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from improv.analysis.judge_error import corrected_contrast
from improv.analysis.played_lines import powered_contrast
from improv.analysis.stats.bounded import bounded_mean
from improv.analysis.stats.calibration import Confusion, rogan_gladen
from improv.analysis.stats.chain import fit_transitions
from improv.analysis.stats.contrast import Contrast, contrast, equivalence, unpaired
from improv.analysis.stats.interval import Estimate, Floats
from improv.analysis.stats.phrasing import phrasing_icc
from improv.analysis.stats.rate import cluster_rate
from improv.analysis.stats.survival import Spell, restricted_times

LINES = 10
_DRAWS = 999
"""Random signs of a permutation test: a report draws 5,000."""


def _covers(estimate: Estimate, truth: float) -> float:
    if np.isnan(estimate.low) or np.isnan(estimate.high):
        return float("nan")
    return float(estimate.low - 1e-12 <= truth <= estimate.high + 1e-12)


# -- shares of lines --------------------------------------------------------------------------

SHARES = {
    "usual": "a fifth of the lines broken, intraclass correlation .1",
    "missing": "as usual, and 20% of the lines unreadable",
    "rare": "one line in twenty broken, intraclass correlation .2",
    "two kinds": "a fifth of the lines broken, nearly all of them in some scenes (.5)",
    "ties": "one 0 or 1 a scene, 1 in .3 of them",
}
_RATES = {"usual": (0.2, 0.1), "missing": (0.2, 0.1), "rare": (0.05, 0.2), "two kinds": (0.2, 0.5)}


def _chances(chance: np.random.Generator, rate: float, alike: float, n: int) -> Floats:
    """Return each scene's own rate, Beta with an intraclass correlation."""
    scale = 1 / alike - 1
    return np.asarray(chance.beta(rate * scale, (1 - rate) * scale, size=n), dtype=np.float64)


def _shares(chance: np.random.Generator, shape: str, own: Floats) -> Floats:
    lines = np.full(len(own), LINES)
    if shape == "missing":
        lines = np.maximum(chance.binomial(LINES, 0.8, size=len(own)), 1)
    return np.asarray(chance.binomial(lines, own) / lines, dtype=np.float64)


def _one_arm(chance: np.random.Generator, shape: str, n: int) -> tuple[Floats, float]:
    """Return the shares of one arm, and their true mean."""
    if shape == "ties":
        return (chance.random(n) < 0.3).astype(float), 0.3
    rate, alike = _RATES[shape]
    return _shares(chance, shape, _chances(chance, rate, alike, n)), rate


def arm_mean(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        shares, truth = _one_arm(chance, shape, n)
        table = np.column_stack([shares, np.ones(n)])
        yield _covers(cluster_rate(table, unit="blocks"), truth)


def upper_bound(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        shares, truth = _one_arm(chance, shape, n)
        yield float(bounded_mean(shares, draws=4000).high >= truth)


# -- contrasts --------------------------------------------------------------------------------

PAIRED = {
    "usual": "two arms of a fifth; scenes of a block share their rate (.3)",
    "missing": "as usual, and 20% of the blocks lack one arm",
    "rare": "two arms of one line in twenty; rates shared (.2)",
    "ties": "one 0 or 1 a scene; the chance shared (.3)",
    "unequal spread": "equal means; one arm alike everywhere, one with scenes of two kinds (.5)",
    "catastrophes": "equal means; one arm breaks every line of 10% of its scenes, the other a "
    "tenth of the lines everywhere",
}


def _null_pair(chance: np.random.Generator, shape: str, n: int) -> tuple[Floats, Floats]:
    """Return two arms of one mean, block by block."""
    if shape == "catastrophes":
        a = chance.binomial(LINES, 0.1, size=n) / LINES
        return a, (chance.random(n) < 0.1).astype(float)
    if shape == "unequal spread":
        a = chance.binomial(LINES, 0.2, size=n) / LINES
        return a, chance.binomial(LINES, _chances(chance, 0.2, 0.5, n)) / LINES
    rate, alike = {"rare": (0.05, 0.2), "ties": (0.3, 0.3)}.get(shape, (0.2, 0.3))
    own = _chances(chance, rate, alike, n)
    if shape == "ties":
        return (chance.random(n) < own).astype(float), (chance.random(n) < own).astype(float)
    a, b = _shares(chance, "", own), _shares(chance, "", own)
    if shape == "missing":
        a = np.where(chance.random(n) < 0.2, np.nan, a)
    return a, b


def _by_block(*arms: Floats) -> dict[str, dict[str, float | None]]:
    return {
        name: {f"{i:04d}": float(v) for i, v in enumerate(arm)}
        for name, arm in zip("ab", arms, strict=True)
    }


_AB = {"a": 1.0, "b": -1.0}


def contrast_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        values = _by_block(*_null_pair(chance, shape, n))
        made = contrast(values, _AB, name="c", seed=0, planned=True, draws=1)
        yield _covers(made.estimate, 0.0)


def contrast_rejects(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        values = _by_block(*_null_pair(chance, shape, n))
        made = contrast(values, _AB, name="c", seed=k, planned=True, draws=_DRAWS)
        yield float(made.p <= 0.05)


def contrast_shown(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    """As `contrast_rejects`, and no doubt of `domain.domain_doubts` is about it."""
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        values = _by_block(*_null_pair(chance, shape, n))
        made = contrast(values, _AB, name="c", seed=k, planned=True, draws=_DRAWS)
        doubtful = made.p_mean > 0.05 or made.unseen_p > 0.05
        yield float(made.p <= 0.05 and not doubtful)


def not_same(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    """Two arms that differ by the margin must not be called the same."""
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        own = _chances(chance, 0.2, 0.3 if shape == "usual" else 0.05, n) * 0.8
        a, b = _shares(chance, "", own + 0.1), _shares(chance, "", own)
        yield float(equivalence(_by_block(a, b), "a", "b", margin=0.1).equivalent)


def scenes_reject(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        a, _ = _one_arm(chance, shape, n)
        b, _ = _one_arm(chance, shape, n)
        sides = _by_block(a, b)
        made = unpaired(sides["a"], sides["b"], name="c", seed=k, planned=True, draws=_DRAWS)
        yield float(made.p <= 0.05)


# -- judges -----------------------------------------------------------------------------------

JUDGES = {
    "good judge": "Se .95, Sp .97 of 60 planted lines of each truth",
    "fair judge": "Se .9 and Sp .92 of 60 planted lines of each truth",
}
_JUDGES = {"good judge": (0.95, 0.97), "fair judge": (0.9, 0.92)}


def _judge(chance: np.random.Generator, shape: str) -> tuple[Confusion, float, float]:
    se, sp = _JUDGES[shape]
    hits, clears = chance.binomial(60, [se, sp]).tolist()
    return Confusion(hits, 60 - hits, clears, 60 - clears), se, sp


def _judged_pair(
    chance: np.random.Generator, shape: str, n: int
) -> tuple[dict[str, Floats], dict[str, Confusion]]:
    own = _chances(chance, 0.2, 0.3, n)
    called, confusions = {}, {}
    for arm in "ab":
        confusions[arm], se, sp = _judge(chance, shape)
        called[arm] = chance.binomial(LINES, own * se + (1 - own) * (1 - sp)) / LINES
    return called, confusions


def judged_rejects(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        called, confusions = _judged_pair(chance, shape, n)
        values = _by_block(called["a"], called["b"])
        yield float(corrected_contrast(values, _AB, confusions, name="c", seed=k).p <= 0.05)


def judged_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        called, confusions = _judged_pair(chance, shape, n)
        values = _by_block(called["a"], called["b"])
        yield _covers(corrected_contrast(values, _AB, confusions, name="c", seed=k).estimate, 0.0)


def corrected_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        own = _chances(chance, 0.2, 0.1, n)
        confusion, se, sp = _judge(chance, shape)
        called = chance.binomial(LINES, own * se + (1 - own) * (1 - sp)).tolist()
        rate = rogan_gladen(called, [LINES] * n, confusion, seed=k)
        yield _covers(rate, 0.2)


# -- judges and people ------------------------------------------------------------------------

PEOPLE = {
    "fair judge": "Se .9, Sp .92 on played lines of both arms",
    "swayed judge": "Sp .92 on played lines of one arm, .8 on those of the other",
    "useless judge": "says what it likes of played lines",
}
_PLAYED = {
    "fair judge": ((0.9, 0.92), (0.9, 0.92)),
    "swayed judge": ((0.9, 0.92), (0.9, 0.8)),
    "useless judge": ((0.2, 0.8), (0.2, 0.8)),
}
_ALL_BLOCKS = 120


def _by_people(chance: np.random.Generator, shape: str, n: int, seed: int) -> Contrast:
    """One line of each of `n` blocks was rated by a person, of 120 that the judge called."""
    own = _chances(chance, 0.2, 0.3, _ALL_BLOCKS)
    values: dict[str, dict[str, float | None]] = {}
    rated: dict[str, dict[str, tuple[float, float]]] = {}
    for arm, (se, sp) in zip("ab", _PLAYED[shape], strict=True):
        broken = chance.random((_ALL_BLOCKS, LINES)) < own[:, None]
        right = chance.random(broken.shape)
        called = np.where(broken, right < se, right >= sp)
        values[arm] = {f"{i:04d}": float(row.mean()) for i, row in enumerate(called)}
        rated[arm] = {f"{i:04d}": (float(broken[i, 0]), float(called[i, 0])) for i in range(n)}
    return powered_contrast(values, _AB, rated, name="c", seed=seed)[0]


def people_reject(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        p = _by_people(chance, shape, n, k).p
        yield float("nan") if np.isnan(p) else float(p <= 0.05)


def people_cover(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        yield _covers(_by_people(chance, shape, n, k).estimate, 0.0)


# -- chains -----------------------------------------------------------------------------------

CHAINS = {
    "usual": "α .1, β .3 at 20 lines; scenes differ (.1)",
    "missing": "as usual, and 20% of the lines unreadable",
    "rare": "α .03, β .3; scenes differ (.1)",
    "alike": "α .1, β .3 in every scene",
}
_STEPS = {"usual": (0.1, 0.1), "missing": (0.1, 0.1), "rare": (0.03, 0.1), "alike": (0.1, 0.0)}


def _transitions(chance: np.random.Generator, shape: str, n: int, lines: int = 20) -> Floats:
    alpha, differ = _STEPS[shape]
    falls, returns = (
        _chances(chance, rate, differ, n) if differ else np.full(n, rate) for rate in (alpha, 0.3)
    )
    fallen = chance.random(n) < alpha
    seen = chance.random((n, lines + 1)) >= (0.2 if shape == "missing" else 0.0)
    counts = np.zeros((n, 4))
    for line in range(lines):
        after = np.where(fallen, chance.random(n) >= returns, chance.random(n) < falls)
        kind, both = 2 * fallen + after, seen[:, line] & seen[:, line + 1]
        counts[np.arange(n)[both], kind[both]] += 1
        fallen = after
    return counts


@cache
def _true_steps(shape: str) -> tuple[float, float]:
    n00, n01, n10, n11 = _transitions(np.random.default_rng(0), shape, 400_000).sum(axis=0)
    return float(n01 / (n00 + n01)), float(n10 / (n10 + n11))


def fall_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        fitted = fit_transitions(_transitions(chance, shape, n))
        yield _covers(fitted.alpha, _true_steps(shape)[0])


def return_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        fitted = fit_transitions(_transitions(chance, shape, n))
        yield _covers(fitted.beta, _true_steps(shape)[1])


# -- times ------------------------------------------------------------------------------------

TIMES = {
    "usual": "a break at a turn with .1, scenes of 12 turns; blocks differ",
    "missing": "as usual, and a fifth of the scenes lost at a random turn",
    "rare": "a break at a turn with .02",
}


def _times(chance: np.random.Generator, shape: str, n: int) -> list[Spell]:
    spells = []
    risk = (0.02 if shape == "rare" else 0.1) * chance.uniform(0.5, 1.5, size=n)
    for arm in "ab":
        turns = chance.geometric(risk)
        lost = chance.random(n) < (0.2 if shape == "missing" else 0.0)
        ends = np.where(lost, chance.integers(1, 12, size=n), 12)
        spells += [
            Spell(arm, f"{i:04d}", int(min(turn, end)), bool(turn <= end))
            for i, (turn, end) in enumerate(zip(turns, ends, strict=True))
        ]
    return spells


def times_reject(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for k in range(repetitions):
        values, _ = restricted_times(_times(chance, shape, n), "a", "b", horizon=12)
        yield float(contrast(values, _AB, name="c", seed=k, planned=True, draws=_DRAWS).p <= 0.05)


def times_cover(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    chance = np.random.default_rng(seed)
    for _ in range(repetitions):
        values, _ = restricted_times(_times(chance, shape, n), "a", "b", horizon=12)
        made = contrast(values, _AB, name="c", seed=0, planned=True, draws=1)
        yield _covers(made.estimate, 0.0)


# -- phrasings --------------------------------------------------------------------------------


def icc_covers(shape: str, n: int, repetitions: int, seed: int) -> Iterator[float]:
    """The intraclass correlation of eight phrasings over `n` blocks, eight turns each."""
    chance = np.random.default_rng(seed)
    truth = 0.0 if shape == "nothing" else 0.1
    for k in range(repetitions):
        phrase = chance.standard_normal((8, 1)) * np.sqrt(truth / (1 - truth))
        scenes = chance.standard_normal((n, 8, 8)) + chance.standard_normal((n, 1, 1))
        scenes += phrase[None]
        values = {
            f"{i:04d}": {str(p): dict(enumerate(row.tolist())) for p, row in enumerate(block)}
            for i, block in enumerate(scenes)
        }
        yield _covers(phrasing_icc(values, seed=k, draws=1).mean, truth)
