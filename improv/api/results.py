"""What a notebook shows of a run besides its tables: reports, pictures, graphs, what it would cost.

Each is an object to look at and to go on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape

from improv import files
from improv.analysis.inference import Analysis
from improv.api.table import framed
from improv.errors import RunError
from improv.graph import build
from improv.graph.build import GraphResult
from improv.graph.comparison import Comparison
from improv.graph.figure import draw_graphs
from improv.graph.graph import Graph
from improv.graph.null_model import NullComparison
from improv.records import Json
from improv.report import sections
from improv.report.comparison import comparison_page
from improv.report.material import Material, appraise
from improv.report.numbers import estimate_text
from improv.report.page import Page
from improv.report.run_report import is_decisive, report, sentences
from improv.runner.estimate import Estimate, table
from improv.storage.run_folder import RunFolder
from improv.study.plan import Plan

_SVG = "http://www.w3.org/2000/svg"
_STYLE = (
    "svg{background:#fff}svg text{font:11px system-ui,sans-serif;fill:#555}"
    "svg text.name{font-weight:600}svg .grid{stroke:#ddd;stroke-width:.6}"
    "svg .zero{stroke:#555;stroke-dasharray:2 3}"
)


@dataclass(frozen=True)
class Picture:
    """A picture as SVG, which needs nothing from anywhere."""

    svg: str

    def save(self, name: str) -> None:
        """Write it to an .svg file. Raises RunError."""
        files.write(name, self.svg)

    def __repr__(self) -> str:
        return f"<picture: {len(self.svg):,} characters of SVG>"

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Report:
    """A page that a referee could read, on a run or on several, and what it is made of."""

    page: Page
    materials: tuple[Material, ...]

    @property
    def analysis(self) -> Analysis:
        """All that was found of the run, of the first one where there are several."""
        return self.materials[0].analysis

    @property
    def contrasts(self) -> list[Json]:
        """The planned contrasts, a row each, for `pandas.DataFrame`: the estimate with its
        interval, p as it is and after Holm's correction, the unit of replication and how many,
        and whether it is `decided` (None where nothing may be). None where no judge can tell."""
        return [row for of in self.materials for row in _contrasts(of)]

    @property
    def sentences(self) -> list[str]:
        """What was found, in the report's own words."""
        return [said for of in self.materials for said in sentences(of)]

    def survival(self) -> Picture:
        """Return how long scenes stay without a break, by condition. Raises RunError."""
        return _picture(sections.survival_chart(self.analysis), "no curve of survival")

    def drift(self) -> Picture:
        """Return how scores go turn by turn, by condition. Raises RunError."""
        return _picture(sections.drift_chart(self.analysis), "no curve of drift")

    def html(self) -> str:
        return self.page.as_html()

    def markdown(self) -> str:
        return self.page.as_markdown()

    def save(self, name: str) -> None:
        """Write it to an .html or an .md file. Raises RunError."""
        files.write(name, self.markdown() if name.endswith(".md") else self.html())

    def __repr__(self) -> str:
        return f"<{self.page.title}: {len(self.contrasts)} planned contrasts>"

    def _repr_html_(self) -> str:
        # In a frame that may run nothing: its style is not the notebook's, nor the other way.
        return (
            f'<iframe sandbox srcdoc="{escape(self.html())}" title="{escape(self.page.title)}" '
            'style="width:100%;height:42em;border:1px solid #8886"></iframe>'
        )


class Graphs(Mapping[str, Graph]):
    """The graphs that were asked for, each NetworkX's own, by the name of what it is of."""

    def __init__(self, found: GraphResult) -> None:
        self._found = found
        self._by_name = {made.name: made for made in found.graphs}

    def __getitem__(self, name: str) -> Graph:
        return self._by_name[name].graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def figures(self) -> dict[str, dict[str, NullComparison]]:
        """Of each graph every figure with the null model's beside it."""
        return {name: made.figures for name, made in self._by_name.items()}

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that was asked for."""
        return self._found.comparison

    def picture(self, kinds: Sequence[str] = ()) -> Picture:
        """Return them side by side, with edges of `kinds`."""
        return _picture(draw_graphs(self._found.graphs, title=self._found.title, kinds=kinds), "")

    def save(self, *names: str) -> list[str]:
        """Write files; their endings say the formats. Return what was written. Raises RunError."""
        written = []
        for name in names:
            for file, data in build.graph_files(self._found, name):
                files.write(file, data)
                written.append(file)
        return written

    def __repr__(self) -> str:
        return f"<graphs of {self._found.title}: {', '.join(self) or 'none'}>"

    def _repr_svg_(self) -> str:
        return self.picture().svg


@dataclass(frozen=True)
class DryRun:
    """What a study would ask of its models, and cost; nothing was asked and nothing written."""

    estimate: Estimate

    @property
    def rows(self) -> list[Json]:
        """Low, expected and high calls, tokens and dollars (None: unknown) of each model,
        condition and role, and of all, a row each."""
        of = self.estimate
        rows = [*of.models, *of.conditions, *of.roles, of.total]
        return [asdict(row) for row in rows]

    def __repr__(self) -> str:
        head, *rows = table(self.estimate)
        wide = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = ("  ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)) for r in (head, *rows))
        return "\n".join([*(line.rstrip() for line in lines), self._said()])

    def _repr_html_(self) -> str:
        head, *rows = table(self.estimate)
        return framed(head, rows, self._said())

    def _said(self) -> str:
        of = self.estimate
        tried = "all" if of.played == of.trials else f"scaled up from {of.played}"
        return f"{of.trials} trials, {tried} played on paper; low / expected / high; {of.counting}."


def reported(folder: RunFolder, by: Plan | None = None) -> Report:
    """Return what a referee would read of a run, by its own plan or another. Raises RunError."""
    material = appraise(folder, by)
    return Report(report(material), (material,))


def beside(folders: Sequence[RunFolder]) -> Report:
    """Return runs side by side. Raises RunError."""
    materials = tuple(appraise(folder) for folder in folders)
    return Report(comparison_page(materials), materials)


def _contrasts(of: Material) -> Iterator[Json]:
    certain = is_decisive(of)
    for c in () if of.analysis.mute else of.analysis.findings:
        yield {
            "run": of.run,
            "contrast": c.name,
            "estimate": c.estimate.value,
            "low": c.estimate.low,
            "high": c.estimate.high,
            "p": c.p,
            "holm": c.adjusted,
            "n": c.estimate.n,
            "unit": c.estimate.unit,
            "decided": c.rejected if certain else None,
            "shown": estimate_text(c.estimate),
        }


def _picture(svg: str, missing: str) -> Picture:
    """Return an SVG element as a file of its own, with the style that a report's page gives it."""
    if not svg:
        raise RunError(f"there is {missing} to draw")
    tag, end, rest = svg.partition(">")
    if "xmlns=" not in tag:
        tag, rest = tag.replace("<svg", f'<svg xmlns="{_SVG}"'), f"<style>{_STYLE}</style>{rest}"
    return Picture(tag + end + rest)
