"""Executes docs/notebook.ipynb in an empty folder and writes down what came out.

    python -m tools.notebook       docs/notebook.ipynb with fresh outputs

A test does the same and compares, so that the notebook on the page is the notebook that runs.
Nothing of the machine or the moment is kept.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "notebook.ipynb"


def executed(folder: Path, *more: str) -> Any:
    """Return the notebook as it comes out of a fresh kernel in `folder`, with `more` cells of
    code at its end. Raises nbclient's CellExecutionError where a cell does."""
    found = nbformat.read(NOTEBOOK, as_version=4)
    found.cells += [
        nbformat.v4.new_code_cell(source, id=f"more-{i}") for i, source in enumerate(more)
    ]
    home = folder / ".ipython"
    told = {"PYTHONWARNINGS": "ignore", "IPYTHONDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    env = {**os.environ, **told, "JUPYTER_RUNTIME_DIR": str(home)}
    env.pop("IMPROV_RUNS", None)
    client = NotebookClient(
        found, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=env)
    for cell in found.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
    found.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = executed(Path(folder))
    nbformat.write(found, NOTEBOOK)
    sys.stderr.write(f"written: {NOTEBOOK.name}, {NOTEBOOK.stat().st_size / 1024:.0f} kB\n")


if __name__ == "__main__":
    main()
