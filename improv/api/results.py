"""What a notebook shows of a run besides its tables: reports, pictures, graphs, cost estimates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape

from improv import files
from improv.analysis.inference import Analysis
from improv.api.table import html_table
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
from improv.report.doubts import decisions, sentences
from improv.report.material import Material, read_material
from improv.report.numbers import estimate_text
from improv.report.page import Page
from improv.report.run_report import looks_text, report
from improv.runner.estimate import UsageEstimate, usage_table
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
    """A picture as SVG that loads nothing from elsewhere."""

    svg: str

    def save(self, name: str) -> None:
        """Write the picture to an .svg file. Raises RunError."""
        files.write_file(name, self.svg)

    def __repr__(self) -> str:
        return f"<picture: {len(self.svg):,} characters of SVG>"

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Report:
    """The report on one run or on several, with the material that it is made from."""

    page: Page
    materials: tuple[Material, ...]

    @property
    def analysis(self) -> Analysis:
        """The analysis of the run; of the first run if there are several."""
        return self.materials[0].analysis

    @property
    def contrasts(self) -> list[Json]:
        """The planned contrasts, one row each, for `pandas.DataFrame`: the estimate with its
        interval, p before and after Holm's correction, the number and unit of replication, and
        `decided` (None if the contrast is not decided), with the verdict in words and the sentences
        of its `doubts`. Empty if no judge can judge the outcome."""
        return [row for material in self.materials for row in _contrasts(material)]

    @property
    def sentences(self) -> list[str]:
        """The result of each planned contrast, in the report's sentences."""
        return [sentence for material in self.materials for sentence in sentences(material)]

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of the run's history, and of its looks."""
        looks = [looks_text(material.analysis) for material in self.materials]
        notes = [note for material in self.materials for note in material.notes]
        return [*notes, *(look for look in looks if look)]

    def survival(self) -> Picture:
        """Return the chart of the time to the first break, by condition. Raises RunError."""
        return _picture(sections.survival_chart(self.analysis), "no survival curve")

    def drift(self) -> Picture:
        """Return the chart of mean scores by turn and condition. Raises RunError."""
        return _picture(sections.drift_chart(self.analysis), "no drift curve")

    def html(self) -> str:
        return self.page.as_html()

    def markdown(self) -> str:
        return self.page.as_markdown()

    def save(self, name: str) -> None:
        """Write the page to an .html or .md file. Raises RunError."""
        files.write_file(name, self.markdown() if name.endswith(".md") else self.html())

    def __repr__(self) -> str:
        return f"<{self.page.title}: {len(self.contrasts)} planned contrasts>"

    def _repr_html_(self) -> str:
        # The frame runs no scripts and keeps the styles of page and notebook apart.
        return (
            f'<iframe sandbox srcdoc="{escape(self.html())}" title="{escape(self.page.title)}" '
            'style="width:100%;height:42em;border:1px solid #8886"></iframe>'
        )


class Graphs(Mapping[str, Graph]):
    """NetworkX graphs by name: of a condition, a scene or a window of turns."""

    def __init__(self, result: GraphResult) -> None:
        self._result = result
        self._by_name = {measured.name: measured for measured in result.graphs}

    def __getitem__(self, name: str) -> Graph:
        return self._by_name[name].graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def figures(self) -> dict[str, dict[str, NullComparison]]:
        """Graph name → figure → its value with that of the null model."""
        return {name: measured.figures for name, measured in self._by_name.items()}

    @property
    def comparison(self) -> Comparison | None:
        """The comparison, None if the request named none."""
        return self._result.comparison

    def picture(self, kinds: Sequence[str] = ()) -> Picture:
        """Return the graphs side by side as one picture, with edges of `kinds`."""
        return _picture(draw_graphs(self._result.graphs, title=self._result.title, kinds=kinds), "")

    def save(self, *names: str) -> list[str]:
        """Write files whose suffixes name the formats; return their names. Raises RunError."""
        written = []
        for name in names:
            for file, data in build.graph_files(self._result, name):
                files.write_file(file, data)
                written.append(file)
        return written

    def __repr__(self) -> str:
        return f"<graphs of {self._result.title}: {', '.join(self) or 'none'}>"

    def _repr_svg_(self) -> str:
        return self.picture().svg


@dataclass(frozen=True)
class DryRun:
    """The estimated calls, tokens and cost of a study; no model was called, no file written."""

    estimate: UsageEstimate

    @property
    def rows(self) -> list[Json]:
        """Low, expected and high calls, tokens and dollars (None: unknown), one row for each
        model, condition and role, and one for the total."""
        estimate = self.estimate
        rows = [*estimate.models, *estimate.conditions, *estimate.roles, estimate.total]
        return [asdict(row) for row in rows]

    def __repr__(self) -> str:
        head, *rows = usage_table(self.estimate)
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = (
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in (head, *rows)
        )
        return "\n".join([*(line.rstrip() for line in lines), self._summary()])

    def _repr_html_(self) -> str:
        head, *rows = usage_table(self.estimate)
        return html_table(head, rows, self._summary())

    def _summary(self) -> str:
        e = self.estimate
        tried = "all" if e.played == e.trials else f"scaled up from {e.played}"
        trials = f"{e.trials} trials, {tried} simulated without a model"
        return f"{trials}; low / expected / high; {e.counting}."


def report_on_run(folder: RunFolder, by: Plan | None = None) -> Report:
    """Return the report on a run, by its own plan or by `by`. Raises RunError."""
    material = read_material(folder, by, by="notebook")
    return Report(report(material), (material,))


def report_on_runs(folders: Sequence[RunFolder]) -> Report:
    """Return the report that compares several runs. Raises RunError."""
    materials = tuple(read_material(folder, by="notebook") for folder in folders)
    return Report(comparison_page(materials), materials)


def _contrasts(material: Material) -> Iterator[Json]:
    for decision in decisions(material):
        c = decision.contrast
        yield {
            "run": material.run,
            "contrast": c.name,
            "estimate": c.estimate.value,
            "low": c.estimate.low,
            "high": c.estimate.high,
            "p": c.p,
            "holm": c.adjusted,
            "n": c.estimate.n,
            "unit": c.estimate.unit,
            "decided": decision.decided,
            "verdict": decision.verdict.value,
            "doubts": [doubt.sentence for doubt in decision.doubts],
            "shown": estimate_text(c.estimate),
        }


def _picture(svg: str, missing: str) -> Picture:
    """Return an SVG element as a stand-alone file with the style of the report's page."""
    if not svg:
        raise RunError(f"there is {missing} to draw")
    tag, end, rest = svg.partition(">")
    if "xmlns=" not in tag:
        tag, rest = tag.replace("<svg", f'<svg xmlns="{_SVG}"'), f"<style>{_STYLE}</style>{rest}"
    return Picture(tag + end + rest)
