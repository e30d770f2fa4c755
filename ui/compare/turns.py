"""The Compare room's charts over turns: time to the first break, drift, and chains as figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from improv.analysis.inference import Analysis
from improv.analysis.trajectories import CellChain, Curve
from improv.graph.figure import distinguishing_names
from improv.records import digest
from improv.report import sections
from improv.report.numbers import estimate_text, unit_count
from improv.report.page import Page
from ui.compare import chart
from ui.compare.view import LINES_AT_FIRST, picked_point
from ui.shared import address, chart_colours, navigation, run_data
from ui.shared.html import inert, label, safe, short_line


def turns(run: run_data.ViewedRun, analysis: Analysis) -> None:
    """Draw the scenes over turns: survival, drift, chains."""
    if analysis.mute:
        return
    if analysis.survival or analysis.drift:
        picked = _picked_lines(run, analysis, [c.name for c in analysis.survival or analysis.drift])
        for curves, kind, title, y, steps in (
            (
                analysis.survival,
                "break",
                "Time to the first break",
                "share of scenes without a break",
                True,
            ),
            (analysis.drift, "line", "Drift over turns", "mean score", False),
        ):
            if curves:
                _curves(run, analysis, curves, kind, title, y, picked, steps=steps)
    if analysis.chains:
        _chains(run, analysis)


def _picked_lines(run: run_data.ViewedRun, analysis: Analysis, names: Sequence[str]) -> list[str]:
    """Offer the conditions whose curves are drawn, where there are many; return the choice. The
    first choice is the conditions of the planned contrasts."""
    if len(names) <= LINES_AT_FIRST:
        return list(names)
    short = dict(zip(names, distinguishing_names(names), strict=True))
    key = f"lines-{digest(repr((run.id, names)))}"
    if key not in st.session_state:
        known = analysis.compared
        order = [*(n for n in known if n in names), *(n for n in names if n not in known)]
        st.session_state[key] = [n for n in names if n in order[:LINES_AT_FIRST]]
    with st.container(key="compare-lines"):
        picked = st.multiselect(
            "Conditions to draw",
            list(names),
            key=key,
            format_func=lambda n: label(short[n]),
            max_selections=chart.MOST_LINES,
        )
    return [n for n in names if n in picked]


def _curves(
    run: run_data.ViewedRun,
    analysis: Analysis,
    curves: Sequence[Curve],
    kind: str,
    title: str,
    y: str,
    picked: Sequence[str],
    *,
    steps: bool,
) -> None:
    st.html(f'<h2 class="side-title">{title}</h2>')
    every = [c.name for c in curves]
    short = distinguishing_names(every)
    drawn = [(i, short[i], c) for i, c in enumerate(curves) if c.name in picked]
    if not drawn:
        st.html('<p class="together">No condition is chosen.</p>')
        return
    chosen = None
    if (
        address.get("of") == kind
        and address.get("condition") in every
        and address.get("turn").isdecimal()
    ):
        chosen = (every.index(address.get("condition")), int(address.get("turn")[:9]))
    key = f"{kind}-{digest(repr((run.id, run.stamp, picked)))}"
    st.vega_lite_chart(
        spec=chart.curves(drawn, chosen, chart_colours.current(), y=y, steps=steps),
        key=key,
        theme=None,
        on_select=partial(picked_point, key, kind, every),
        selection_mode=chart.PICK,
        alt=f"{title}: {y}, by turn. " + " ".join(_ends(n, c) for _, n, c in drawn),
    )
    left = [n for n in every if n not in picked]
    more = f"; {len(left)} of {len(every)} conditions are not drawn" if left else ""
    st.html(
        f'<p class="quiet">Pointwise 95% intervals{more}. A point leads to the scenes behind it.'
        "</p>"
    )
    with st.expander(f"{title}, as a table"):
        st.dataframe(_table(curves, y), hide_index=True)
        if kind == "line" and analysis.slopes:
            st.dataframe(
                pd.DataFrame(
                    {
                        "condition": [name for name, _ in analysis.slopes],
                        "slope a turn (log odds of the pole) [interval]": [
                            estimate_text(e) for _, e in analysis.slopes
                        ],
                        "units": [unit_count(e) for _, e in analysis.slopes],
                    }
                ),
                hide_index=True,
            )


def _ends(name: str, curve: Curve) -> str:
    known = [(turn, value) for turn, value, _, _ in curve.points if value == value]
    if not known:
        return ""
    (first, a), (last, b) = known[0], known[-1]
    return f"{short_line(name, 60)}: {a:.2f} at turn {first:g}, {b:.2f} at turn {last:g}."


def _table(curves: Sequence[Curve], y: str) -> pd.DataFrame:
    rows = [(c.name, *point) for c in curves for point in c.points]
    frame = pd.DataFrame(rows, columns=["condition", "turn", y, "low", "high"])
    return frame.astype({"turn": "int64"}).round(4)


def _chains(run: run_data.ViewedRun, analysis: Analysis) -> None:
    st.html('<h2 class="side-title">Flips and returns</h2>')
    names = distinguishing_names([c.cell for c in analysis.chains])
    figures = "".join(_chain(run, c, name) for c, name in zip(analysis.chains, names, strict=True))
    st.html(f'<div class="chains">{figures}</div>')
    page = Page("")
    sections.add_absorption(page, analysis)
    if page.html:
        with st.expander("Is the opposite absorbing?"):
            st.html(
                '<div class="from-report" tabindex="0" role="region" aria-label="Is the '
                f'opposite absorbing?">{inert("".join(page.html))}</div>'
            )
    with st.expander("The chains as a table"):
        st.dataframe(
            pd.DataFrame(
                {
                    "condition": [c.cell for c in analysis.chains],
                    "measure": [c.measure for c in analysis.chains],
                    "α: pole to opposite": [estimate_text(c.chain.alpha) for c in analysis.chains],
                    "β: back": [estimate_text(c.chain.beta) for c in analysis.chains],
                    "share of opposite": [
                        estimate_text(c.chain.opposite_share) for c in analysis.chains
                    ],
                    "mean spell (lines)": [estimate_text(c.chain.spell) for c in analysis.chains],
                    "scenes": [c.chain.scenes for c in analysis.chains],
                }
            ),
            hide_index=True,
        )


def _chain(run: run_data.ViewedRun, c: CellChain, name: str) -> str:
    counts = c.chain.counts
    links = []
    for kind, many, noun in (("fall", counts.n01, "fall"), ("back", counts.n10, "return")):
        label = f"{many:,} {noun}{'' if many == 1 else 's'}"
        if many:
            label = navigation.link(
                "compare",
                label,
                name=f"{label} under {name}: the scenes",
                run=run.id,
                condition=c.cell,
                of=kind,
            )
        links.append(label)
    return (
        f"<figure>{_picture(c)}<figcaption><span>{safe(short_line(name, 90))}</span> "
        f'<span class="quiet">{" · ".join(links)} · {c.chain.scenes:,} scenes</span>'
        "</figcaption></figure>"
    )


def _picture(c: CellChain) -> str:
    """Return a chain as an image, because Streamlit removes inline SVG."""
    ink = chart_colours.current()
    style = (
        f"text{{font:12px 'Source Sans','DejaVu Sans',sans-serif;fill:{ink.faint}}}"
        f"text.name{{font:600 15px {ink.serif.replace(chr(34), chr(39))};fill:{ink.ink}}}"
    )
    svg = inert(sections.chain_chart(c)).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
    )
    svg = svg.replace("<title>", f"<style>{style}</style><title>", 1)
    coded = base64.b64encode(svg.encode()).decode()
    alpha, beta = estimate_text(c.chain.alpha), estimate_text(c.chain.beta)
    alt = f"From the pole to the opposite {alpha}; back {beta}."
    return f'<img alt="{safe(alt)}" src="data:image/svg+xml;base64,{coded}">'
