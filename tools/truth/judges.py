"""Checks of scores by a judge that errs, and of replies that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from improv.analysis.compare import compare_sides
from improv.analysis.inference import analyse
from improv.analysis.judge_error import measure_judges
from improv.analysis.loader import read_tables
from improv.analysis.stats.chain import least_certain
from improv.analysis.trajectories import absorptions
from improv.analysis.units import Frame, outcome_units
from improv.models.puppet.player import OPPOSITE, POLE
from improv.records import seed_of
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.run_folder import RunFolder
from improv.study.plan import Plan
from tools.truth.planting import (
    NO_BAND,
    SAME,
    Check,
    Figure,
    averaged,
    planned,
    play,
    pool,
    study,
)

GOOD = {"sensitivity": 0.9, "specificity": 0.95}
STATE = {"of": "broken", "measure": "state"}


class Bench:
    """Has each run judged after it was played, and keeps the verdicts on planted lines.

    `mute` says that the judge is to leave some verdicts out.
    """

    def __init__(self, plants: int, *, mute: bool = False) -> None:
        self._judges = Judges("puppet", plants=plants)
        self._mute = mute
        self.each: list[Frame] = []

    def __call__(self, folder: RunFolder) -> None:
        done = score(folder, ["state"], self._judges)
        missing = done.owed + (0 if self._mute else done.failed)
        if missing:
            raise RuntimeError(f"{missing} verdicts are missing")
        rows = folder.tables.read("verdicts").to_pandas()
        self.each.append(rows[rows["measure"].str.startswith("calibration:")])

    @property
    def verdicts(self) -> Frame:
        return pd.concat(self.each, ignore_index=True)


# -- 2 ------------------------------------------------------------------------------------------


def absorbing(
    seed: int, root: Path, *, studies: int, effect_studies: int, scenes: int = 100, plants: int = 60
) -> list[Figure]:
    turns, plan = 20, Plan.model_validate(planned(blocks=scenes, outcome=STATE))
    level: list[Figure] = []
    strength: list[Figure] = []
    for beta, many in ((0.0, studies), (0.02, effect_studies)):
        puppet = {"alpha": 0.1, "beta": beta, "judge": GOOD}

        def make(one: int, replicates: int, puppet: Any = puppet) -> Any:
            return study("absorbing", one, puppet, turns, replicates, plan=plan.model_dump())

        bench = Bench(plants)
        played = pool(make, many * scenes, seed_of(seed, beta), root, bench, most=scenes)
        trials = played.tables.trials
        (errors,) = measure_judges(bench.verdicts, trials, seed=seed)
        se, sp = (r.value for r in (errors.pooled.sensitivity(), errors.pooled.specificity()))
        naive, rejected, least = [], [], []
        for blocks, verdicts in zip(played.runs(), bench.each, strict=True):
            own = played.study(blocks)
            ((_, (test,)),) = absorptions(own, "state", [se], [sp])
            judges = measure_judges(verdicts, trials, seed=seed)
            absorbed = analyse(plan, own, seed=seed, judges=judges).absorptions
            grid = least_certain(absorbed[0][1]) if absorbed else None
            naive.append(test.naive)
            rejected.append(test.p <= 0.05)
            least.append(grid is not None and grid.p <= 0.05)
        if beta:
            strength = [
                averaged("finds β = .02", rejected, 0.9, 1.0),
                averaged("a report's grid of Se and Sp finds β = .02", least, *NO_BAND),
            ]
        else:
            level = [
                averaged("naive β̂ where β = 0", naive, 0.124, 0.144),
                averaged("rejects β = 0 where it holds", rejected, 0.0, 0.05),
                averaged(
                    "a report's grid of Se and Sp rejects β = 0 where it holds", least, 0.0, 0.05
                ),
                averaged("Se on planted lines: truth .9", _rates(bench, 0.0), 0.88, 0.92),
                averaged("Sp on planted lines: truth .95", _rates(bench, 1.0), 0.94, 0.96),
            ]
    return [*level[:2], strength[0], *level[2:], *strength[1:]]


def _rates(bench: Bench, truth: float) -> list[float]:
    """Return the share of each run's planted lines of this truth that were judged correctly."""
    planted = [rows[rows["truth"] == truth]["value"] for rows in bench.each]
    return [float((values == truth).mean()) for values in planted]


# -- 8 ------------------------------------------------------------------------------------------

FIFTH = {"alpha": 0.2, "beta": 0.8, "judge": GOOD}
"""Every line is at the opposite with probability .2, whatever was said before."""
POWERED = 130
"""Blocks with which 31% of studies detect a difference of .024."""
WORSE = {"model": {"puppet": {"judge": {"specificity": 0.92}}}}


def correction(
    seed: int, root: Path, *, studies: int, blocks: int = 130, plants: int = 156
) -> list[Figure]:
    turns = 10
    plan = planned(("worse", "good"), blocks=blocks, outcome=STATE)
    settled = Plan.model_validate(plan)
    (c,) = settled.contrasts

    def make(one: int, replicates: int) -> Any:
        return study("judged", one, FIFTH, turns, replicates, {"good": SAME, "worse": WORSE}, plan)

    bench = Bench(plants)
    played = pool(make, studies * blocks, seed, root, bench, most=2 * blocks)
    trials = played.tables.trials
    observed: dict[str, list[float]] = {"good": [], "worse": []}
    corrected: dict[str, list[float]] = {"good": [], "worse": []}
    differences, uncorrected_rejects, corrected_rejects, covered, shown = [], [], [], [], []
    for k, (names, verdicts) in enumerate(zip(played.runs(), bench.each, strict=True)):
        own = played.study(names)
        (errors,) = measure_judges(verdicts, trials, seed=seed_of("judged", seed, k))
        analysis = analyse(settled, own, seed=seed_of("analysed", seed, k), judges=[errors])
        for arm in analysis.arms:
            rate = analysis.corrected[arm.cell]
            observed[arm.cell].append(arm.value.value)
            corrected[arm.cell].append(rate.value)
            covered.append(rate.low <= 0.2 <= rate.high)
        (contrast,) = analysis.findings
        naive = compare_sides(
            c.name, c.plus, c.minus, settled.outcome, outcome_units(settled.outcome, own), k
        )
        differences.append(contrast.estimate.value)
        corrected_rejects.append(contrast.rejected)
        uncorrected_rejects.append(naive.p <= settled.alpha)
        shown.append("specificity" in errors.difference.differs)
    (whole,) = measure_judges(bench.verdicts, trials, seed=seed)
    rates = [
        averaged("observed rate, Sp .95: .220 expected", observed["good"], 0.21, 0.23),
        averaged("corrected rate, Sp .95: truth .200", corrected["good"], 0.19, 0.21),
        averaged("observed rate, Sp .92: .244 expected", observed["worse"], 0.234, 0.254),
        averaged("corrected rate, Sp .92: truth .200", corrected["worse"], 0.19, 0.21),
        averaged("corrected difference: truth 0", differences, -0.01, 0.01),
        averaged("corrected test rejects", corrected_rejects, 0.0, 0.07),
    ]
    if blocks < POWERED:
        return rates
    differ = float("specificity" in whole.difference.differs)
    return [
        *rates,
        averaged("uncorrected test rejects: .31 expected", uncorrected_rejects, 0.21, 0.41),
        Figure("all planted lines show that Sp differs", differ, 0.0, 1, 1),
        averaged(f"{plants} planted lines an arm show it", shown, *NO_BAND),
        averaged("interval of a corrected rate covers .200", covered, *NO_BAND),
    ]


# -- 9 ------------------------------------------------------------------------------------------


def unreadable(seed: int, root: Path, *, scenes: int, judged_scenes: int) -> list[Figure]:
    arms = {
        "sound": SAME,
        "at times": {"model": {"puppet": {"mute": 0.02}}},
        "mute": {"model": {"puppet": {"mute": 0.08}}},
        "garbling": {"model": {"puppet": {"garble": 0.8}}},
    }
    plan = planned(*((arm, "sound") for arm in arms if arm != "sound"), blocks=scenes)
    puppet, turns = {"alpha": 0.1, "beta": 0.3}, 10
    mute_study = study("mute", seed, puppet, turns, scenes, arms, plan)
    folder = play(mute_study, root / "played")
    tables = read_tables(folder)
    analysis = analyse(mute_study.plan, tables, seed=seed)
    share = {arm.cell: arm.missing_share for arm in analysis.arms}
    stopped = [arm for arm in arms if any(why.cell == arm for why in analysis.doubts)]
    rows = folder.tables.read("turns", columns=["trial", "turn", "kind", "text"]).to_pandas()
    rows = rows.merge(tables.scores, on=["trial", "turn"])
    silent = rows["kind"] == "silence"
    said = ~silent & rows["text"].map(lambda text: any(s in text for s in POLE + OPPOSITE))
    error = (0.08 * 0.92 / (scenes * turns)) ** 0.5
    return [
        Figure("missing, of 8% mute", share["mute"], error, 0.06, 0.1),
        Figure("missing, of 2% mute", share["at times"], error / 2, 0.01, 0.03),
        Figure("silences with a score", float(rows[silent]["value"].notna().mean()), 0.0, 0, 0),
        Figure(
            "garbled lines, their sentence lost, with a score",
            float(rows[~silent & ~said]["value"].notna().mean()),
            0.0,
            0,
            0,
        ),
        Figure(
            "lines that hold their sentence, without one",
            float(rows[said]["value"].isna().mean()),
            0.0,
            0,
            0,
        ),
        Figure(
            "arms stopped are mute, garbling", float(stopped == ["mute", "garbling"]), 0.0, 1, 1
        ),
        *_unread_verdicts(seed, root, judged_scenes),
    ]


def _unread_verdicts(seed: int, root: Path, scenes: int) -> list[Figure]:
    arms = {"sound": SAME, "mute": {"model": {"puppet": {"judge": {"unreadable": 0.12}}}}}
    plan = planned(("mute", "sound"), blocks=scenes, outcome=STATE)
    turns = 10

    def make(one: int, replicates: int) -> Any:
        return study("unread", one, {"judge": {}}, turns, replicates, arms, plan)

    bench = Bench(plants=60, mute=True)
    played = pool(make, scenes, seed, root, bench)
    tables = played.tables
    judges = measure_judges(bench.verdicts, tables.trials, seed=seed)
    analysis = analyse(Plan.model_validate(plan), tables, seed=seed, judges=judges)
    share = {arm.cell: arm.missing_share for arm in analysis.arms}
    stopped = any(why.cell == "mute" for why in analysis.doubts)
    able = judges[0].arms["mute"][1].able
    error = (0.12 * 0.88 / (scenes * turns)) ** 0.5
    return [
        Figure("missing, of 12% unreadable verdicts", share["mute"], error, 0.08, 0.16),
        Figure("that arm is stopped, its judge refused", float(stopped and not able), 0.0, 1, 1),
    ]


CHECKS = [
    Check(
        2,
        "An absorbing state and a noisy judge",
        "β 0 (and .02), a judge of Se .9 and Sp .95",
        "Each study is a run of 100 scenes of 20 lines, judged line by line through `score` by a "
        "puppet that errs as often as declared; 60 lines of each truth are planted among them. "
        "`trajectories.absorptions` tests β = 0 with the emissions at the Se and Sp that are "
        "estimated from the planted lines of all studies, as SCIENCE.md says. A report knows the "
        "planted lines of its own study alone. With the emissions at those estimates it would "
        "reject a true β = 0 far too often. So it also tests at the ends of the intervals of Se "
        "and Sp, and takes the largest p. That test has the same band as the first one. Its power "
        "has no band, because SCIENCE.md promises none.",
        "A naive β̂ is not 0 although no character ever returned. A test that rejects more than 5% "
        "takes the judge's errors for returns; if a test misses β = .02, then that it does not "
        "reject says nothing.",
        absorbing,
        {"studies": 60, "effect_studies": 30},
        {"studies": 20, "effect_studies": 10},
        {"studies": 2, "effect_studies": 1, "scenes": 60, "plants": 250},
    ),
    Check(
        8,
        "A judge's errors taken out",
        "every line at the opposite with probability .2; Se .9; Sp .95 in one arm, .92 in the "
        "other",
        "Each study is a run of 130 blocks, two arms of equal truth, ten lines a scene, judged "
        "through `score`, with 156 planted lines of each truth an arm. `analyse` corrects each "
        "arm by its own planted lines and tests the corrected contrast; `compare_sides` without a "
        "judge is the uncorrected test. Figures are means over studies. Fisher's test on the "
        "planted lines (`calibration.compare_errors`) decides whether Sp differs: in each study, "
        "and once on the lines of all studies together.",
        "If a corrected rate is not .200, calibration and scoring do not see the same judge. If "
        "the corrected test rejects more than 7%, a judge that errs unevenly produces findings.",
        correction,
        {"studies": 80},
        {"studies": 20},
        {"studies": 3, "blocks": 24, "plants": 70},
    ),
    Check(
        9,
        "Mute and garbling puppets",
        "2% and 8% empty replies, 80% garbled ones, a judge whose verdicts are 12% unreadable",
        "Each is an arm. The silences are read from the turns and their values from the scores; "
        "`analyse` decides which arms are stopped. A garbled line without any of a puppet's "
        "sentences (a placeholder, a loop, cut JSON) does not show the puppet's state.",
        "If an unreadable reply counts as kept, a broken model looks consistent.",
        unreadable,
        {"scenes": 150, "judged_scenes": 150},
        {"scenes": 100, "judged_scenes": 60},
        {"scenes": 20, "judged_scenes": 10},
    ),
]
