"""Build hook that puts `ui/`, `scenes/` and the sample run into the wheel, inside `improv/`.

In a checkout they stay at the top, so the hook adds nothing to an editable install. Hatchling's own
`force-include` would copy them into site-packages there, and it fails if the sample run is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("ui", "scenes", "runs/sample", "runs/README.md")


class ShipFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Adds each folder that exists to a standard wheel, under `improv/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files to add. Hatchling calls this once before it writes the wheel."""
        if version != "standard":
            return
        for name in FOLDERS:
            source = Path(self.root) / name
            files = [source] if source.is_file() else sorted(source.rglob("*"))
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                    inside = file.relative_to(self.root).as_posix()
                    build_data["force_include"][str(file)] = f"improv/{inside}"
