"""improv: language models on an improv stage, and an author behind them.

    run = improv.run("author-context", ray="off")
    run.turns.pandas()
    run.report()

The public names load on first use, so that `import improv` costs nothing. docs/python.md and
docs/notebook.ipynb show them at work.
"""

from improv import import_path

if import_path.starting_with_m():
    import_path.leave_working_folder()  # before anything is imported from there

from importlib import import_module
from typing import TYPE_CHECKING, Any

from improv.version import __version__ as __version__

if TYPE_CHECKING:
    from improv.api.run import Run as Run
    from improv.api.run import compare as compare
    from improv.api.run import dry_run as dry_run
    from improv.api.run import list_runs as list_runs
    from improv.api.run import load_study as load_study
    from improv.api.run import open_run as open_run
    from improv.api.run import resume as resume
    from improv.api.run import run as run
    from improv.api.table import Table as Table
    from improv.errors import ImprovError as ImprovError
    from improv.errors import StudyError as StudyError
    from improv.records import Transcript as Transcript
    from improv.records import Turn as Turn
    from improv.runner.launch import Result as Result
    from improv.runner.session import Setup as Setup
    from improv.study.design import Study as Study
    from improv.study.scene import Scene as Scene

_HOMES = {
    "ImprovError": "improv.errors",
    "Result": "improv.runner.launch",
    "Run": "improv.api.run",
    "Scene": "improv.study.scene",
    "Setup": "improv.runner.session",
    "Study": "improv.study.design",
    "StudyError": "improv.errors",
    "Table": "improv.api.table",
    "Transcript": "improv.records",
    "Turn": "improv.records",
    "compare": "improv.api.run",
    "dry_run": "improv.api.run",
    "list_runs": "improv.api.run",
    "load_study": "improv.api.run",
    "open_run": "improv.api.run",
    "resume": "improv.api.run",
    "run": "improv.api.run",
}

__all__ = [
    "ImprovError",
    "Result",
    "Run",
    "Scene",
    "Setup",
    "Study",
    "StudyError",
    "Table",
    "Transcript",
    "Turn",
    "compare",
    "dry_run",
    "list_runs",
    "load_study",
    "open_run",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'improv' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
