"""Writes what came of a run on one page that a referee could read. Pure: material in, page out.

The planned result stands first, with its interval and decision. Every number has its unit of
replication and a count of what is missing; what was not planned is called exploratory; a judge
that cannot judge has no rates printed.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from improv import chart
from improv.analysis import Analysis, Arm
from improv.chart import Line, Mark, thinned
from improv.curves import Curve
from improv.judged import Judged
from improv.ledger import Exposure, kinds
from improv.page import Page
from improv.plan import Plan
from improv.record import Json
from improv.stats.contrast import Contrast
from improv.stats.interval import Estimate

EMBEDDED, PUPPET = "embedded", "puppet"


@dataclass(frozen=True)
class Material:
    """What a report is made of: run.json, the study's words, rows of tables, and what was found.

    `calls` rows need endpoint, model, latency, error, retried and the token counts. `costs` maps
    a model to its dollars so far, None where it has no price. `lengths` are the rows that
    lengths.lengths made before the first call.
    """

    run: str
    meta: Json
    question: str
    about: str
    trials: Sequence[Json]
    calls: Sequence[Json]
    limits: Sequence[Json]
    analysis: Analysis
    exposure: Exposure
    judges: Sequence[Judged] = ()
    costs: Mapping[str, float | None] = field(default_factory=dict)
    lengths: Sequence[Json] = ()

    @property
    def embedded(self) -> bool:
        return EMBEDDED in self.meta.get("models", [])


def report(of: Material) -> Page:
    """Return the page of a run."""
    page = Page(f"{of.meta.get('study', 'A run')} · {of.run}")
    if of.question:
        page.say(of.question)
    if of.embedded:
        page.note(
            "Played by an embedded model of 135M parameters: a demonstration that all this works, "
            "and evidence of nothing else. Whatever follows decides nothing."
        )
    elif of.meta.get("models") == [PUPPET]:
        page.note(
            "Played by puppets, fake models of a declared process: what is found here was planted."
        )
    leaked = not of.exposure.clean
    _result(page, of, leaked)
    _plan(page, of)
    _design(page, of)
    _controls(page, of.analysis)
    _judging(page, of)
    _pictures(page, of.analysis, hidden=of.analysis.mute)
    _explored(page, of.analysis, hidden=of.analysis.mute)
    _missing(page, of.trials)
    _exposure(page, of.exposure)
    _cost(page, of)
    _weather(page, of.calls, of.limits)
    _reproduce(page, of)
    return page


def compared(several: Sequence[Material]) -> Page:
    """Return one page on several runs: what each found of the same contrasts."""
    page = Page("Runs side by side")
    hashes = {m.analysis.plan.hash if m.analysis.plan else "" for m in several}
    if len(hashes) > 1 or hashes == {""}:
        page.note(
            "These runs have no plan in common, so their findings answer different questions. "
            "What follows is exploratory."
        )
    elif len(several) > 1:
        page.say(
            "One plan, several runs. Each was decided by itself; that one run shows a contrast and "
            "another does not is no difference between them."
        )
    rows: list[tuple[object, ...]] = []
    for m in several:
        done = sum(t["origin"] == "main" and t["status"] == "done" for t in m.trials)
        state = "; ".join(m.analysis.stopped) or (
            "planned" if m.analysis.planned else "exploratory"
        )
        exposed = _exposed(m.exposure)
        models = ", ".join(m.meta.get("models", []))
        rows.append((m.run, m.meta.get("study", ""), models, done, state, exposed))
    page.table(["run", "study", "models", "done", "analysis", "exposure"], rows)
    for m in several:
        if m.embedded:
            page.note(f"{m.run}: played by a model of 135M parameters, a demonstration.")
    names = dict.fromkeys(c.name for m in several for c in m.analysis.findings)
    for name in names:
        page.head(name)
        told = [
            (m.run, c) for m in several if not m.analysis.mute
            for c in m.analysis.findings if c.name == name
        ]  # fmt: skip
        page.table(
            ["run", "estimate [interval]", "p", "p (Holm)", "units"],
            [(run, shown(c.estimate), _number(c.p), _number(c.adjusted), _units(c))
             for run, c in told],
        )  # fmt: skip
        marks = [Mark(run, c.estimate.value, c.estimate.low, c.estimate.high, shown(c.estimate))
                 for run, c in told]  # fmt: skip
        page.chart(chart.forest(name, name, "difference, with its interval", marks), name)
    page.head("Means by condition")
    page.table(
        ["run", "condition", "mean [interval]", "units", "missing"],
        [
            (m.run, arm.cell, "not shown: no judge could tell" if m.analysis.mute
             else shown(arm.value), arm.units, f"{arm.missing_share:.1%}")
            for m in several for arm in m.analysis.arms
        ],
    )  # fmt: skip
    return page


# -- the planned result -------------------------------------------------------------------------


def _result(page: Page, of: Material, leaked: bool) -> None:
    found = of.analysis
    if found.plan is None:
        page.head("Result")
        page.say(
            "This study has no plan: nothing was settled beforehand, so nothing is decided. What "
            "follows is exploratory."
        )
        for why in found.stopped:
            page.note(why)
        return
    page.head("Planned result" if found.planned else "Result (exploratory)")
    if not found.planned:
        page.note(
            "The plan that made this page is not the one whose hash was stored with the run before "
            "its first call. What it finds is exploratory."
        )
    page.say(f"Hypothesis: {found.plan.hypothesis}")
    if leaked:
        page.note(
            f"Nothing is decided: the exposure check found {_exposed(of.exposure)}; no arm may "
            "see another's text, and all that was shown must be known (see below)."
        )
    for why in found.stopped:
        page.note(f"Nothing is decided. {why}")
    if not of.analysis.mute:
        open_still = leaked or bool(found.stopped) or not found.planned or of.embedded
        page.listed([_sentence(c, found.plan, undecided=open_still) for c in found.findings])
        _contrasts(page, found.findings, "difference, with its interval", "Holm")
        short = _shortfall(found.plan, found.arms)
        if short:
            page.say(short)


def _sentence(c: Contrast, plan: Plan, *, undecided: bool) -> str:
    if math.isnan(c.estimate.value):
        return f"{c.name}: cannot be told ({c.estimate.why or 'no data'})."
    told = f"{c.name}: {shown(c.estimate)}, {_p(c.p)}, {_p(c.adjusted, 'Holm')}, {_units(c)}"
    if undecided:
        return f"{told}. Not decided."
    if c.rejected:
        way = "more" if c.estimate.value > 0 else "less"
        return f"{told}. Shown at α = {plan.alpha:g}: {way} on the first side."
    return f"{told}. Not shown at α = {plan.alpha:g}; that is no proof of sameness."


def _contrasts(page: Page, found: Sequence[Contrast], x: str, correction: str) -> None:
    if not found:
        return
    page.table(
        ["contrast", "estimate [interval]", "p", f"p ({correction})", "units", "left out"],
        [
            (c.name, shown(c.estimate), _number(c.p), _number(c.adjusted), _units(c),
             len(c.dropped))
            for c in found
        ],
    )  # fmt: skip
    marks = [Mark(c.name, c.estimate.value, c.estimate.low, c.estimate.high, shown(c.estimate))
             for c in found]  # fmt: skip
    page.chart(
        chart.forest("Contrasts", "; ".join(f"{m.name} {m.said}" for m in marks), x, marks),
        f"Estimates with their {found[0].estimate.level:.0%} intervals.",
    )


def _shortfall(plan: Plan, arms: Sequence[Arm]) -> str:
    most = max((arm.blocks for arm in arms), default=0)
    if most >= plan.blocks:
        return ""
    return (
        f"{plan.blocks} blocks were planned and {most} were played: intervals are wider than "
        "planned, and effects of the size that the plan was made for may be missed."
    )


def _plan(page: Page, of: Material) -> None:
    plan = of.analysis.plan
    if of.about:
        page.head("What it tests")
        page.say(of.about)
    if plan is None:
        return
    page.head("The plan")
    outcome = plan.outcome
    what = f"{_OUTCOMES[outcome.of]} of {outcome.measure}"
    if outcome.less:
        what += f" less that of {outcome.less}"
    hashes = [("hash of this plan", plan.hash)]
    stored = of.meta.get("analysis")
    hashes.append(("hash stored before the first call", stored or "none"))
    page.table(
        ["what", "which"],
        [
            ("primary outcome", what),
            ("compared", "within blocks" if outcome.unit == "block" else "scene against scene"),
            ("planned contrasts", len(plan.contrasts) or "the correlation of phrasings"),
            ("α, over all of them (Holm)", f"{plan.alpha:g}"),
            ("blocks", plan.blocks),
            ("stops", plan.stop),
            ("decides nothing above", f"{plan.exclude.missing_above:.0%} missing in an arm"),
            *hashes,
        ],
    )


_OUTCOMES = {
    "broken": "share of readable lines at the opposite",
    "broke": "whether a line is at the opposite",
    "mean": "mean score",
    "recovered": "whether it is back within so many own lines",
    "time": "turn of the first break",
    "collision": "collision probability of regenerated acts",
    "phrasing": "intraclass correlation of phrasings",
}


# -- the design, and what controls it -----------------------------------------------------------


def _design(page: Page, of: Material) -> None:
    page.head("What was played")
    rows = []
    for condition in of.meta.get("conditions", []):
        mains = [t for t in of.trials if t["condition"] == condition and t["origin"] == "main"]
        grown = sum(t["condition"] == condition and t["origin"] != "main" for t in of.trials)
        done = [t for t in mains if t["status"] == "done"]
        tokens = sum(t["prompt_tokens"] + t["completion_tokens"] for t in mains)
        turns, calls = (sum(t[name] for t in mains) for name in ("turns", "calls"))
        blocks = len({t["block"] for t in mains})
        rows.append(
            (condition, blocks, len(done), len(mains) - len(done), turns, calls, tokens, grown)
        )
    names = ["condition", "blocks", "done", "failed", "turns", "calls", "tokens", "branches"]
    page.table(names, rows)
    planned = int(of.meta.get("trials", 0))
    there = sum(t["origin"] == "main" for t in of.trials)
    if there < planned:
        page.say(f"{planned - there} of {planned} planned trials have not been played yet.")
    if of.analysis.outcome is not None and of.analysis.arms:
        outcome = of.analysis.outcome
        page.say(f"The outcome, {_OUTCOMES[outcome.of]} of {outcome.measure}, by condition:")
        page.table(
            ["condition", "mean [interval]", "corrected for the judge", "units", "without",
             "scores", "missing"],
            [_arm_row(arm, of) for arm in of.analysis.arms],
        )  # fmt: skip
    if of.lengths:
        page.say("Lengths of the texts that arms are told apart by, as the playing model counts:")
        page.table(
            ["scene", "text", "tokens", "matches", "tokens", "apart", "counted by"],
            [
                (r["scene"], r["context"], r["tokens"], r["matches"], r["of"],
                 f"{r['apart']:+.1%}", r["by"])
                for r in of.lengths
            ],
        )  # fmt: skip


def _arm_row(arm: Arm, of: Material) -> tuple[object, ...]:
    value = "not shown: no judge could tell" if of.analysis.mute else shown(arm.value)
    right = of.analysis.corrected.get(arm.cell)
    known = "" if right is None or of.analysis.mute else shown(right)
    share = f"{arm.missing} ({arm.missing_share:.1%})"
    return (arm.cell, value, known, arm.units, arm.without, arm.lines, share)


def _controls(page: Page, found: Analysis) -> None:
    checks = found.checks
    if not checks:
        return
    page.head("Controls")
    if found.mute:
        page.note("Not shown: no judge could tell.")
        return
    said = {True: "held", False: "did not hold", None: "cannot be told"}
    page.table(
        ["control", "what must hold", "found", "units", "verdict"],
        [
            (c.name, c.what, shown(c.estimate), f"{c.estimate.n} {c.estimate.unit}", said[c.held])
            for c in checks
        ],
    )
    if any(c.held is not True for c in checks):
        page.note(
            "A control that did not hold, or that so few units cannot tell, is a reason to doubt "
            "the result above."
        )


def _judging(page: Page, of: Material) -> None:
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
                (j.measure, j.judge, condition, shown(se), shown(sp),
                 confusion.opposite + confusion.pole, f"{confusion.unread:.1%}", able)
            )  # fmt: skip
    page.table(
        ["measure", "judge", "condition", "sensitivity", "specificity", "planted", "unread",
         "verdict"],
        rows,
    )  # fmt: skip
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


# -- pictures, and what nobody planned ----------------------------------------------------------


def _pictures(page: Page, found: Analysis, *, hidden: bool) -> None:
    if hidden:
        return
    if found.chains:
        page.head("Flips, and the way back")
        page.table(
            ["condition", "measure", "α: pole to opposite", "β: back", "share of opposite",
             "mean spell (lines)", "scenes"],
            [
                (c.cell, c.measure, shown(c.chain.alpha), shown(c.chain.beta),
                 shown(c.chain.opposite_share), shown(c.chain.spell), c.chain.scenes)
                for c in found.chains
            ],
        )  # fmt: skip
        for c in found.chains[:8]:
            pole, _, opposite = c.measure.partition(":")[2].partition("/")
            alpha, beta = f"α {shown(c.chain.alpha)}", f"β {shown(c.chain.beta)}"
            drawn = chart.chain(c.cell, pole or "kept", opposite or "broken", alpha, beta)
            page.chart(drawn, f"{c.cell}: {c.measure}.")
        _absorbing(page, found)
    for curves, title, y, stepped in (
        (found.survival, "Time to the first break", "share of scenes without a break", True),
        (found.drift, "Drift over turns", "mean score", False),
    ):
        if curves:
            page.head(title)
            page.chart(
                chart.lines(title, f"{y}, by turn", "turn", y, list(_lines(curves, stepped))),
                f"{title}: {y}, with pointwise 95% intervals{_only(curves)}.",
            )
    if found.slopes:
        page.table(
            ["condition", "slope a turn (log odds of the pole) [interval]", "units"],
            [(name, shown(e), f"{e.n} {e.unit}") for name, e in found.slopes],
        )


def _absorbing(page: Page, found: Analysis) -> None:
    """Tell whether the way back is closed, over the sensitivities that planted lines allow."""
    grids = [(cell, grid) for cell, grid in found.absorptions if grid]
    if not grids:
        return
    page.say(
        "The rates above are those of the judge's labels as they stand, and a judge that misses "
        "lines makes returns out of nothing. Is the opposite absorbing (β = 0)? A hidden chain "
        "with the judge's errors taken out, at each sensitivity that its planted lines allow; only "
        "what holds at all of them may be said. Nobody planned this: it is exploratory."
    )
    levels = [f"p at Se {a.sensitivity:.2f}" for a in grids[0][1]]
    page.table(
        ["condition", "naive β", "β [interval], Se as calibrated", *levels],
        [
            (cell, _number(grid[0].naive), shown(grid[len(grid) // 2].beta),
             *(_number(a.p) for a in grid))
            for cell, grid in grids
        ],
    )  # fmt: skip


def _lines(curves: Sequence[Curve], stepped: bool) -> Iterator[Line]:
    drawn = curves[: len(chart.COLOURS)]
    for name, curve in zip(_telling([c.name for c in drawn]), drawn, strict=True):
        points = [(x, y) for x, y, _, _ in curve.points if not math.isnan(y)]
        band = [(x, low, high) for x, _, low, high in curve.points
                if not (math.isnan(low) or math.isnan(high))]  # fmt: skip
        yield Line(name, points, stepped, band)


def _only(curves: Sequence[Curve]) -> str:
    most = len(chart.COLOURS)
    return f"; the first {most} of {len(curves)} conditions" if len(curves) > most else ""


def _telling(names: Sequence[str]) -> list[str]:
    """Leave out of the names of conditions the levels that all of them share."""
    parts = [name.split(" · ") for name in names]
    if len(names) < 2 or len({len(p) for p in parts}) > 1:
        return list(names)
    keep = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    return [" · ".join(p[i] for i in keep) or name for p, name in zip(parts, names, strict=True)]


def _explored(page: Page, found: Analysis, *, hidden: bool) -> None:
    if not found.exploratory or hidden:
        return
    page.head("Exploratory")
    page.say(
        "Nobody planned these comparisons. Their p are corrected by Benjamini and Hochberg over "
        "all of them; they suggest what to plan next, and decide nothing."
    )
    _contrasts(page, found.exploratory, "difference", "Benjamini–Hochberg")


# -- what is missing, who saw what, what it cost ------------------------------------------------


def _missing(page: Page, trials: Sequence[Json]) -> None:
    failed = [t for t in trials if t["status"] == "failed"]
    page.head("What is missing")
    if not failed:
        page.say("No trial failed.")
        return
    counts = Counter((t["condition"], t["failure_kind"]) for t in failed)
    of = Counter(t["condition"] for t in trials)
    page.table(
        ["condition", "why", "trials", "of"],
        [(c, kind, n, of[c]) for (c, kind), n in sorted(counts.items())],
    )


def _exposed(found: Exposure) -> str:
    if found.clean:
        return "clean"
    unknown = f"{found.unknown} unknown blocks" if found.unknown else ""
    return ", ".join(filter(None, [f"{found.leaked} leaks" if found.leaked else "", unknown]))


def _exposure(page: Page, found: Exposure) -> None:
    page.head("Who saw what")
    there = kinds(found)
    conditions = list(dict.fromkeys(condition for condition, _ in found.seen))
    page.say(
        f"The exposure ledger: {found.blocks:,} blocks in the prompts of {found.prompts:,} roles "
        "of scenes and branches were checked. Distinct blocks of each kind, by condition:"
    )
    page.table(
        ["condition", *there],
        [(c, *(found.seen.get((c, kind), 0) for kind in there)) for c in conditions],
    )
    if found.clean:
        page.say("No arm was shown a text that only another arm may see.")
        return
    if found.unknown:
        page.note(f"{found.unknown} blocks are listed by calls and stand in no table.")
    if found.leaked:
        page.note(f"{found.leaked} blocks belong to another arm or another role:")
        page.table(
            ["condition", "trial", "who saw it", "kind", "whose it is", "text"],
            [(k.condition, k.trial, k.role, k.kind, k.owner, k.text) for k in found.leaks],
        )


def _cost(page: Page, of: Material) -> None:
    page.head("What it took")
    rows = []
    for model in sorted({c["model"] for c in of.calls}):
        own = [c for c in of.calls if c["model"] == model]
        asked, answered, cached = (
            sum(c[name] or 0 for c in own)
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
        )
        cost = of.costs.get(model)
        dollars = "unknown" if cost is None else f"${cost:.2f}"
        rows.append((model, len(own), asked, cached, answered, dollars))
    names = ["model", "calls", "prompt tokens", "of them cached", "completion tokens", "cost"]
    page.table(names, rows)


def _weather(page: Page, calls: Sequence[Json], limits: Sequence[Json]) -> None:
    page.head("Endpoints and their weather")
    rows = []
    for endpoint in sorted({c["endpoint"] for c in calls}):
        own = [c for c in calls if c["endpoint"] == endpoint]
        latencies = sorted(c["latency"] for c in own if not c["error"])
        retried = Counter(why for c in own for why in c["retried"] or ())
        reasons = ", ".join(f"{why} × {n}" for why, n in retried.most_common())
        middle = latencies[len(latencies) // 2] if latencies else 0.0
        slow = latencies[int(0.95 * (len(latencies) - 1))] if latencies else 0.0
        errors = sum(bool(c["error"]) for c in own)
        seconds = f"{middle:.2f} / {slow:.2f}"
        rows.append((endpoint, len(own), errors, sum(retried.values()), reasons or "none", seconds))
    names = ["endpoint", "calls", "failed", "retries", "why", "seconds (median / 95%)"]
    page.table(names, rows)
    for endpoint in sorted({m["endpoint"] for m in limits}):
        moments = [m for m in limits if m["endpoint"] == endpoint]
        began = min(m["at"] for m in moments)
        limit = thinned([(m["at"] - began, float(m["limit"])) for m in moments])
        flying = thinned([(m["at"] - began, float(m["in_flight"])) for m in moments])
        cuts = sum(m["event"] == "cut" for m in moments)
        refused = sum(m["limited"] for m in moments)
        ended = refused + sum(m["ok"] + m["errors"] for m in moments)
        what = (
            f"The limit on calls in flight to {endpoint} began at {moments[0]['limit']} and ended "
            f"at {moments[-1]['limit']}; it was cut {cuts} times. {refused} of {ended} requests "
            "were refused with 429."
        )
        drawn = [Line("limit", limit, steps=True), Line("in flight", flying)]
        svg = chart.lines(f"Limit of {endpoint}", what, "seconds", "calls in flight", drawn)
        page.chart(svg, what)


def _reproduce(page: Page, of: Material) -> None:
    page.head("How to reproduce")
    meta = of.meta
    versions = meta.get("versions", {})
    page.table(
        ["what", "which"],
        [
            ("hash of the trials", meta.get("plan", "")),
            ("seed", meta.get("seed", "")),
            ("models", ", ".join(meta.get("models", []))),
            ("program", meta.get("program", "")),
            ("begun", meta.get("created", "")),
            *((name, version) for name, version in versions.items()),
        ],
    )
    source = meta.get("source") or {}
    file = source.get("file") if isinstance(source, dict) else None
    page.say(
        "The run folder holds the study as it was resolved (study.yaml), every call with what it "
        "was shown, and every reply. With the same improv:"
    )
    name = of.run
    file = shlex.quote(" ".join(str(file or f"{name}/study.yaml").split()))
    page.code(
        f"improv run {file}   # plays it anew, under another run id\n"
        f"improv replay {name}   # steps every scene again from its calls, and compares\n"
        f"improv score {name}    # redoes the measures\n"
        f"improv report {name}   # writes this page"
    )


# -- numbers in words ---------------------------------------------------------------------------


def shown(e: Estimate) -> str:
    """Return an estimate with its interval as text, and the reason where there is none."""
    if math.isnan(e.value):
        return f"— ({e.why})" if e.why else "—"
    if math.isnan(e.low) or math.isnan(e.high):
        return f"{_number(e.value)} [no interval{f': {e.why}' if e.why else ''}]"
    return f"{_number(e.value)} [{_number(e.low)}, {_number(e.high)}]"


def _number(value: float) -> str:
    value += 0.0  # no −0
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.3g}".replace("-", "−") if abs(value) < 100 else f"{value:,.0f}"


def _p(p: float, what: str = "") -> str:
    name = f"p ({what})" if what else "p"
    return f"{name} < .001" if p < 0.001 else f"{name} = {_number(p)}"


def _units(c: Contrast) -> str:
    return f"{c.estimate.n} {c.estimate.unit}"
