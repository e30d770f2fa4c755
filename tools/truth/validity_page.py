"""The page docs/validity.md: each test with its cells, in or out of its band. There is no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tools.truth.validity_tests import AT_LEAST, AT_MOST, TESTS, Test

ROOM = 2.0
"""Monte-Carlo standard errors by which a cell may miss its band."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured share: of `repetitions` data sets, and of the code with this digest."""

    test: str
    shape: str
    size: int
    value: float
    repetitions: int
    code: str

    def row(self) -> dict[str, object]:
        return asdict(self)

    @property
    def error(self) -> float:
        """The Monte-Carlo standard error, never 0: a share of 0 of 1,000 may be .1%."""
        if not self.repetitions:
            return math.nan
        share = min(max(self.value, 0.5 / self.repetitions), 1 - 0.5 / self.repetitions)
        return math.sqrt(share * (1 - share) / self.repetitions)

    def held(self, band: tuple[float, float]) -> bool:
        room = ROOM * self.error
        return band[0] - room <= self.value <= band[1] + room

    def is_safe(self, band: tuple[float, float]) -> bool:
        """Whether it misses its band, and on the safe side: covers more, or rejects less."""
        return not self.held(band) and (self.value > 0.5) is (self.value > band[1])


def page(cells: Sequence[Cell]) -> str:
    """Return the page as Markdown."""
    lines = ["# Where the tests hold", ""]
    lines += [
        "Written by `make truth` (`python -m tools.truth.validity`). Each cell is a share of data "
        "sets that were drawn from a declared process and analysed by the functions that a report "
        "calls, with its Monte-Carlo standard error in thousandths (.951 ±7 is .951 ± .007). A "
        "cell that misses its band by more than two of these errors is **bold** if the interval is "
        "too short or the test rejects too often, and *slanted* if it is on the safe side: wider, "
        "or more cautious, than promised. “–” is a cell in which a report gives no number; (n) "
        "after a cell says how many data sets had one, if less than all. A size that is not in a "
        "table has not been measured yet.",
        "",
        "What a report does about it: a contrast is not decided with too few blocks to reject, if "
        "its arms may differ in shape alone, or if so few blocks may have missed a rare event. The "
        "row “a contrast that is shown” is the test with these doubts. An interval that is bold "
        "here is printed all the same; do not read the ends of one from fewer blocks than its row "
        "needs. Rows with the band “.94 or more” or “.06 "
        "or less” are of methods that keep their promise whatever the shape, and pay for it with "
        "wider intervals and less power.",
        "",
        "Each scene has ten lines, of a chain twenty. An intraclass correlation of .1 says how "
        "alike the lines of a scene are.",
    ]
    for test in TESTS:
        mine = [c for c in cells if c.test == test.name]
        if mine:
            lines += ["", *_section(test, mine)]
    return "\n".join(lines) + "\n"


def _section(test: Test, cells: Sequence[Cell]) -> list[str]:
    sizes = sorted({c.size for c in cells})
    least = min(c.repetitions for c in cells if c.repetitions or len(cells) == 1)
    lines = [f"## {test.name[0].upper()}{test.name[1:]}", ""]
    lines += [f"{test.what[0].upper()}{test.what[1:]}. Band: {_band(test.band)}.", ""]
    head = " | ".join(f"{size} {test.unit}" for size in sizes)
    lines += [f"| Data | {head} | Holds |", "|---|" + "---|" * (len(sizes) + 1)]
    most = max(c.repetitions for c in cells)
    for shape, words in test.shapes.items():
        row = {c.size: c for c in cells if c.shape == shape}
        if row:
            texts = [_cell(row.get(size), test.band, most) for size in sizes]
            lines.append(f"| {shape}: {words} | {' | '.join(texts)} | {_domain(row, test.band)} |")
    lines += [
        "",
        f"{most:,} data sets a cell" + (f" ({least:,} at least)." if least < most else "."),
    ]
    return lines


def _cell(cell: Cell | None, band: tuple[float, float], most: int) -> str:
    if cell is None:
        return ""
    if math.isnan(cell.value):
        return "–"
    number = f"{cell.value:.3f}".removeprefix("0")
    text = f"{number} ±{1000 * cell.error:.0f}"
    text += f" ({cell.repetitions:,})" if cell.repetitions < most else ""
    if cell.held(band):
        return text
    return f"*{text}*" if cell.is_safe(band) else f"**{text}**"


def _domain(row: dict[int, Cell], band: tuple[float, float]) -> str:
    """Return from which size on every cell of a row is in its band, and where none is unsafe."""
    sizes = [size for size in sorted(row) if not math.isnan(row[size].value)]
    inside = _from(sizes, [row[size].held(band) for size in sizes])
    safe = _from(sizes, [row[size].held(band) or row[size].is_safe(band) for size in sizes])
    return inside if inside == safe else f"{inside}; safe {safe}"


def _from(sizes: Sequence[int], good: Sequence[bool]) -> str:
    """Return from which size on all is good."""
    first = len(sizes)
    while first and good[first - 1]:
        first -= 1
    if first == len(sizes):
        return "nowhere"
    return "everywhere" if not first else f"from {sizes[first]} on"


def _band(band: tuple[float, float]) -> str:
    if band == AT_LEAST:
        return ".94 or more"
    if band == AT_MOST:
        return ".06 or less"
    return " to ".join(f"{end:.2f}".removeprefix("0") for end in band)
