"""The rules of the house: imports point one way, packages have doors, names are pinned."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent

# The stair. A module imports from rows above its own, never from its row or below. A folder is one
# name (measure, stats, ui); its files may import each other. A new module gets a place here.
STAIR = [
    "errors measure_spec",
    "ray_cluster",
    "record strict loop text",
    "puppet_spec files",
    "model_spec",
    "authoring",
    "source scene",
    "problems",
    "naming",
    "line hearing edit plan predicate cards fountain parted",
    "folio",
    "design find",
    "overrides",
    "snapshot validation",
    "study_loader",
    "trial",
    "branch tables budget adaptation",
    "importing",
    "session",
    "request rate_limiter puppet_judge puppet_choice puppet_fill puppet_logprobs",
    "prompt puppet embedded gate endpoint",
    "puppet_server transport",
    "client context_lengths token_counts",
    "outside",
    "character author",
    "memory order",
    "stage",
    "relive",
    "estimate ledger",
    "measure stats",
    "unit",
    "curves judged",
    "analysis_compare",
    "controls",
    "inference",
    "graph",
    "lock_holder",
    "jsonl lock calibration",
    "journal",
    "run_files",
    "run_ratings",
    "run_tables",
    "transcripts",
    "run_folder",
    "runs",
    "graphing shards shown analysis_loader table",
    "analysis_cache report doors",
    "actors",
    "host provenance replay mend judging rating script",
    "host_handles",
    "host_pool score paper",
    "scheduler chorus",
    "preflight",
    "launch",
    "branching",
    "power_run notebook",
    "doctor viewer",
    "terminal",
    "terminal_cards terminal_graph terminal_export",
    "cli",
    "ui",
]

# Those that only read: what each may import, whatever the stair allows.
READERS = {
    "estimate": "errors puppet_spec loop record scene trial branch puppet request client stage "
    "relive token_counts puppet_fill",
    "folio": "record scene text fountain",
    "parted": "record",
    "measure": "errors measure_spec record scene line hearing predicate",
    "stats": "errors record",
    "graph": "errors record stats parted",
    "unit": "record plan measure_spec",
    "curves": "measure_spec record plan stats unit",
    "judged": "measure_spec record stats unit",
    "analysis_compare": "record plan stats unit curves judged",
    "controls": "record plan stats unit curves judged analysis_compare",
    "inference": "measure_spec record plan stats unit curves judged analysis_compare controls",
    "report": "errors model_spec record scene design plan stats inference controls curves judged "
    "ledger graph run_tables run_files run_folder runs shown graphing budget analysis_loader",
    "ui": "errors model_spec files record scene text line lock design overrides study_loader "
    "trial run_tables run_files run_folder runs measure stats graph graphing plan unit curves "
    "judged inference ledger shown analysis_cache analysis_loader rating report relive branch "
    "folio budget parted measure_spec",
}

# Nobody imports these, though they may import almost anything.
ROOF = {"cli", "ui"}

# The doors: which modules may import a package that is not Python's own. "*" is any.
DOORS = {
    "aiohttp": "transport puppet_server",
    "duckdb": "table notebook",
    "httpx2": "client endpoint transport",
    "mesa": "stage character author order",
    "networkx": "graph",
    "numpy": "measure stats unit curves judged shown power_run graph doors ui",
    "inspect_ai": "doors",
    "openai": "client endpoint transport",
    "orjson": "*",
    "pandas": "stats unit curves power_run ui table",
    "altair": "ui",
    "krippendorff": "stats",
    "pyarrow": "run_files run_ratings run_tables transcripts run_folder runs shards tables mend "
    "shown analysis_loader graph graphing doors table",
    "resvg_py": "graph",
    "pydantic": "strict puppet_spec model_spec authoring scene edit plan design overrides "
    "problems snapshot study_loader analysis_cache",
    "ray": "actors host gate host_handles host_pool ray_cluster scheduler doctor chorus",
    "rich": "cli terminal",
    "scipy": "stats judged graph",
    "statsmodels": "stats",
    "starlette": "ui",
    "streamlit": "ui",
    "typer": "cli",
    "xllamacpp": "embedded",
    "yaml": "source",
}

# Everything that `from improv import ...` promises. Adding a name is a decision; so is losing one.
PUBLIC: list[str] = [
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

RANK = {name: rank for rank, row in enumerate(STAIR) for name in row.split()}


@dataclass(frozen=True)
class Import:
    """One import: the module it stands in, the line, and the dotted name it reaches for."""

    room: str
    file: Path
    line: int
    name: str

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(TOP)}:{self.line}: {self.name}"


def rooms() -> dict[Path, str]:
    """Every source file of the package and the viewer, and the name it has in the tables."""
    found = {}
    for file in sorted((TOP / "improv").rglob("*.py")):
        first = file.relative_to(TOP / "improv").parts[0]
        found[file] = first.removesuffix(".py")
    for file in sorted((TOP / "ui").rglob("*.py")):
        found[file] = "ui"
    return found


def imports(file: Path, room: str) -> list[Import]:
    """All imports of a file, those inside functions too, but for its `__main__` block."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not is_main_block(node)]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(room, file, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            assert node.module
            for alias in node.names:
                # `from improv import prompt` reaches a module, `from improv import run` a name.
                whole = f"{node.module}.{alias.name}"
                names_room = node.module == "improv" and alias.name in RANK
                name = whole if names_room else node.module
                found.append(Import(room, file, node.lineno, name))
    return found


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


ROOMS = rooms()


@functools.cache
def all_imports() -> list[Import]:
    return [found for file, room in ROOMS.items() for found in imports(file, room)]


def inside() -> list[tuple[Import, str]]:
    """Each import from one room of another, and the other."""
    return [
        (found, found.name.split(".")[1])
        for found in all_imports()
        # `improv` itself only opens doors: its names load on first use.
        if found.package == "improv" and "." in found.name and found.room != "__init__"
    ]


def test_every_module_has_a_place_on_the_stair() -> None:
    homeless = {room for room in ROOMS.values() if room not in RANK and room[:2] != "__"}
    assert not homeless, f"add to STAIR in {Path(__file__).name}: {sorted(homeless)}"
    twice = [name for name in RANK if sum(name in row.split() for row in STAIR) > 1]
    assert not twice


def test_imports_point_one_way() -> None:
    wrong = [
        f"{found} (row {RANK[target]}, and {found.room} is row {RANK[found.room]})"
        for found, target in inside()
        if found.room != target and RANK[target] >= RANK[found.room]
    ]
    assert not wrong, "\n".join(wrong)


def test_readers_read_only_records_and_tables() -> None:
    wrong = [
        str(found)
        for found, target in inside()
        if found.room in READERS and target not in {found.room, *READERS[found.room].split()}
    ]
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_the_roof() -> None:
    wrong = [str(found) for found, target in inside() if target in ROOF and found.room != target]
    assert not wrong, "\n".join(wrong)


def test_packages_enter_by_their_doors() -> None:
    neighbours = {file.stem for file in (TOP / "ui").rglob("*.py")} | {"ui"}
    wrong = []
    for found in all_imports():
        known = found.package in sys.stdlib_module_names or found.package == "improv"
        if known or (found.room == "ui" and found.package in neighbours):
            continue
        doors = DOORS.get(found.package, "").split()
        if doors != ["*"] and found.room not in doors:
            wrong.append(f"{found} (its doors: {', '.join(doors) or 'none'})")
    assert not wrong, "\n".join(wrong)


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


@pytest.mark.parametrize("module", ["improv", "improv.cli", "improv.study_loader", "improv.puppet"])
def test_importing_is_light(module: str) -> None:
    allowed = {"rich"} if module == "improv.cli" else set()  # typer brings it
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP
    )
    assert set(done.stdout.split()) <= allowed
