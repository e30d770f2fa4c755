"""The exhibits of a report: contrasts, judges, chains, curves, and what nobody planned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from improv.analysis.inference import Analysis
from improv.analysis.stats.chain import least_certain
from improv.analysis.stats.contrast import Contrast
from improv.analysis.trajectories import CellChain, Curve
from improv.graph import figure as graph
from improv.graph.drawing import ON_PAGE
from improv.graph.null_model import NullComparison
from improv.report import charts
from improv.report.charts import Line, Mark
from improv.report.material import Material
from improv.report.numbers import counted, number, shown, units
from improv.report.page import Page

NETWORKS = 9
"""Conditions whose networks are drawn."""
FIGURED = ("balance", "reciprocity", "answered", "latency", "usurped", "author")
"""The figures of a network that a report shows; `improv graph` has all."""


def contrasts(page: Page, found: Sequence[Contrast], x: str, correction: str) -> None:
    if not found:
        return
    page.table(
        ["contrast", "estimate [interval]", "p", f"p ({correction})", "units", "left out"],
        [
            (c.name, shown(c.estimate), number(c.p), number(c.adjusted), units(c), len(c.dropped))
            for c in found
        ],
    )
    marks = [
        Mark(c.name, c.estimate.value, c.estimate.low, c.estimate.high, shown(c.estimate))
        for c in found
    ]
    page.chart(
        charts.forest("Contrasts", "; ".join(f"{m.name} {m.said}" for m in marks), x, marks),
        f"Estimates with their {found[0].estimate.level:.0%} intervals.",
    )


def judging(page: Page, of: Material) -> None:
    if not of.judges:
        return
    page.head("Judges")
    page.say(
        "Planted lines whose truth is known were put to each judge among the lines of each arm. "
        "Sensitivity is the share of lines at the opposite that it called so, specificity the "
        "share of the others that it did not."
    )
    rows = []
    for j in of.judges:
        for condition, (confusion, verdict) in j.arms.items():
            se, sp = confusion.sensitivity(), confusion.specificity()
            able = "can judge" if verdict.able else "cannot judge"
            rows.append(
                (
                    j.measure,
                    j.judge,
                    condition,
                    shown(se),
                    shown(sp),
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
    for j in of.judges:
        if not j.able:
            reason = next(v.reason for _, v in j.arms.values() if not v.able)
            page.note(f"{j.judge} cannot judge {j.measure}: {reason}. Its rates are not shown.")
        elif j.difference.differs:
            kinds_of = " and ".join(j.difference.differs)
            page.note(
                f"{j.judge} errs differently from arm to arm in {kinds_of} ({j.measure}); each arm "
                "is corrected by its own rates."
            )
        if not math.isnan(j.agreement.value):
            page.say(
                f"Agreement of judges on {j.measure} (Krippendorff's α): {shown(j.agreement)}."
            )


def pictures(page: Page, found: Analysis, *, hidden: bool) -> None:
    if hidden:
        return
    if found.chains:
        page.head("Flips, and the way back")
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
                    shown(c.chain.alpha),
                    shown(c.chain.beta),
                    shown(c.chain.opposite_share),
                    shown(c.chain.spell),
                    c.chain.scenes,
                )
                for c in found.chains
            ],
        )
        for c in found.chains[:8]:
            page.chart(chain_of(c), f"{c.cell}: {c.measure}.")
        absorbing(page, found)
    if found.survival:
        _pictured(page, found.survival, *SURVIVAL, survival(found))
        hazards(page, found)
    if found.drift:
        _pictured(page, found.drift, *DRIFT, drift(found))
    if found.slopes:
        page.table(
            ["condition", "slope a turn (log odds of the pole) [interval]", "units"],
            [(name, shown(e), counted(e)) for name, e in found.slopes],
        )


def hazards(page: Page, found: Analysis) -> None:
    """Show how each condition changes the risk of breaking at a turn, against the first one."""
    if not found.hazards:
        return
    page.say(
        f"Log hazard ratios of the first break against {found.reference}: below 0, scenes break "
        "later than there. Time is counted in turns, by a complementary log-log model with a term "
        "for each turn, its errors clustered by block; it takes hazards for proportional. Nobody "
        "planned this: it is exploratory, and no p is corrected."
    )
    page.table(
        ["condition", "log hazard ratio [interval]", "p", "units"],
        [(h.condition, shown(h.ratio), number(h.p), counted(h.ratio)) for h in found.hazards],
    )


def _pictured(page: Page, curves: Sequence[Curve], title: str, y: str, picture: str) -> None:
    page.head(title)
    page.chart(picture, f"{title}: {y}, with pointwise 95% intervals{_only(curves)}.")


SURVIVAL = ("Time to the first break", "share of scenes without a break")
DRIFT = ("Drift over turns", "mean score")


def survival(found: Analysis) -> str:
    """Return how long scenes stay without a break, condition by condition, as a picture."""
    return _curves(found.survival, *SURVIVAL, stepped=True)


def drift(found: Analysis) -> str:
    """Return how scores go turn by turn, condition by condition, as a picture."""
    return _curves(found.drift, *DRIFT, stepped=False)


def _curves(curves: Sequence[Curve], title: str, y: str, *, stepped: bool) -> str:
    return charts.lines(title, f"{y}, by turn", "turn", y, list(_lines(curves, stepped)))


def chain_of(c: CellChain) -> str:
    """Return a condition's chain as a picture."""
    pole, _, opposite = c.measure.partition(":")[2].partition("/")
    found = c.chain
    return charts.chain(
        c.cell,
        pole or "kept",
        opposite or "broken",
        f"α {shown(found.alpha)}",
        f"β {shown(found.beta)}",
        (found.alpha.value, found.beta.value),
    )


def absorbing(page: Page, found: Analysis) -> None:
    """Tell whether the way back is closed, over the errors that planted lines allow a judge."""
    grids = [(cell, grid) for cell, grid in found.absorptions if grid]
    if not grids:
        return
    page.say(
        "The rates above are those of the judge's labels as they stand, and a judge that misses "
        "lines makes returns out of nothing. Is the opposite absorbing (β = 0)? A hidden chain "
        "with the judge's errors taken out, as calibrated and at the ends of what its planted "
        "lines allow; only what holds at all of them may be said. Nobody planned this: it is "
        "exploratory."
    )
    levels = [f"p at Se {a.sensitivity:.2f}, Sp {a.specificity:.2f}" for a in grids[0][1]]
    page.table(
        ["condition", "naive β", "β [interval], judge as calibrated", *levels, "largest p"],
        [
            (
                cell,
                number(grid[0].naive),
                shown(grid[0].beta),
                *(number(a.p) for a in grid),
                number(least.p) if (least := least_certain(grid)) is not None else "—",
            )
            for cell, grid in grids
        ],
    )


def _lines(curves: Sequence[Curve], stepped: bool) -> Iterator[Line]:
    drawn = curves[: len(charts.COLOURS)]
    for name, curve in zip(graph.distinguishing_names([c.name for c in drawn]), drawn, strict=True):
        points = [(x, y) for x, y, _, _ in curve.points if not math.isnan(y)]
        band = [
            (x, low, high)
            for x, _, low, high in curve.points
            if not (math.isnan(low) or math.isnan(high))
        ]
        yield Line(name, points, stepped, band)


def _only(curves: Sequence[Curve]) -> str:
    most = len(charts.COLOURS)
    return f"; the first {most} of {len(curves)} conditions" if len(curves) > most else ""


def networks(page: Page, of: Material) -> None:
    """Show who speaks to whom, by condition: no outcome, and the frame that others stand in."""
    talk = [made for made in of.talk if made.graph.number_of_edges()]
    if not talk:
        return
    page.head("Who speaks to whom")
    scene, drawn = graph.largest_cast(talk[:NETWORKS])
    only = f" The first {NETWORKS} of {len(talk)} conditions." if len(talk) > NETWORKS else ""
    page.chart(
        graph.draw_graphs(drawn, inks=ON_PAGE, plain=True, across=min(3, len(drawn))),
        (f"{scene}, the scene with the largest cast. " if scene else "")
        + "Lines spoken to somebody, a scene: an arrow is as wide as they are many, and pale as "
        "far as the order of turns is all that says to whom; dashed, the author’s notes and cues."
        + only,
    )
    page.say(
        "Means over scenes. In brackets, where 95% of null models lie, in which everybody says as "
        "much to as many, in an order that means nothing. Nobody planned these figures."
    )
    page.table(
        ["condition", *FIGURED],
        [(made.name or of.run, *(_beside(made.figures.get(f)) for f in FIGURED)) for made in talk],
    )


def _beside(one: NullComparison | None) -> str:
    if one is None or math.isnan(one.value.value):
        return "—"
    if one.fixed:
        return number(one.value.value)
    return f"{number(one.value.value)} [{number(one.low)}, {number(one.high)}]"


NOBODY = (
    "Nobody planned these comparisons. Their p are corrected by Benjamini and Hochberg over "
    "all of them; they suggest what to plan next, and decide nothing."
)


def explored(page: Page, found: Analysis, *, hidden: bool) -> None:
    if not found.exploratory or hidden:
        return
    page.head("Exploratory")
    page.say(NOBODY)
    contrasts(page, found.exploratory, "difference", "Benjamini–Hochberg")
