"""Checks of repeated draws: twenty questions, and the entropy of branches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
from scipy import stats

from improv.analysis.inference import analyse
from improv.analysis.loader import read_tables
from improv.analysis.units import outcome_units
from improv.records import seed_of
from improv.scoring.scorer import score
from improv.study.edit import Regeneration
from tools.truth.planting import Check, Figure, averaged, planned, play, study

COLLISION = {"of": "collision", "measure": "dispersion"}

# -- 6 ------------------------------------------------------------------------------------------

THINGS = ["thimble", "key", "bell", "locket", "spoon", "coin"]
NAMES = {"choice": {"options": THINGS, "always": True, "committed": "sealed: "}}
DRAWN = 10


def envelope(kept: str) -> dict[str, Any]:
    return {"of": "Ana", "ask": "What do you hold?", "kept": kept, "options": THINGS}


def questions(seed: int, root: Path, *, games: int) -> list[Figure]:
    arms: dict[str, Any] = {
        "own": {"envelope": envelope("own")},
        "none": {"envelope": envelope("none")},
        "outside": {"envelope": envelope("outside")},
        "alias": {
            "envelope": envelope("own"),
            "model": {"puppet": {"choice": {"alias": 0.02}}},
        },
        "cold": {"envelope": envelope("own"), "model": {"temperature": 0}},
    }
    plan = planned(("own", "none"), blocks=games, outcome=COLLISION)
    again = (Regeneration(at=[1], draws=DRAWN - 1),)
    folder = play(study("questions", seed, NAMES, 1, games, arms, plan, regenerations=again), root)
    score(folder, ["dispersion"])
    tables = read_tables(folder)
    analysis = analyse(folder.study().plan, tables, seed=seed)
    values = outcome_units(analysis.outcome, tables) if analysis.outcome else None
    assert values is not None
    by_arm = {c: part["value"] for c, part in values.groupby("condition")}
    k = len(THINGS)
    alike, other = 2 / (k + 1), 0.98**2 + 0.02**2 / (k - 1)
    bands = {
        "own": ("committed in its own prompt", 1.0, 1.0),
        "none": (f"Dirichlet over six: truth {alike:.3f}", alike - 0.02, alike + 0.02),
        "outside": ("an envelope that no prompt shows: the same", alike - 0.02, alike + 0.02),
        "alias": (f"2% alias: truth {other:.3f}", other - 0.012, other + 0.012),
    }
    reported = {arm.cell: arm.value.value for arm in analysis.arms}
    figures = []
    for arm, (what, low, high) in bands.items():
        mean = averaged(f"ĉ, {what}", by_arm[arm].tolist(), low, high)
        assert math.isclose(mean.value, reported[arm]), "a report's arm is the mean over its units"
        figures.append(mean)
    missing = by_arm["cold"].isna()
    return [*figures, averaged("ĉ refused at temperature 0", missing.tolist(), 1.0, 1.0)]


# -- 7 ------------------------------------------------------------------------------------------

K, R = 100, 20
ACTS = {
    "choice": {
        "options": [f"act{k}" for k in range(K)],
        "always": True,
        "concentration": None,
    }
}
DEPTHS = [2, 6, 10]


def expected_plug_in() -> float:
    """Return the exact mean of the plug-in entropy of R draws of K equal acts, in bits."""
    parts = (stats.binom.pmf(n, R, 1 / K) * n / R * math.log2(R / n) for n in range(1, R + 1))
    return K * float(sum(parts))


def entropy(
    seed: int, root: Path, *, runs: int, scenes: int, margin: float = 0.001
) -> list[Figure]:
    again = (Regeneration(at=DEPTHS, draws=R - 1),)
    flat = {"name": "flat", "flat": {"margin": margin}}
    plan = planned(blocks=scenes, outcome=COLLISION, controls=[flat])
    alike, bits, sloped, held = [], [], [], []
    for k in range(runs):
        run_seed = seed_of("entropy", seed, k)
        flat_study = study(
            "entropy", run_seed, ACTS, max(DEPTHS), scenes, None, plan, regenerations=again
        )
        folder = play(flat_study, root / f"{k}")
        score(folder, ["dispersion"])
        analysis = analyse(flat_study.plan, read_tables(folder), seed=run_seed)
        (arm,), (check,) = analysis.arms, analysis.checks
        alike.append(arm.value.value)
        sloped.append(check.estimate.value)
        held.append(bool(check.held))
        rows = folder.tables.read("scores", columns=["measure", "evidence"]).to_pylist()
        counts = [
            orjson.loads(r["evidence"])["counts"] for r in rows if r["measure"] == "dispersion"
        ]
        entropies = [stats.entropy(list(count.values()), base=2) for count in counts]
        bits.append(float(sum(entropies)) / len(entropies))
    truth, naive = math.log2(K), expected_plug_in()
    return [
        averaged(f"ĉ: truth {1 / K:g}", alike, 0.0095, 0.0105),
        averaged(
            f"plug-in bits: truth {truth:.2f}, expected {naive:.2f}",
            bits,
            naive - 0.03,
            naive + 0.03,
        ),
        averaged("slope of ĉ a turn of depth", sloped, -0.0002, 0.0002),
        averaged("the control “flat” holds", held, 0.9, 1.0),
    ]


CHECKS = [
    Check(
        6,
        "Twenty questions",
        "a puppet that sealed one of six objects, one that did not, one that misnames 2% of the "
        "time",
        "A reveal is drawn ten times: once in play, nine times by regeneration. `score` reads the "
        "objects with the dispersion measure, and `analyse` computes the mean of each arm. Without "
        "a commitment a game's own distribution is Dirichlet(1) over six, so that ĉ is 2/7. With "
        "an alias of 2%, ĉ is .98² + .02²/5.",
        "An envelope does not reach the prompt, or one that is outside does; draws are copies of "
        "one another; or a number is reported at temperature 0, where it is 1 whatever the model "
        "does.",
        questions,
        {"games": 400},
        {"games": 150},
        {"games": 20},
    ),
    Check(
        7,
        "Entropy of branches",
        "100 equally likely acts at every depth, 20 draws",
        "Lines at turns 2, 6 and 10 are drawn 20 times each. ĉ comes from the scores, and the "
        "plug-in entropy from the same counts. The planned control of flatness is that of a "
        "report, with a margin of .001 a turn.",
        "With a biased ĉ, or one that changes with depth, a tree seems to narrow although it does "
        "not. No entropy is reported because the plug-in estimate loses 2.5 bits.",
        entropy,
        {"runs": 10, "scenes": 40},
        {"runs": 5, "scenes": 30, "margin": 0.0015},
        {"runs": 2, "scenes": 8, "margin": 0.006},
    ),
]
