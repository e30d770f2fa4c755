"""How alike are regenerated draws: the chance that two of one moment are the same act.

Acts are discrete things that a measure read from draws; `energy_distance` is for draws known only
by their embeddings. Draws that could not differ are refused, not reported.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from improv.stats.interval import DRAWS, LEVEL, Array, Estimate, at_edge, bootstrap_sums

Groups = Sequence[Sequence[Hashable | None]]
"""For each moment (a node of a tree, a reveal) the acts of its draws; None could not be read."""

COLD = 0.01
"""A temperature below this is 0 by another name: the likeliest token always wins."""
PERMUTATIONS = 1999


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a number is not reported: it would be what it is for nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Distance:
    """The energy distance of two samples of `n` and `m` vectors, and its permutation p."""

    value: float
    p: float
    n: int
    m: int


def guard(
    *,
    temperatures: Sequence[float | None] = (),
    draws: Sequence[Sequence[str]] = (),
    cached: int = 0,
) -> Refused | None:
    """Return why draws could not have differed, or None if they could.

    `temperatures` are all that were used (None where the endpoint chose); `draws` the identity of
    each draw by moment, which is what it was drawn with: its id, or its seed, or both; `cached`
    the number of replies that came from a cache of whole replies (tokens of a prompt that an
    endpoint had in its cache do no harm). Any one is enough: draws that are partly for nothing
    give a number that is partly for nothing.
    """
    if cold := [t for t in temperatures if t is not None and t < COLD]:
        return Refused(
            f"drawn at temperature {min(cold):g}: all draws are the same, whatever the model holds"
        )
    if cached:
        return Refused(f"{cached} replies came from a cache: copies of a draw always agree")
    for moment in draws:
        name, times = max(collections.Counter(moment).items(), key=lambda i: i[1], default=("", 0))
        if times > 1:
            return Refused(f"draw {name} stands {times} times in its moment: copies always agree")
    return None


def collision(
    groups: Groups,
    *,
    seed: int,
    temperatures: Sequence[float | None] = (),
    ids: Sequence[Sequence[str]] = (),
    cached: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
    unit: str = "groups",
) -> Estimate | Refused:
    """Estimate the collision probability of two draws of one moment, as a mean over moments.

    c = Σ n(n − 1)/(R(R − 1)) over the R acts of a moment that could be read, n of them alike. It
    is unbiased for Σ p² at any R ≥ 2, which no estimate of the entropy is: for K = 100 equal acts
    and 20 draws the plug-in gives 4.14 bits for 6.64. Moments with fewer than two acts count for
    nothing. The interval resamples moments; if one scene brings several, resample scenes with
    `interval.cluster_bootstrap` instead. If all moments are wholly alike (or unlike), see
    `interval.at_edge`. What `guard` finds in `temperatures`, `ids` and `cached` is Refused.
    """
    if refused := guard(temperatures=temperatures, draws=ids, cached=cached):
        return refused
    found = [c for c in map(collided, groups) if not math.isnan(c)]
    if not found:
        return Estimate.unknown("no moment with two acts", unit=unit, level=level)
    sums = np.column_stack([found, np.ones(len(found))])
    [mean] = bootstrap_sums(
        sums, lambda s: s[:, 0] / s[:, 1], seed=seed, draws=draws, level=level, unit=unit
    )
    return at_edge(mean)


def collided(acts: Sequence[Hashable | None]) -> float:
    """Return Σ n(n − 1)/(R(R − 1)) of one moment's acts; NaN for fewer than two."""
    times = _times(acts)
    r = sum(times)
    return sum(n * (n - 1) for n in times) / (r * (r - 1)) if r > 1 else math.nan


def plug_in_entropy(acts: Sequence[Hashable | None]) -> float:
    """Return −Σ (n/R) log₂(n/R) of one moment's acts, in bits; NaN for none.

    For comparison with the literature only: it cannot pass log₂ R, and is far too low unless
    draws outnumber the acts that are possible.
    """
    times = _times(acts)
    r = sum(times)
    return sum(n / r * math.log2(r / n) for n in times) if r else math.nan


def energy_distance(
    x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int, permutations: int = PERMUTATIONS
) -> Distance:
    """Return how far apart two samples of vectors are: 2E|X−Y| − E|X−X'| − E|Y−Y'|.

    Székely & Rizzo 2013 (J Stat Plan Inference 143:1249-1272). `x` has shape (n, d) and `y`
    (m, d); distances are Euclidean, in units of the embedding. 0 if and only if the distributions
    are the same, but a sample's value is always above 0: read it with `p`, the share of
    `permutations` of the labels that lie as far apart. The draws must be exchangeable if nothing
    differs: of one moment, not of many scenes. NaN for an empty sample; ValueError for vectors of
    unlike length.
    """
    first, second = (np.asarray(v, dtype=float) for v in (x, y))
    n, m = len(first), len(second)
    if not n or not m:
        return Distance(math.nan, math.nan, n, m)
    both = np.concatenate([first, second])
    apart = cdist(both, both)
    value = float(_energy(apart, (np.arange(n + m) < n)[None, :])[0])
    if n + m < 3:
        return Distance(value, math.nan, n, m)
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(n + m) < n, (permutations, 1))
    drawn = _energy(apart, rng.permuted(labels, axis=1))
    as_far = np.count_nonzero(drawn >= value - 1e-12 * abs(value))
    return Distance(value, float((1 + as_far) / (1 + permutations)), n, m)


def _energy(apart: Array, in_x: npt.NDArray[np.bool_]) -> Array:
    """Return the distance for each labelling: (N, N) and (r, N) to (r,)."""
    a = in_x / in_x.sum(axis=1, keepdims=True)
    b = ~in_x / (~in_x).sum(axis=1, keepdims=True)
    # 2a'Db − a'Da − b'Db is one quadratic form of a − b.
    step = a - b
    value: Array = -((step @ apart) * step).sum(axis=1)
    return value


def _times(acts: Sequence[Hashable | None]) -> list[int]:
    return list(collections.Counter(a for a in acts if a is not None).values())
