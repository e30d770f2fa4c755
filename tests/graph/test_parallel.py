"""Ray tasks that build the graphs of conditions make the same graphs and raise the same errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import RunError
from improv.graph import build, parallel
from improv.graph.build import GraphRequest, GraphResult, graph_files
from improv.storage.run_folder import RunFolder
from improv.storage.runs import runs_filesystem
from improv.study.design import Condition, Study
from improv.study.scene import Scene
from tests.support.graph import FERRY, written
from tests.support.run import whole_table

CAST = ("Mara", "Bo", "Inès")
STRANGERS = [(6, "Zed", "Mara, I am in no cast list.", "Mara", "name", [])]


@pytest.fixture
def ferries(tmp_path: Path) -> RunFolder:
    """Two scenes under three conditions; in one of them, people speak who are in no cast list."""
    scenes = {
        slug: Scene.model_validate(
            {
                "title": slug,
                "premise": "They wait.",
                "model": "puppet",
                "cast": [{"name": name, "role": "who waits"} for name in CAST],
            }
        )
        for slug in ("ferry", "tower")
    }
    arms = [Condition(name, (("arm", name),)) for name in ("framed", "live", "none")]
    cells = tuple((slug, arm, scene) for slug, scene in scenes.items() for arm in arms)
    fs, base = runs_filesystem(tmp_path)
    folder = RunFolder(fs, f"{base}/ferries", base)
    folder.create(Study(name="ferries", conditions=tuple(arms), cells=cells), {"study": "ferries"})
    folder.update({"conditions": [arm.name for arm in arms], "status": "done"})
    rows, trials = [], []
    for i in range(18):
        # Trial ids do not sort in the order of the plan, as hashes do not.
        slug, arm = ("ferry", "tower")[i % 2], ("none", "live", "framed")[i % 3]
        lines = [*FERRY[: 3 + i % 4], *(STRANGERS if arm == "live" and slug == "tower" else [])]
        lines += [(9, "Ada", "Me neither.", "", "none", [])] if i == 11 else []
        turns, row = written(
            lines, trial=f"{i * 7 % 18:02}", scene=slug, condition=arm, block=f"{slug}/{i // 6}"
        )
        rows += turns
        row |= {
            "index": i,
            "origin": "main",
            "status": "done",
        }
        row["turns"] = sum(turn["turn"] > 0 for turn in turns)
        trials.append(row)
    for name, records in (("turns", rows), ("trials", trials)):
        folder.tables.write(name, whole_table(name, records))
    return folder


def everything(result: GraphResult) -> Iterator[Any]:
    """Yield all that a caller can read of a result: titles, figures and files."""
    yield result.title, result.comparison
    for measured in result.graphs:
        yield measured.name, measured.row, repr(measured.figures)
    for name in ("x.gexf", "x.graphml", "x.json", "x.dot", "x.csv", "x.svg"):
        yield from graph_files(result, name)


@pytest.mark.ray
@pytest.mark.parametrize(
    "wanted",
    [
        GraphRequest(by="condition"),
        GraphRequest(by="condition", window=2, null=False, guesses=False),
        GraphRequest(by="condition", scene="tower", null=False, each=True),
    ],
)
def test_tasks_build_the_same_graphs(
    ferries: RunFolder, wanted: GraphRequest, local_ray: None
) -> None:
    alone = list(everything(build.build_graphs(ferries, wanted)))
    assert len(alone) > 9 and "Zed" in repr(alone) and "no cast" not in repr(alone)
    assert list(everything(parallel.build_graphs_with_ray(ferries, wanted, "local"))) == alone


@pytest.mark.ray
def test_tasks_build_the_same_graphs_of_a_played_run(played: RunFolder, local_ray: None) -> None:
    wanted = GraphRequest(by="condition")
    alone = list(everything(parallel.build_graphs_with_ray(played, wanted)))
    assert list(everything(parallel.build_graphs_with_ray(played, wanted, "local"))) == alone


@pytest.mark.ray
def test_a_tasks_error_is_that_of_one_process(
    ferries: RunFolder, tmp_path: Path, local_ray: None
) -> None:
    for wanted in (
        GraphRequest(by="condition", scene="moon"),
        GraphRequest(by="condition", kinds=("kisses",)),
    ):
        with pytest.raises(RunError) as alone:
            parallel.build_graphs_with_ray(ferries, wanted)
        with pytest.raises(RunError) as many:
            parallel.build_graphs_with_ray(ferries, wanted, "local")
        assert str(many.value) == str(alone.value)
        assert type(many.value) is RunError
    result = CliRunner().invoke(
        app,
        [
            "graph",
            "ferries",
            "--runs",
            str(tmp_path),
            "--by",
            "condition",
            "--scene",
            "moon",
            "--ray",
            "local",
        ],
    )
    assert result.exit_code == 2 and "no scene of this run" in result.output


def test_a_condition_is_read_without_the_others(ferries: RunFolder) -> None:
    wanted = GraphRequest(by="condition", null=False)
    parts = build.split_by_condition(ferries)
    assert [name for name, _ in parts.conditions] == ["framed", "live", "none"]
    assert [name for name, _ in parts.casts["tower"]] == [*CAST, "Ada", "Zed"]
    assert [name for name, _ in parts.casts["ferry"]] == list(CAST)
    (measured,) = build.build_condition(ferries, wanted, "none", "none", parts)
    assert measured.graph.graph["scenes"] == 6 and "Zed" not in measured.graph


def test_a_comparison_is_not_split(ferries: RunFolder) -> None:
    assert build.can_split(GraphRequest(by="condition"))
    wanted = GraphRequest(by="condition", condition="live", against="none", null=False)
    assert not build.can_split(wanted) and not build.can_split(
        GraphRequest(of="flips", by="condition")
    )
    # The address has no Ray, and none is needed.
    built = parallel.build_graphs_with_ray(ferries, wanted, "ray://nowhere:1")
    assert built.comparison is not None and built.comparison.units == 6
