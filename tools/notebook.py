"""Executes docs/notebook.ipynb in an empty folder, and stores its outputs in it.

    python -m tools.notebook       docs/notebook.ipynb with fresh outputs

A test executes it too and compares the outputs, so that the committed notebook is one that runs.
Nothing about the machine or the time is kept.
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
    """Return the notebook, executed by a new kernel in `folder`, with `more` code cells at its end.

    Raises nbclient's CellExecutionError if a cell raises an error.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells += [
        nbformat.v4.new_code_cell(source, id=f"more-{i}") for i, source in enumerate(more)
    ]
    home = folder / ".ipython"
    settings = {"PYTHONWARNINGS": "ignore", "IPYTHONDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    env = {**os.environ, **settings, "JUPYTER_RUNTIME_DIR": str(home)}
    env.pop("IMPROV_RUNS", None)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=env)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    nbformat.write(notebook, NOTEBOOK)
    sys.stderr.write(f"written: {NOTEBOOK.name}, {NOTEBOOK.stat().st_size / 1024:.0f} kB\n")


if __name__ == "__main__":
    main()
