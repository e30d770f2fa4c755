"""improv: language models on an improv stage, and an author behind them.

The public names load on first use, so that `import improv` costs nothing.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

try:
    __version__ = metadata.version("improv-theatre")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from improv.errors import ImprovError as ImprovError
    from improv.errors import StudyError as StudyError
    from improv.launch import Result as Result
    from improv.launch import resume as resume
    from improv.launch import run as run
    from improv.record import Transcript as Transcript
    from improv.record import Turn as Turn
    from improv.scene import Scene as Scene
    from improv.session import Setup as Setup
    from improv.store import list_runs as list_runs
    from improv.store import open_run as open_run
    from improv.study import load as load_study

_HOMES = {
    "ImprovError": ("improv.errors", "ImprovError"),
    "Result": ("improv.launch", "Result"),
    "Scene": ("improv.scene", "Scene"),
    "Setup": ("improv.session", "Setup"),
    "StudyError": ("improv.errors", "StudyError"),
    "Transcript": ("improv.record", "Transcript"),
    "Turn": ("improv.record", "Turn"),
    "list_runs": ("improv.store", "list_runs"),
    "load_study": ("improv.study", "load"),
    "open_run": ("improv.store", "open_run"),
    "resume": ("improv.launch", "resume"),
    "run": ("improv.launch", "run"),
}

__all__ = [
    "ImprovError", "Result", "Scene", "Setup", "StudyError", "Transcript", "Turn",
    "list_runs", "load_study", "open_run", "resume", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'improv' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
