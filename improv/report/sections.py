"""The sections of a report on contrasts, judges, chains, curves, networks and exploration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from improv.analysis.decision import DoubtKind
from improv.analysis.inference import Analysis
from improv.analysis.stats.chain import least_certain
from improv.analysis.stats.contrast import Contrast
from improv.analysis.trajectories import CellChain, Curve
from improv.graph import figure as graph
from improv.graph.drawing import ON_PAGE
from improv.graph.null_model import NullComparison
from improv.report import charts
from improv.report.charts import ChartLine, ForestRow
from improv.report.material import Material
from improv.report.numbers import contrast_units, estimate_text, number, unit_count
from improv.report.page import Page

_MAX_NETWORKS = 9
"""Maximum conditions whose networks are drawn."""
_SHOWN_FIGURES = ("balance", "reciprocity", "answered", "latency", "usurped", "author")
"""The figures of a network in a report; `improv graph` shows all."""


def add_contrasts(page: Page, contrasts: Sequence[Contrast], x: str, correction: str) -> None:
    if not contrasts:
        return
    page.table(
        ["contrast", "estimate [interval]", "p", f"p ({correction})", "units", "left out"],
        [
            (
                c.name,
                estimate_text(c.estimate),
                number(c.p),
                number(c.adjusted),
                contrast_units(c),
                len(c.dropped),
            )
            for c in contrasts
        ],
    )
    marks = [
        ForestRow(
            c.name, c.estimate.value, c.estimate.low, c.estimate.high, estimate_text(c.estimate)
        )
        for c in contrasts
    ]
    page.chart(
        charts.forest_chart("Contrasts", "; ".join(f"{m.name} {m.text}" for m in marks), x, marks),
        f"Estimates with their {contrasts[0].estimate.level:.0%} intervals.",
    )


def add_judges(page: Page, material: Material) -> None:
    if not material.judges:
        return
    page.head("Judges")
    page.say(
        "Each judge read planted lines, whose truth is known, among the lines of each arm. "
        "Sensitivity is the share of lines at the opposite that the judge called opposite; "
        "specificity is the share of the other lines that it did not."
    )
    rows = []
    for j in material.judges:
        for condition, (confusion, verdict) in j.arms.items():
            se, sp = confusion.sensitivity(), confusion.specificity()
            able = "can judge" if verdict.able else "cannot judge"
            rows.append(
                (
                    j.measure,
                    j.judge,
                    condition,
                    estimate_text(se),
                    estimate_text(sp),
                    confusion.opposite + confusion.pole,
                    f"{confusion.unread:.1%}",
                    able,
                )
            )
    page.table(
        [
            "measure",
            "judge",
            "condition",
            "sensitivity",
            "specificity",
            "planted",
            "unread",
            "verdict",
        ],
        rows,
    )
    for j in material.judges:
        if not j.able:
            reason = next(v.reason for _, v in j.arms.values() if not v.able)
            page.note(f"{j.judge} cannot judge {j.measure}: {reason}. Its rates are not shown.")
        elif j.difference.differs:
            kinds = " and ".join(j.difference.differs)
            page.note(
                f"{j.judge} errs differently from arm to arm in {kinds} ({j.measure}); each arm "
                "is corrected by its own rates."
            )
        if not math.isnan(j.agreement.value):
            page.say(
                f"Agreement of judges on {j.measure} (Krippendorff's α): "
                f"{estimate_text(j.agreement)}."
            )
    if material.analysis.people:
        page.say(material.analysis.people)
    elif any(doubt.kind is DoubtKind.PLANTED_ONLY for doubt in material.analysis.doubts):
        page.note("The outcome's judge is calibrated on planted lines only.")


def add_trajectories(page: Page, analysis: Analysis, *, hidden: bool) -> None:
    if hidden:
        return
    if analysis.chains:
        page.head("Flips and returns")
        page.table(
            [
                "condition",
                "measure",
                "α: pole to opposite",
                "β: back",
                "share of opposite",
                "mean spell (lines)",
                "scenes",
            ],
            [
                (
                    c.cell,
                    c.measure,
                    estimate_text(c.chain.alpha),
                    estimate_text(c.chain.beta),
                    estimate_text(c.chain.opposite_share),
                    estimate_text(c.chain.spell),
                    c.chain.scenes,
                )
                for c in analysis.chains
            ],
        )
        for c in analysis.chains[:8]:
            page.chart(chain_chart(c), f"{c.cell}: {c.measure}.")
        add_absorption(page, analysis)
    if analysis.survival:
        _add_curves(page, analysis.survival, *SURVIVAL, survival_chart(analysis))
        add_hazards(page, analysis)
    if analysis.drift:
        _add_curves(page, analysis.drift, *DRIFT, drift_chart(analysis))
    if analysis.slopes:
        page.table(
            ["condition", "slope a turn (log odds of the pole) [interval]", "units"],
            [(name, estimate_text(e), unit_count(e)) for name, e in analysis.slopes],
        )


def add_hazards(page: Page, analysis: Analysis) -> None:
    """Add the hazard ratio of each condition against the first one."""
    if not analysis.hazards:
        return
    page.say(
        f"Log hazard ratios of the first break against {analysis.reference}: below 0, scenes break "
        "later than there. The model is complementary log-log in discrete time, with a term for "
        "each turn and errors clustered by block; it assumes proportional hazards. This is "
        "exploratory, not planned, and no p is corrected."
    )
    page.table(
        ["condition", "log hazard ratio [interval]", "p", "units"],
        [
            (h.condition, estimate_text(h.ratio), number(h.p), unit_count(h.ratio))
            for h in analysis.hazards
        ],
    )


def _add_curves(page: Page, curves: Sequence[Curve], title: str, y: str, picture: str) -> None:
    page.head(title)
    page.chart(picture, f"{title}: {y}, with pointwise 95% intervals{_only(curves)}.")


SURVIVAL = ("Time to the first break", "share of scenes without a break")
DRIFT = ("Drift over turns", "mean score")


def survival_chart(analysis: Analysis) -> str:
    """Return the survival curves of scenes without a break, by condition, as SVG."""
    return _curves(analysis.survival, *SURVIVAL, stepped=True)


def drift_chart(analysis: Analysis) -> str:
    """Return the curves of mean scores over turns, by condition, as SVG."""
    return _curves(analysis.drift, *DRIFT, stepped=False)


def _curves(curves: Sequence[Curve], title: str, y: str, *, stepped: bool) -> str:
    return charts.line_chart(title, f"{y}, by turn", "turn", y, list(_lines(curves, stepped)))


def chain_chart(c: CellChain) -> str:
    """Return the chain of a condition as SVG."""
    pole, _, opposite = c.measure.partition(":")[2].partition("/")
    chain = c.chain
    return charts.chain_figure(
        c.cell,
        pole or "kept",
        opposite or "broken",
        f"α {estimate_text(chain.alpha)}",
        f"β {estimate_text(chain.beta)}",
        (chain.alpha.value, chain.beta.value),
    )


def add_absorption(page: Page, analysis: Analysis) -> None:
    """Add the tests of β = 0, over the judge's errors that its planted lines allow."""
    grids = [(cell, grid) for cell, grid in analysis.absorptions if grid]
    if not grids:
        return
    page.say(
        "The rates above are those of the judge's labels without correction, and a judge that "
        "misses lines invents returns. Is the opposite absorbing (β = 0)? A hidden chain takes the "
        "judge's errors out, once as calibrated and once at each limit that its planted lines "
        "allow; a claim is valid only if it holds at all of them. This is exploratory, not planned."
    )
    levels = [f"p at Se {a.sensitivity:.2f}, Sp {a.specificity:.2f}" for a in grids[0][1]]
    page.table(
        ["condition", "naive β", "β [interval], judge as calibrated", *levels, "largest p"],
        [
            (
                cell,
                number(grid[0].naive),
                estimate_text(grid[0].beta),
                *(number(a.p) for a in grid),
                number(least.p) if (least := least_certain(grid)) is not None else "—",
            )
            for cell, grid in grids
        ],
    )


def _lines(curves: Sequence[Curve], stepped: bool) -> Iterator[ChartLine]:
    drawn = curves[: len(charts.COLOURS)]
    for name, curve in zip(graph.distinguishing_names([c.name for c in drawn]), drawn, strict=True):
        points = [(x, y) for x, y, _, _ in curve.points if not math.isnan(y)]
        band = [
            (x, low, high)
            for x, _, low, high in curve.points
            if not (math.isnan(low) or math.isnan(high))
        ]
        yield ChartLine(name, points, stepped, band)


def _only(curves: Sequence[Curve]) -> str:
    most = len(charts.COLOURS)
    return f"; the first {most} of {len(curves)} conditions" if len(curves) > most else ""


def add_networks(page: Page, material: Material) -> None:
    """Add the networks of who speaks to whom, by condition, as context; they are no outcome."""
    talk = [measured for measured in material.talk.graphs if measured.graph.number_of_edges()]
    if not talk:
        return
    page.head("Who speaks to whom")
    scene, drawn = graph.largest_cast(talk[:_MAX_NETWORKS])
    only = (
        f" The first {_MAX_NETWORKS} of {len(talk)} conditions."
        if len(talk) > _MAX_NETWORKS
        else ""
    )
    page.chart(
        graph.draw_graphs(drawn, inks=ON_PAGE, plain=True, across=min(3, len(drawn))),
        (f"{scene}, the scene with the largest cast. " if scene else "")
        + "Lines to an addressee, per scene: the width of an arrow is their number, and its pale "
        "part is guessed; dashed: the author’s notes and cues." + only,
    )
    page.say(
        "Means over scenes. In brackets: the range of 95% of null models, in which everybody "
        "speaks and is addressed as often, in a random order. These figures are not planned."
    )
    _add_figures(page, material, talk)
    outright = material.talk.outright
    if not outright:
        return
    shares = ", ".join(
        f"{name or material.run} {number(share)}" for name, share in material.talk.shares.items()
    )
    page.say(
        "In a scene of three or more, most addressees are guesses, and about one guess in four is "
        "wrong (docs/graphs.md). Share of the lines to somebody that say or name whom they "
        f"address: {shares}. The same figures by these lines alone; what both tables do not share "
        "is no finding:"
    )
    _add_figures(page, material, outright)


def _add_figures(page: Page, material: Material, talk: Sequence[graph.MeasuredGraph]) -> None:
    page.table(
        ["condition", *_SHOWN_FIGURES],
        [
            (
                measured.name or material.run,
                *(_figure_text(measured.figures.get(f)) for f in _SHOWN_FIGURES),
            )
            for measured in talk
        ],
    )


def _figure_text(figure: NullComparison | None) -> str:
    if figure is None or math.isnan(figure.value.value):
        return "—"
    if figure.fixed:
        return number(figure.value.value)
    return f"{number(figure.value.value)} [{number(figure.low)}, {number(figure.high)}]"


EXPLORATORY_NOTE = (
    "These comparisons were not planned. Their p are corrected by Benjamini and Hochberg over "
    "all of them. They may suggest a next plan, and decide nothing."
)


def add_exploratory_contrasts(page: Page, analysis: Analysis, *, hidden: bool) -> None:
    if not analysis.exploratory or hidden:
        return
    page.head("Exploratory")
    page.say(EXPLORATORY_NOTE)
    add_contrasts(page, analysis.exploratory, "difference", "Benjamini–Hochberg")
