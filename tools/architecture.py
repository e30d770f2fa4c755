"""Draws the packages of improv in rows, and the imports between them.

The rows are declared here, and `tests/repo/test_architecture.py` checks the code against them.
`--write` puts the picture of today's imports into docs/architecture.md, between two markers.

    python -m tools.architecture            print the rows, the picture and the arrows
    python -m tools.architecture --write    and put the picture into docs/architecture.md
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs" / "architecture.md"
BEGIN, END = "<!-- picture: python -m tools.architecture --write -->", "<!-- end of picture -->"

STAIR = (
    (
        "cli ui",
        "what users meet: parse, call one function, print or draw; nothing imports them",
    ),
    ("api", "improv from Python: runs, tables, transcripts"),
    ("runner", "plays a study: launch, hosts, scheduler, replay, power, estimates"),
    ("report export", "results for others: a report page, and other programs' formats"),
    ("scoring", "scores of played runs, by measures and judges"),
    ("graph", "who speaks to whom: networks, their measures, comparison, pictures"),
    ("analysis", "scores become units, units become estimates with intervals; exposure"),
    ("stage", "one scene: Mesa, characters, author, prompts, cleaning of replies"),
    ("models storage", "calls to one endpoint; the folder of one run"),
    ("study", "what people write: scenes, studies, plans, cards; trials and branches"),
    (
        "records files event_loop ray_cluster",
        "the base: records, files, and what Ray and asyncio need",
    ),
    ("folder", "a local folder whose files are reached through no link"),
    (
        "errors output interrupts wrapping",
        "all errors; cleaning of output; each Ctrl-C is noticed; what is around a reply",
    ),
    (
        "text import_path version",
        "cleaning of text; which code this is, and where it is found",
    ),
)
"""The rows from top to bottom, and what each is for. A name is a package or a module of `improv`,
or `ui`. A package imports from rows below its own, never from its own row or from one above."""

ROOF = {"cli", "ui"}
"""Packages that nothing imports, not even the Python API."""

MOST = 25
"""Maximum packages and modules in all rows, so that a newcomer can remember them."""

RANK = {name: rank for rank, (row, _) in enumerate(reversed(STAIR)) for name in row.split()}


@dataclass(frozen=True)
class Import:
    """One import: its file and line, the package that imports (`room`), and the imported name."""

    file: Path
    line: int
    room: str
    module: str
    """The module that is imported, or imported from: "improv.study.scene", "numpy.typing"."""
    name: str
    """The name that is imported from the module; "" for a plain `import`."""

    @property
    def package(self) -> str:
        return self.module.split(".")[0]

    @property
    def target(self) -> str:
        """The package of improv that is imported; "" for any other package."""
        first, *rest = [*self.module.split("."), *([self.name] if self.name else [])]
        if first == "ui":
            return "ui"
        return rest[0] if first == "improv" and rest and rest[0] in RANK else ""

    def __str__(self) -> str:
        reached = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.file.relative_to(TOP)}:{self.line}: {reached}"


def rooms() -> dict[Path, str]:
    """Return every source file of improv and its viewer → the package that it belongs to.

    `improv/__init__.py` is left out, because its public names load on first use.
    """
    files = {}
    for file in sorted((TOP / "improv").rglob("*.py")):
        first = file.relative_to(TOP / "improv").parts[0].removesuffix(".py")
        if first != "__init__":
            files[file] = first
    files |= dict.fromkeys(sorted((TOP / "ui").rglob("*.py")), "ui")
    return files


def imports(file: Path, room: str) -> Iterator[Import]:
    """Yield all imports of a file, also those inside functions, except in its `__main__` block."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _is_main_block(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, room, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(file, node.lineno, room, node.module or ".", alias.name)


def all_imports() -> list[Import]:
    """Return every import of every file."""
    return [each for file, room in rooms().items() for each in imports(file, room)]


def arrows(every_import: list[Import]) -> dict[tuple[str, str], list[Import]]:
    """Return (from, to) → the imports, for each pair of packages that has any."""
    pairs: dict[tuple[str, str], list[Import]] = {}
    for each in every_import:
        if each.target and each.target != each.room:
            pairs.setdefault((each.room, each.target), []).append(each)
    return dict(sorted(pairs.items()))


def faults(every_import: list[Import]) -> list[str]:
    """Return every import that does not point down, and every package that is in no row.

    If all imports point down, there is no circle of imports either.
    """
    homeless = sorted(set(rooms().values()) - set(RANK))
    wrong = [f"improv/{name}: is in no row of tools/architecture.py" for name in homeless]
    for (source, target), made in arrows(every_import).items():
        if source in RANK and RANK[target] >= RANK[source]:
            direction = "sideways" if RANK[target] == RANK[source] else "up"
            wrong += [f"{each} ({direction}: {source} to {target})" for each in made]
    return wrong


def picture(pairs: dict[tuple[str, str], list[Import]]) -> str:
    """Draw the rows, with a line down from each package to the packages that it imports.

    A line begins at ┬ beside its package. It meets each imported package at ┤, and the last one
    at ┘.
    """
    names = [(row, name) for row, (several, _) in enumerate(STAIR) for name in several.split()]
    sources = [name for _, name in names if any(source == name for source, _ in pairs)]
    order = [name for _, name in names]
    last = {
        source: max(order.index(target) for other, target in pairs if other == source)
        for source in sources
    }
    width = max(map(len, order)) + 2
    lines, before = [], -1
    for place, (row, name) in enumerate(names):
        cells = []
        for source in sources:
            if source == name:
                cells.append("┬")
            elif not order.index(source) < place <= last[source]:
                cells.append(" ")
            elif (source, name) in pairs:
                cells.append("┘" if place == last[source] else "┤")
            else:
                cells.append("│")
        number = f"{len(STAIR) - row:>2}" if row != before else "  "
        before = row
        lines.append(f"{number}  {name:<{width}}{'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def passage() -> str:
    """Return the text between the markers of docs/architecture.md."""
    table = ["| row | packages and modules | what they are for |", "|---|---|---|"]
    for above, (row, meaning) in enumerate(STAIR):
        names = ", ".join(f"`{name}`" for name in row.split())
        table.append(f"| {len(STAIR) - above} | {names} | {meaning} |")
    drawn = picture(arrows(all_imports()))
    return "\n".join([BEGIN, "", "```text", drawn, "```", "", *table, "", END])


def written(page: str) -> str:
    """Return docs/architecture.md with the picture of today's imports."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.relative_to(TOP)}: needs the lines\n{BEGIN}\n{END}")
    return before + passage() + after


def main() -> int:
    """Print the picture; with --write, put it into the page. Return 1 if an import points up."""
    parser = argparse.ArgumentParser(description="Draw the packages of improv and their imports.")
    parser.add_argument("--write", action="store_true", help="put the picture into docs")
    write = parser.parse_args().write
    every_import = all_imports()
    pairs = arrows(every_import)
    print(picture(pairs), end="\n\n")
    for name in RANK:
        targets = {target: len(made) for (source, target), made in pairs.items() if source == name}
        if targets:
            print(f"{name} -> {', '.join(f'{t} ({n})' for t, n in targets.items())}")
    names = set(rooms().values())
    print(f"\n{len(names)} packages and modules, {len(STAIR)} rows, {len(pairs)} arrows")
    wrong = faults(every_import)
    if len(names) > MOST:
        wrong.append(f"{len(names)} packages and modules at the top two levels: at most {MOST}")
    for fault in wrong:
        print(fault, file=sys.stderr)
    if write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if wrong else 0


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


if __name__ == "__main__":
    sys.exit(main())
