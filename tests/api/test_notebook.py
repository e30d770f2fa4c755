"""The notebook in docs/ runs from its first cell to its last, and finds what it says it finds."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import orjson
import pytest

from tools.notebook import NOTEBOOK, executed

# The values that a reader has at the end of the notebook.
KNOWN = """
import orjson
by_condition = broken.set_index("condition")["broken"].to_dict()
print(orjson.dumps({
    "trials": len(run.trials), "done": run.result.done, "blocks": int(contrasts["n"].min()),
    "broken": by_condition,
    "estimate": contrasts["estimate"].tolist(), "high": contrasts["high"].tolist(),
    "holm": contrasts["holm"].tolist(), "decided": contrasts["decided"].tolist(),
    "held": [check.held for check in report.analysis.checks],
    "planned": report.analysis.planned,
    "null": [c["decided"] for c in improv.open_run("bees-nothing").report().contrasts],
    "pagerank": sum(nx.pagerank(talk, weight="weight").values()), "people": sorted(talk),
    "apart": apart.p,
    "branches": [[t.text for t in b.lines()] for b in branches],
    "parent": [t.text for t in run.transcript(0).lines()],
}).decode())
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return executed(tmp_path_factory.mktemp("notebook"), KNOWN)


def text_of(cell: Any) -> list[str]:
    """Return the text of a cell's outputs, without its pictures."""
    said = []
    for output in cell.outputs:
        if output.output_type == "stream":
            label = f"{output.name}: "
            # A kernel may send one print in several pieces.
            if said and said[-1].startswith(label):
                said[-1] += output.text
            else:
                said.append(label + output.text)
        else:
            # The last digits of a picture's numbers, and so its length, depend on the processor.
            kinds = sorted(kind for kind in output.data if kind != "image/svg+xml")
            said += [str(output.data[kind]) for kind in kinds]
    return [re.sub(r"<picture: [\d,]+", "<picture: some", text) for text in said]


@pytest.mark.slow
def test_the_notebook_finds_what_was_planted_and_nothing_else(notebook: Any) -> None:
    # A kernel may send one print in several pieces.
    known = orjson.loads("".join(output.text for output in notebook.cells[-1].outputs))
    assert (known["trials"], known["done"], known["blocks"]) == (123, 120, 40)
    assert known["broken"]["brief"] < 0.15 < 0.2 < known["broken"]["placebo"]
    assert known["planned"] and known["decided"] == [True, True] and max(known["holm"]) < 0.01
    assert max(known["estimate"]) < -0.1 and max(known["high"]) < 0
    assert known["held"] == [True] and known["null"] == [False, False]
    assert known["pagerank"] == pytest.approx(1) and known["apart"] > 0.05
    assert known["people"] == ["Anselm", "Bede", "Gervase", "Odo", "Ursel"]
    for branch in known["branches"]:
        assert branch[:3] == known["parent"][:3]
        assert branch[3] == "Then I put the bees in the bell." != known["parent"][3]
    assert len({tuple(branch) for branch in known["branches"]}) == 3
    pictures = [
        c for c in notebook.cells for o in c.get("outputs", []) if "image/svg+xml" in str(o)
    ]
    assert len(pictures) == 2


@pytest.mark.slow
def test_the_notebook_on_the_page_is_the_one_that_runs(notebook: Any) -> None:
    page = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(page)
    assert [c.source for c in page.cells] == [c.source for c in notebook.cells[:-1]]
    for written, came in zip(page.cells, notebook.cells, strict=False):
        if written.cell_type == "code":
            assert text_of(written) == text_of(came), "write it anew: python -m tools.notebook"
            assert not any(text.startswith("stderr") for text in text_of(written))


def test_the_page_holds_no_path_and_no_date() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(
        r"/(?:home|root|tmp|Users|work|private)/|\d{4}-\d\d-\d\d|0x[0-9a-f]{6}", text
    )
    assert len(text) < 120_000 and "iopub" not in text
    links = re.findall(r"\]\((?!http)([^)]+)\)", text)
    assert links and all((NOTEBOOK.parent / link).exists() for link in links)
