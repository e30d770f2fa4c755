"""People's verdicts on played lines: what a judge may decide with them, and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from improv.analysis.decision import DoubtKind, Verdict, decide
from improv.analysis.inference import Analysis, analyse_planned
from improv.analysis.judge_error import measure_judges
from improv.analysis.played_lines import FEWEST_BLOCKS
from improv.records import MAIN
from tests.analysis.test_judge_error import STATE, verdicts
from tests.support.table import NAN, X_Y, Row, made, plan, said, trials

BLOCKS, LINES = 60, 10
ANN = "human:Ann"


def calls(broken: np.ndarray[Any, Any], se: float, sp: float, chance: np.random.Generator) -> Any:
    """What a judge with these errors calls lines that are broken or not."""
    right = chance.random(broken.shape)
    return np.where(broken, right < se, right >= sp)


class Run:
    """Sixty blocks of two arms, judged by `j`; people rate one line of each scene.

    `arms` maps an arm to its true share of broken lines, and to the judge's Sp on its played lines.
    On planted lines the judge has Se and Sp of .95 everywhere.
    """

    def __init__(self, arms: dict[str, tuple[float, float]], seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)
        self.truth = {
            a: self.chance.random((BLOCKS, LINES)) < share for a, (share, _) in arms.items()
        }
        self.called = {
            a: calls(self.truth[a], 0.95, sp, self.chance) for a, (_, sp) in arms.items()
        }
        self.rows = [verdicts(["x0", "y0"], 0.95, 0.95, n=100)]
        self.judged("j", self.called)

    def judged(
        self, judge: str, called: dict[str, Any], lines: int = LINES, blocks: int = BLOCKS
    ) -> Run:
        rows = [
            {
                "trial": f"{arm}{k}",
                "branch": MAIN,
                "turn": float(line + 1),
                "character": "Ana",
                "measure": STATE,
                "judge": judge,
                "item": f"{arm}{k}-{line}",
                "truth": NAN,
                "error": "",
                "value": float(not broken[k, line]),
            }
            for arm, broken in called.items()
            for k in range(blocks)
            for line in range(lines)
        ]
        self.rows.append(pd.DataFrame(rows))
        return self

    def rated(self, blocks: int = BLOCKS) -> Run:
        """Let Ann rate the first line of each scene, and planted lines, without an error."""
        self.rows.append(verdicts(["x0", "y0"], 1.0, 1.0, n=20, judge=ANN))
        return self.judged(ANN, self.truth, lines=1, blocks=blocks)

    def analysed(self, **fields: Any) -> Analysis:
        scores: list[Row] = []
        for arm, broken in self.called.items():
            for k in range(BLOCKS):
                scores += said(f"{arm}{k}", (~broken[k]).tolist(), STATE, version="state-1@j")
        tables = made(trials(BLOCKS, "x", "y"), scores)
        frame = pd.concat(self.rows, ignore_index=True)
        judges = measure_judges(frame, tables.trials, seed=1)
        tables = replace(tables, verdicts=frame)
        asked = plan(X_Y, outcome={"measure": "state"}, blocks=BLOCKS, **fields)
        return analyse_planned(asked, tables, judges=judges)


FAIR = {"x": (0.4, 0.97), "y": (0.1, 0.97)}
SWAYED = {"x": (0.2, 0.97), "y": (0.2, 0.75)}
"""Equal truth, and a judge that the style of y's played lines sways."""


def verdict(analysis: Analysis) -> Verdict:
    return decide(analysis.findings, analysis.doubts, 0.05)[0].verdict


def kinds(analysis: Analysis) -> list[DoubtKind]:
    return [doubt.kind for doubt in analysis.doubts]


def test_a_judge_of_planted_lines_alone_decides_nothing() -> None:
    analysis = Run(FAIR).analysed()
    assert kinds(analysis) == [DoubtKind.PLANTED_ONLY] and analysis.people == ""
    assert verdict(analysis) is Verdict.NOT_DECIDED
    assert "calibrated on planted lines only" in analysis.doubts[0].sentence


def test_with_people_a_true_effect_is_shown() -> None:
    analysis = Run(FAIR).rated().analysed()
    assert not analysis.doubts and verdict(analysis) is Verdict.SHOWN
    (finding,) = analysis.findings
    assert finding.estimate.low < 0.3 < finding.estimate.high and finding.blocks == BLOCKS
    assert f"people's verdicts on played lines of {BLOCKS} blocks" in analysis.people


def test_what_the_style_of_an_arm_makes_a_judge_say_is_not_shown() -> None:
    """The judge's own contrast would be shown; people see that the arms are alike."""
    uncorrected = Run(SWAYED).analysed().findings[0]
    assert uncorrected.rejected and uncorrected.estimate.value < -0.1
    shown = [
        verdict(Run(SWAYED, seed).rated().analysed(agreement=0)) is Verdict.SHOWN
        for seed in range(12)
    ]
    assert sum(shown) <= 2, "about one in twenty"


def test_too_few_rated_blocks_correct_nothing() -> None:
    analysis = Run(FAIR).rated(blocks=FEWEST_BLOCKS - 1).analysed()
    assert DoubtKind.PLANTED_ONLY in kinds(analysis)


def test_a_judge_that_people_do_not_agree_with_decides_nothing() -> None:
    run = Run(FAIR)
    run.truth = {arm: run.chance.random(broken.shape) < 0.3 for arm, broken in run.truth.items()}
    analysis = run.rated().analysed()
    assert DoubtKind.AGREEMENT in kinds(analysis) and verdict(analysis) is Verdict.NOT_DECIDED
    assert "at least 0.667" in next(
        d.sentence for d in analysis.doubts if d.kind is DoubtKind.AGREEMENT
    )
    assert DoubtKind.AGREEMENT not in kinds(run.analysed(agreement=-1))


@pytest.mark.parametrize(("named", "doubted"), [("", True), ("j", False), ("k", True)])
def test_the_plan_names_which_of_several_judges_decides(named: str, doubted: bool) -> None:
    run = Run(FAIR).rated()
    run.judged("k", run.truth)
    assert (DoubtKind.WHICH_JUDGE in kinds(run.analysed(judge=named))) is doubted


def test_judges_that_differ_in_the_sign_of_a_contrast_decide_nothing() -> None:
    run = Run(FAIR).rated()
    run.judged("k", {"x": run.truth["y"], "y": run.truth["x"]})
    analysis = run.analysed(judge="j", agreement=-1)
    (doubt,) = analysis.doubts
    assert (doubt.kind, doubt.contrast) == (DoubtKind.AGREEMENT, "main")
    assert doubt.sentence.startswith("main: j gives a difference of +0.")
    assert " and k one of -0." in doubt.sentence and verdict(analysis) is Verdict.NOT_DECIDED
