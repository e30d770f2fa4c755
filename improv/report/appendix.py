"""The last sections of a report: missing trials, exposure, cost, endpoints, reproduction."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from improv.analysis.delivery import delivery_rows, loss_sentences, short_arms
from improv.analysis.exposure import Exposure, shown_kinds
from improv.models.budget import BYTES_PER_TOKEN
from improv.records import MOST_UNDELIVERED, Delivery, Json
from improv.report import charts
from improv.report.charts import ChartLine, thin_points
from improv.report.material import Material
from improv.report.page import Page


def add_missing(page: Page, trials: Sequence[Json], failures: Sequence[Json]) -> None:
    """Say which trials failed, and which were played again after they had failed."""
    failed = [t for t in trials if t["status"] == "failed"]
    page.head("What is missing")
    if not failed:
        page.say("No trial failed." if not failures else "No trial failed in the end.")
        _add_played_again(page, trials, failures)
        return
    counts = Counter((t["condition"], t["failure_kind"]) for t in failed)
    totals = Counter(t["condition"] for t in trials)
    page.table(
        ["condition", "why", "trials", "of"],
        [(c, kind, n, totals[c]) for (c, kind), n in sorted(counts.items())],
    )
    _add_played_again(page, trials, failures)


def _add_played_again(page: Page, trials: Sequence[Json], failures: Sequence[Json]) -> None:
    """Say which plays failed before they were played again: what failed first may differ from the
    rest, so a reader should know."""
    if not failures:
        return
    done = {(t["trial"], t["branch"]) for t in trials if t["status"] == "done"}
    plays = Counter((f["condition"], f["failure_kind"]) for f in failures)
    whole = {(f["trial"], f["branch"]): (f["condition"], f["failure_kind"]) for f in failures}
    finished = Counter(why for key, why in whole.items() if key in done)
    page.say(
        f"{len(whole):,} trials and branches failed at first and were played again from the call "
        f"that failed; {sum(finished.values()):,} of them are done now."
    )
    page.table(
        ["condition", "why at first", "failures", "done since"],
        [(c, kind, n, finished[c, kind]) for (c, kind), n in sorted(plays.items())],
    )


def add_delivery(page: Page, arms: Mapping[str, Delivery]) -> None:
    """Add what was asked for and did not arrive, though no call failed."""
    page.head("What was not delivered")
    counted = delivery_rows(arms)
    if not counted:
        page.say("Every reply arrived and could be read; no endpoint cut a prompt that was seen.")
        return
    names = ["condition", "what", "what was wrong", "of them", "asked for"]
    page.table(names, counted)
    page.listed(loss_sentences(arms))
    if short := short_arms(arms):
        page.note(
            f"More than {MOST_UNDELIVERED:.0%} of the lines, or of the author's replies, are "
            f"missing in: {', '.join(short)}."
        )


def add_exposure(page: Page, exposure: Exposure) -> None:
    """Say who saw what, what was looked for, and what leaked."""
    page.head("Who saw what")
    kinds = shown_kinds(exposure)
    conditions = list(dict.fromkeys(condition for condition, _ in exposure.seen))
    page.say(
        f"The exposure ledger: {exposure.blocks:,} blocks in the prompts of "
        f"{exposure.prompts:,} roles of scenes and branches were checked. "
        "Distinct blocks of each kind, by condition:"
    )
    page.table(
        ["condition", *kinds],
        [(c, *(exposure.seen.get((c, kind), 0) for kind in kinds)) for c in conditions],
    )
    page.say(
        "Looked for: whole blocks of another arm or of another role's head; and in every other "
        f"block {exposure.looked_for}. Every block of every prompt of the scenes was looked at. A "
        "judge is shown the traits, cards or secrets and the lines of its own scene, and no "
        "author's text."
    )
    page.say(
        "Cannot be seen: a paraphrase, a translation, and fewer words than that. What was made up "
        "in the scenes of another arm is not compared, as no scene is shown another scene."
    )
    if exposure.clean:
        page.say("No arm was shown words of this kind that only another arm may see.")
    if exposure.unknown:
        page.note(f"{exposure.unknown} blocks are listed by calls but are in no table.")
    if exposure.leaked:
        page.note(
            f"{exposure.leaked} times a role was shown what belongs to another arm or another role:"
        )
        names = ["condition", "trial", "who saw it", "kind", "whose it is", "quoted words", "text"]
        leaks = exposure.leaks
        page.table(
            names,
            [(k.condition, k.trial, k.role, k.kind, k.owner, k.quoted, k.text) for k in leaks],
        )
    if exposure.chance:
        page.say(
            f"{exposure.chance} times a role was shown words of another arm's author or secret "
            "that are too few to tell from chance. They decide nothing; read some of them:"
        )
        page.table(
            ["condition", "trial", "who saw it", "kind", "shared words", "text"],
            [(k.condition, k.trial, k.role, k.kind, k.quoted, k.text) for k in exposure.doubts],
        )


def add_cost(page: Page, material: Material) -> None:
    page.head("Cost")
    rows = []
    for model in sorted({c["model"] for c in material.calls}):
        own = [c for c in material.calls if c["model"] == model]
        prompt, completion, cached = (
            sum(c[name] or 0 for c in own)
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
        )
        cost = material.costs.get(model)
        dollars = "unknown" if cost is None else f"${cost:.2f}"
        rows.append((model, len(own), prompt, cached, completion, dollars))
    names = ["model", "calls", "prompt tokens", "of them cached", "completion tokens", "cost"]
    page.table(names, rows)
    if estimated := sum(bool(c.get("estimated")) for c in material.calls):
        page.say(
            f"The tokens of {estimated:,} calls are estimated by length, one token for "
            f"{BYTES_PER_TOKEN} bytes, because the endpoint does not count them; the true numbers "
            "are probably smaller."
        )


def add_endpoints(page: Page, calls: Sequence[Json], limits: Sequence[Json]) -> None:
    page.head("Endpoints")
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
        limit = thin_points([(m["at"] - began, float(m["limit"])) for m in moments])
        in_flight = thin_points([(m["at"] - began, float(m["in_flight"])) for m in moments])
        cuts = sum(m["event"] == "cut" for m in moments)
        refused = sum(m["limited"] for m in moments)
        ended = refused + sum(m["ok"] + m["errors"] for m in moments)
        caption = (
            f"The limit on calls in flight to {endpoint} began at {moments[0]['limit']} and ended "
            f"at {moments[-1]['limit']}; it was cut {cuts} times. {refused} of {ended} requests "
            "were refused with 429."
        )
        drawn = [ChartLine("limit", limit, steps=True), ChartLine("in flight", in_flight)]
        svg = charts.line_chart(
            f"Limit of {endpoint}", caption, "seconds", "calls in flight", drawn
        )
        page.chart(svg, caption)


def add_reproduction(page: Page, material: Material) -> None:
    page.head("How to reproduce")
    meta = material.meta
    versions = meta.get("versions", {})
    page.table(
        ["what", "which"],
        [
            ("hash of the trials", meta.get("trials_hash", "")),
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
        "The run folder holds the resolved study (study.yaml), every call with its prompt, and "
        "every reply. With the same version of improv:"
    )
    name = material.run
    file = shlex.quote(" ".join(str(file or f"{name}/study.yaml").split()))
    page.code(
        f"improv run {file}   # plays it again, as a new run\n"
        f"improv replay {name}   # replays every scene from its calls, and compares\n"
        f"improv score {name}    # computes the measures again\n"
        f"improv report {name}   # writes this page"
    )


def exposure_summary(exposure: Exposure) -> str:
    if exposure.clean:
        return "clean"
    counted = ((exposure.leaked, "leak"), (exposure.unknown, "unknown block"))
    return ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counted if n)
