"""The rules of the house: imports point down only, packages have doors, names are pinned.

The order of packages is in tools/architecture.py, which also draws it.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.architecture import (
    MOST,
    PAGE,
    RANK,
    ROOF,
    STAIR,
    TOP,
    Import,
    all_imports,
    arrows,
    passage,
    rooms,
    written,
)

# Which places may import a package that is not Python's own. A place is a package of improv, a
# module of one, or "ui"; "*" is any.
DOORS = {
    "aiohttp": "models.transport models.reply_body models.puppet.server models.puppet.batch_desk",
    "altair": "ui",
    "duckdb": "api",
    "httpx2": "models",
    "inspect_ai": "export",
    "krippendorff": "analysis.stats",
    "mesa": "stage",
    "networkx": "graph",
    "numpy": "analysis scoring graph export runner.power ui",
    "openai": "models",
    "orjson": "*",
    "pandas": "analysis runner.power api ui",
    "pyarrow": "storage analysis graph export api",
    "pydantic": "study analysis.cache storage.run_record",
    "ray": "models.gate graph.parallel runner ray_cluster",
    "resvg_py": "graph",
    "rich": "cli",
    "scipy": "analysis graph",
    "starlette": "ui",
    "statsmodels": "analysis.stats",
    "streamlit": "ui",
    "typer": "cli",
    "uvicorn": "ui",
    "xllamacpp": "models.embedded",
    "yaml": "study.yaml_source study.yaml_advice",
}

# What takes a second and more to import, and so waits until it is needed.
HEAVY = [
    "mesa",
    "numpy",
    "openai",
    "pyarrow",
    "ray",
    "rich",
    "scipy",
    "statsmodels",
    "streamlit",
    "xllamacpp",
]

# Everything that `from improv import ...` promises. Adding a name is a decision; so is losing one.
PUBLIC = [
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

LINES = 450
"""Lines of a file, at most."""
FUNCTION_LINES = 60
"""Lines of a function, at most."""
NAMES = 22
"""Names in the `__all__` of a package, at most: a door, not a wall taken out."""


ROOMS = rooms()
IMPORTS = all_imports()
PACKAGES = sorted(name for name in RANK if (TOP / "improv" / name).is_dir())


def place(file: Path) -> str:
    """Return the dotted name of a file inside improv, or inside this folder for the viewer's."""
    parts = file.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "improv" else parts).removesuffix(".__init__")


def named(tree: ast.Module) -> dict[str, str]:
    """Return name → the module of improv or its viewer that it was imported from."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.split(".")[0] in ("improv", "ui")
    }


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def borrowed(file: Path) -> Iterator[str]:
    """Yield every private name of another module of ours that a file uses."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    where = file.relative_to(TOP)
    known = named(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("improv", "ui")):
            for alias in node.names:
                if private(alias.name):
                    yield f"{where}:{node.lineno}: {node.module}.{alias.name}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and private(node.attr)
            and node.value.id in known
        ):
            yield f"{where}:{node.lineno}: {node.value.id}.{node.attr}"


def test_every_module_has_a_place_on_the_stair() -> None:
    homeless = sorted(set(ROOMS.values()) - set(RANK))
    assert not homeless, "add them to STAIR in tools/architecture.py, or move them into a package"
    assert sum(len(row.split()) for row, _ in STAIR) == len(RANK), "a name stands in two rows"
    assert len(RANK) <= MOST


def test_imports_point_down() -> None:
    wrong = [
        f"{one}: {source} is in row {RANK[source] + 1}, {target} in row {RANK[target] + 1}"
        for (source, target), made in arrows(IMPORTS).items()
        if RANK[target] >= RANK[source]
        for one in made
    ]
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_the_roof() -> None:
    wrong = [str(one) for one in IMPORTS if one.target in ROOF and one.target != one.room]
    assert not wrong, "\n".join(wrong)


def test_rooms_of_the_viewer_know_only_what_they_share() -> None:
    def room(parts: tuple[str, ...] | list[str]) -> str:
        return parts[1] if len(parts) > 2 else ""

    wrong = []
    for one in IMPORTS:
        if one.room == "ui" and one.package == "ui":
            own = room(one.file.relative_to(TOP).parts)
            other = room([*one.module.split("."), one.name])
            if own and other not in ("", own, "shared"):
                wrong.append(str(one))
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_enter_by_their_doors() -> None:
    def enters(one: Import) -> bool:
        doors = DOORS.get(one.package, "").split()
        own = f"{place(one.file)}."
        return doors == ["*"] or any(own.startswith(f"{door}.") for door in doors)

    ours = {"improv", "ui", *sys.stdlib_module_names}
    wrong = [
        f"{one} (its doors: {DOORS.get(one.package, '') or 'none'})"
        for one in IMPORTS
        if one.package not in ours and not enters(one)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_uses_a_private_name_of_another() -> None:
    wrong = [fault for file in ROOMS for fault in borrowed(file)]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long() -> None:
    long = {
        str(file.relative_to(TOP)): lines
        for file in ROOMS
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert not long


def test_no_function_is_long() -> None:
    long = [
        f"{file.relative_to(TOP)}: {node.name}"
        for file in ROOMS
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long


def test_every_folder_of_modules_is_a_package_with_a_head() -> None:
    folders = {file.parent for file in ROOMS if file.is_relative_to(TOP / "improv")}
    for folder in sorted(folders - {TOP / "improv"}):
        door = folder / "__init__.py"
        assert door.is_file(), f"{door.relative_to(TOP)} is missing"
        head = ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))) or ""
        assert len(head.split()) > 5, f"{door.relative_to(TOP)}: say what lives here, what does not"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_few_public_doors_and_they_open(name: str) -> None:
    package = importlib.import_module(f"improv.{name}")
    assert 0 < len(package.__all__) <= NAMES
    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        assert not public.startswith("_")
        assert hasattr(package, public) or importlib.import_module(f"improv.{name}.{public}")


def test_other_packages_enter_by_the_doors() -> None:
    doors = {name: importlib.import_module(f"improv.{name}").__all__ for name in PACKAGES}
    wrong = []
    for one in IMPORTS:
        if one.target in PACKAGES and one.target != one.room:
            inside = [*one.module.split("."), one.name][2]
            if inside not in doors[one.target]:
                wrong.append(f"{one}: {inside} is not in the __all__ of improv.{one.target}")
    assert not wrong, "\n".join(wrong)


def test_the_picture_is_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert passage() in page and page == written(page), "python -m tools.architecture --write"


def test_the_page_names_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text(encoding="utf-8"))
    gone = sorted({link for link in links if not (PAGE.parent / link).exists()})
    assert len(links) > 40 and not gone


def test_the_page_names_functions_that_are_there() -> None:
    named = re.findall(r"\]\(([^)#]+\.py)\),\s+`(\w+)", PAGE.read_text(encoding="utf-8"))
    gone = [
        f"{name} is not in {link}"
        for link, name in named
        if not re.search(
            rf"^(?:async )?(?:def|class) {name}\b",
            (PAGE.parent / link).read_text(encoding="utf-8"),
            re.M,
        )
    ]
    assert len(named) > 15 and not gone


def test_a_trial_passes_eight_modules_on_its_way_to_the_journal() -> None:
    page = PAGE.read_text(encoding="utf-8")
    _, walk = page.split("## From `improv run` to Parquet")
    steps = re.findall(r"^(\d)\. \[([\w/]+)\.py\]", walk.split("Then the reply")[0], re.M)
    assert steps[-1] == ("8", "storage/journal")
    ranks = [RANK[module.split("/")[0]] for _, module in steps]
    assert ranks == sorted(ranks, reverse=True), "the way turns back"


def test_public_names_are_pinned() -> None:
    improv = importlib.import_module("improv")
    assert sorted(improv.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        value = getattr(improv, name)
        assert not isinstance(value, type(improv)), f"improv.{name} is a module"
    with pytest.raises(AttributeError, match="no_such_name"):
        improv.no_such_name  # noqa: B018


def test_a_module_never_hides_a_public_name() -> None:
    # After `import improv.run` the attribute `run` of the package would be the module.
    assert not set(PUBLIC) & set(ROOMS.values())


@pytest.mark.parametrize("module", ["improv", "improv.cli", "improv.study", "improv.models.puppet"])
def test_importing_is_light(module: str) -> None:
    allowed = {"rich"} if module == "improv.cli" else set()  # typer brings it
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP
    )
    assert set(done.stdout.split()) <= allowed
