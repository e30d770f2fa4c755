"""Conditions read and measured at once by tasks of Ray: the same graphs, the same errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import RunError
from improv.graph import build, parallel
from improv.graph.build import GraphRequest, GraphResult, graph_files
from improv.storage.run_folder import RunFolder
from improv.storage.runs import runs_filesystem
from improv.storage.schemas import SCHEMAS
from improv.study.design import Condition, Study
from improv.study.scene import Scene
from tests.support.graph import FERRY, written

CAST = ("Mara", "Bo", "Inès")
STRANGERS = [(6, "Zed", "Mara, I am in no cast list.", "Mara", "name", [])]


@pytest.fixture
def ferries(tmp_path: Path) -> RunFolder:
    """Two scenes under three conditions, in one of which people speak whom no cast list names."""
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
    arms = [Condition(name, (("arm", name),)) for name in ("live", "none", "told")]
    cells = tuple((slug, arm, scene) for slug, scene in scenes.items() for arm in arms)
    fs, base = runs_filesystem(tmp_path)
    folder = RunFolder(fs, f"{base}/ferries", base)
    folder.create(Study(name="ferries", conditions=tuple(arms), cells=cells), {"study": "ferries"})
    folder.update({"conditions": [arm.name for arm in arms], "status": "done"})
    rows, trials = [], []
    for i in range(18):
        # Ids that sort otherwise than they were planned, as hashes do.
        slug, arm = ("ferry", "tower")[i % 2], ("none", "live", "told")[i % 3]
        lines = [*FERRY[: 3 + i % 4], *(STRANGERS if arm == "live" and slug == "tower" else [])]
        lines += [(9, "Ada", "Me neither.", "", "none", [])] if i == 11 else []
        made, row = written(
            lines, trial=f"{i * 7 % 18:02}", scene=slug, condition=arm, block=f"{slug}/{i // 6}"
        )
        rows += made
        trials.append(row | {"index": i, "origin": "main", "status": "done"})
    for name, found in (("turns", rows), ("trials", trials)):
        folder.tables.write(name, pa.Table.from_pylist(found, SCHEMAS[name]))
    return folder


def everything(found: GraphResult) -> Iterator[Any]:
    """Whatever a person can get of it."""
    yield found.title, found.comparison
    for made in found.graphs:
        yield made.name, made.row, repr(made.figures)
    for name in ("x.gexf", "x.graphml", "x.json", "x.dot", "x.csv", "x.svg"):
        yield from graph_files(found, name)


@pytest.mark.ray
@pytest.mark.parametrize(
    "asked",
    [
        GraphRequest(by="condition"),
        GraphRequest(by="condition", window=2, null=False, guesses=False),
        GraphRequest(by="condition", scene="tower", null=False, each=True),
    ],
)
def test_the_same_graphs_however_many_make_them(
    ferries: RunFolder, asked: GraphRequest, local_ray: None
) -> None:
    alone = list(everything(build.build_graphs(ferries, asked)))
    assert len(alone) > 9 and "Zed" in repr(alone) and "no cast" not in repr(alone)
    assert list(everything(parallel.build_graphs_with_ray(ferries, asked, "local"))) == alone


@pytest.mark.ray
def test_a_run_that_was_really_played(played: RunFolder, local_ray: None) -> None:
    asked = GraphRequest(by="condition")
    alone = list(everything(parallel.build_graphs_with_ray(played, asked)))
    assert list(everything(parallel.build_graphs_with_ray(played, asked, "local"))) == alone


@pytest.mark.ray
def test_what_a_task_cannot_do_is_said_as_if_there_were_none(
    ferries: RunFolder, tmp_path: Path, local_ray: None
) -> None:
    for asked in (
        GraphRequest(by="condition", scene="moon"),
        GraphRequest(by="condition", kinds=("kisses",)),
    ):
        with pytest.raises(RunError) as alone:
            parallel.build_graphs_with_ray(ferries, asked)
        with pytest.raises(RunError) as many:
            parallel.build_graphs_with_ray(ferries, asked, "local")
        assert str(many.value) == str(alone.value)
        assert type(many.value) is RunError
    told = CliRunner().invoke(
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
    assert told.exit_code == 2 and "no scene of this run" in told.output


def test_a_condition_is_read_without_the_others(ferries: RunFolder) -> None:
    asked = GraphRequest(by="condition", null=False)
    given = build.split_by_condition(ferries)
    assert [name for name, _ in given.conditions] == ["live", "none", "told"]
    assert [name for name, _ in given.casts["tower"]] == [*CAST, "Ada", "Zed"]
    assert [name for name, _ in given.casts["ferry"]] == list(CAST)
    (made,) = build.build_condition(ferries, asked, "none", "none", given)
    assert made.graph.graph["scenes"] == 6 and "Zed" not in made.graph


def test_parts_that_need_each_other_are_not_parted(ferries: RunFolder) -> None:
    assert build.can_split(GraphRequest(by="condition"))
    asked = GraphRequest(by="condition", condition="live", against="none", null=False)
    assert not build.can_split(asked) and not build.can_split(
        GraphRequest(of="flips", by="condition")
    )
    # No Ray is there, and none is asked.
    found = parallel.build_graphs_with_ray(ferries, asked, "ray://nowhere:1")
    assert found.comparison is not None and found.comparison.units == 6
