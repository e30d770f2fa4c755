"""Builds a page: the same paragraphs, tables and pictures as HTML and as Markdown.

All text is escaped in both, and the HTML loads no external resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape


@dataclass
class Page:
    """A page under construction: the same paragraphs, tables and charts as HTML and as Markdown."""

    title: str
    html: list[str] = field(default_factory=list)
    markdown: list[str] = field(default_factory=list)

    def head(self, text: str) -> None:
        self.html.append(f"<h2>{escape(text)}</h2>")
        self.markdown.append(f"## {_plain(text)}")

    def note(self, text: str) -> None:
        """Add a highlighted note that readers must not miss."""
        self.html.append(f'<p class="note" role="note">{escape(text)}</p>')
        self.markdown.append(f"> {_plain(text)}")

    def listed(self, items: Sequence[str]) -> None:
        self.html.append("<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>")
        self.markdown.append("\n".join(f"- {_plain(i)}" for i in items))

    def code(self, text: str) -> None:
        self.html.append(f"<pre>{escape(text)}</pre>")
        fence = "```"
        while fence in text:
            fence += "`"
        self.markdown.append(f"{fence}\n{text}\n{fence}")

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
        lined = ["| " + " | ".join(map(_plain, names)) + " |", "|" + " --- |" * len(names)]
        lined += ["| " + " | ".join(map(_plain, row)) + " |" for row in cells]
        self.markdown.append("\n".join(lined))

    def chart(self, svg: str, caption: str) -> None:
        """Add a picture with a caption; nothing if `svg` is empty."""
        if not svg:
            return
        self.html.append(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")
        self.markdown.append(f"*{_plain(caption)} (Drawn in the HTML page.)*")

    def as_html(self) -> str:
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # The browser refuses every external resource, even if a text should get past escaping.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'\">"
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>{escape(self.title)}</h1>{''.join(self.html)}</main></body></html>\n"
        )

    def as_markdown(self) -> str:
        return "\n\n".join([f"# {_plain(self.title)}", *self.markdown]) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    """Take what Markdown would read out of text that came from elsewhere, and all line ends."""
    line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!&~" else c for c in line)


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
svg .zero{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.note{border-left:3px solid #D55E00;padding:.1rem 0 .1rem .9rem}
pre{font:13px/1.5 ui-monospace,monospace;overflow-x:auto;background:#8881;padding:.7rem .9rem}
.verdict{font-size:1.12rem}
svg .grid{stroke:var(--faint);stroke-width:.6}
""".replace("\n", "")
