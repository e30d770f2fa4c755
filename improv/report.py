"""Writes what came of a run on one page: HTML that opens offline, and Markdown. Pure.

It reads tables and run.json and knows nothing of folders. Every rate has its count beside it, and
what is missing is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from improv.chart import Line, lines, thinned
from improv.record import Json


@dataclass
class Page:
    """A page while it is written: the same paragraphs, tables and charts twice."""

    title: str
    html: list[str] = field(default_factory=list)
    markdown: list[str] = field(default_factory=list)

    def head(self, text: str) -> None:
        self.html.append(f"<h2>{escape(text)}</h2>")
        self.markdown.append(f"## {_plain(text)}")

    def say(self, text: str) -> None:
        self.html.append(f"<p>{escape(text)}</p>")
        self.markdown.append(_plain(text))

    def table(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        cells = [[_cell(c) for c in row] for row in rows]
        head = "".join(f'<th scope="col">{escape(n)}</th>' for n in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in cells
        )
        self.html.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        lined = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        lined += ["| " + " | ".join(map(_plain, row)) + " |" for row in cells]
        self.markdown.append("\n".join(lined))

    def chart(self, svg: str, caption: str) -> None:
        self.html.append(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")
        self.markdown.append(f"*{_plain(caption)} (Drawn in the HTML page.)*")

    def as_html(self) -> str:
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # Nothing on this page may load anything, whatever text has come into it.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'\">"
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>{escape(self.title)}</h1>{''.join(self.html)}</main></body></html>\n"
        )

    def as_markdown(self) -> str:
        return "\n\n".join([f"# {_plain(self.title)}", *self.markdown]) + "\n"


def report(
    run: str,
    meta: Json,
    question: str,
    trials: Sequence[Json],
    calls: Sequence[Json],
    limits: Sequence[Json],
) -> Page:
    """Return the page of a run from its run.json and the rows of its tables."""
    page = Page(f"{meta.get('study', 'A run')} · {run}")
    if question:
        page.say(question)
    if "embedded" in meta.get("models", []):
        page.say(
            "Played by an embedded model of 135M parameters: a demonstration that all this works, "
            "and evidence of nothing else."
        )
    _design(page, meta, trials)
    _missing(page, trials)
    _weather(page, calls, limits)
    page.head("How to reproduce")
    versions = meta.get("versions", {})
    page.table(
        ["what", "which"],
        [
            ("plan hash", meta.get("plan", "")),
            ("seed", meta.get("seed", "")),
            ("models", ", ".join(meta.get("models", []))),
            ("begun", meta.get("created", "")),
            *((name, version) for name, version in versions.items()),
        ],
    )
    return page


def _design(page: Page, meta: Json, trials: Sequence[Json]) -> None:
    page.head("What was played")
    rows = []
    for condition in meta.get("conditions", []):
        mains = [t for t in trials if t["condition"] == condition and t["origin"] == "main"]
        grown = sum(t["condition"] == condition and t["origin"] != "main" for t in trials)
        done = [t for t in mains if t["status"] == "done"]
        failed = len(mains) - len(done)
        tokens = sum(t["prompt_tokens"] + t["completion_tokens"] for t in mains)
        rows.append(
            (
                condition,
                len({t["block"] for t in mains}),
                len(done),
                failed,
                sum(t["turns"] for t in mains),
                sum(t["calls"] for t in mains),
                tokens,
                grown,
            )
        )
    names = ["condition", "blocks", "done", "failed", "turns", "calls", "tokens", "branches"]
    page.table(names, rows)
    planned = int(meta.get("trials", 0))
    there = sum(t["origin"] == "main" for t in trials)
    if there < planned:
        page.say(f"{planned - there} of {planned} planned trials have not been played yet.")


def _missing(page: Page, trials: Sequence[Json]) -> None:
    failed = [t for t in trials if t["status"] == "failed"]
    page.head("What is missing")
    if not failed:
        page.say("Nothing: no trial failed.")
        return
    kinds = Counter((t["condition"], t["failure_kind"]) for t in failed)
    of = Counter(t["condition"] for t in trials)
    page.table(
        ["condition", "why", "trials", "of"],
        [(c, kind, n, of[c]) for (c, kind), n in sorted(kinds.items())],
    )


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
        page.chart(lines(f"Limit of {endpoint}", what, "seconds", "calls in flight", drawn), what)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    """Take what Markdown would read out of text that came from elsewhere."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!" else c for c in text.replace("\n", " "))


_STYLE = """
:root{color-scheme:light dark;--ink:#222;--paper:#fdfcf9;--faint:#8886;--soft:#666}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--paper:#1b1b1d;--soft:#aaa}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 Georgia,serif}
main{max-width:52rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font:14px/1.4 system-ui,sans-serif;display:block;
overflow-x:auto}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--faint)}
th{color:var(--soft);font-weight:500}
td{font-variant-numeric:tabular-nums}
figure{margin:1.5rem 0}figcaption{color:var(--soft);font:14px/1.4 system-ui,sans-serif}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg text.name{font-weight:600}
svg .grid{stroke:var(--faint);stroke-width:.6}
""".replace("\n", "")
