"""The page that `make truth` writes, and what it says while it works. Pure."""

from __future__ import annotations

from tools.truth.crew import CHECKS, Made
from tools.truth.planting import Check, Figure


def row(made: Made) -> str:
    name = next(c.name for c in CHECKS if c.number == made.number)
    lines = [f"{made.number:>2} {name}, seed {made.seed}: {_verdict(made)}, {made.seconds:.0f} s"]
    lines += [f"     {made.why}"] if made.why else []
    for f in made.figures:
        lines.append(f"   {_mark(made, f) or '  '} {f.what}: {_told(f)} in {_band(f)}")
    return "\n".join(lines)


def page(made: list[Made], minutes: float) -> str:
    """Return the page as Markdown."""
    lines = [*_opening(made, minutes), "", *_summary(made)]
    for check in CHECKS:
        lines += ["", *_section(check, _of(check, made))]
    return "\n".join(lines) + "\n"


def _opening(made: list[Made], minutes: float) -> list[str]:
    first = next(m.seed for m in made if not m.again)
    others = sorted({m.seed for m in made if m.again})
    outside = sum(not m.held for m in made)
    found = "All figures are in their bands." if not outside else f"**{outside} checks failed.**"
    told = [
        "Written by `make truth`. SCIENCE.md, section 4, says what has to come out; its bands are "
        "used as they stand. A puppet is a fake model that plays a character from a declared "
        "process. It plays whole scenes through `launch.run` (the stage, the journal and the "
        "store, in one process); the tables are read back from the run folder; scores, units, "
        "tests and intervals are made by the functions that a report uses.",
        f"{found} Each figure stands with its Monte-Carlo error (± one standard error), and "
        "beside the band that it has to be in. A band that is one number allows for no error. "
        "What is only told has no band.",
        "“Studies” counts what was played afresh. Where a check has groups and deals, its scenes "
        "were split into so many groups, and each group dealt at random into as many studies as "
        "it has scenes for, so many times over. A study that was dealt is a random sample of "
        "scenes as one played afresh is, so that rates are unbiased; the error comes from groups, "
        "which share no scene.",
        f"Seed {first} is fixed and played in full; a figure of it that is outside its band fails "
        "the check. Tried too, at a smaller size: "
        f"{', '.join(f'seed {s}' for s in others) or 'none'}. Such a figure fails if it is outside "
        "by more than two of its errors; one that is outside by less is marked ○. A figure that "
        "fails is marked ✗.",
        f"It took {sum(m.seconds for m in made) / 60:.0f} minutes of a core, and {minutes:.0f} "
        "minutes in two processes on two cores, whatever else these had to do. Seconds below are "
        "a core's.",
    ]
    return ["# Planted truth", *(line for text in told for line in ("", text))]


def _summary(made: list[Made]) -> list[str]:
    lines = ["| | Check | Planted | Verdict | Seeds | Seconds |", "|---|---|---|---|---|---|"]
    for check in CHECKS:
        mine = _of(check, made)
        cells = [
            str(check.number),
            check.name,
            check.planted,
            "inside" if all(m.held for m in mine) else "**FAIL**",
            ", ".join(f"{m.seed}{'' if m.held else ' ✗'}" for m in mine),
            ", ".join(f"{m.seconds:.0f}" for m in mine),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _section(check: Check, mine: list[Made]) -> list[str]:
    lines = [f"## {check.number}. {check.name}", "", f"Planted: {check.planted}.", ""]
    lines += [check.how, "", f"*If it fails.* {check.failing}", ""]
    for m in mine:
        sizes = check.again if m.again else check.full
        told = ", ".join(f"{name.replace('_', ' ')} {size:g}" for name, size in sizes.items())
        lines += [f"Seed {m.seed}: {told}.", ""]
    head = " | ".join(f"Seed {m.seed}" for m in mine)
    lines += [f"| Figure | Band | {head} |", "|---|---|" + "---|" * len(mine)]
    names = list(dict.fromkeys(_plain(f.what) for m in mine for f in m.figures))
    for name in names:
        found = [next((f for f in m.figures if _plain(f.what) == name), None) for m in mine]
        cells = [
            "" if f is None else _told(f) + _mark(m, f) for f, m in zip(found, mine, strict=True)
        ]
        band = _band(next(f for f in found if f is not None))
        lines.append(f"| {name} | {band} | {' | '.join(cells)} |")
    failed = [f"Seed {m.seed} could not be made: {m.why}" for m in mine if m.why]
    return [*lines, *(line for why in failed for line in ("", why))]


def _of(check: Check, made: list[Made]) -> list[Made]:
    mine = [m for m in made if m.number == check.number]
    return sorted(mine, key=lambda m: (m.again, m.seed))


def _mark(made: Made, figure: Figure) -> str:
    if not made.well(figure):
        return " ✗"
    return "" if figure.held else " ○"


def _plain(what: str) -> str:
    """Return the name of a figure without what was counted on the way."""
    return what.partition(" (played")[0].replace("|", "\\|")


def _verdict(made: Made) -> str:
    return "pass" if made.held else "FAIL"


def _told(figure: Figure) -> str:
    error = f" ± {_short(figure.error)}" if figure.error else ""
    return f"{_short(figure.value)}{error}"


def _band(figure: Figure) -> str:
    if not figure.banded:
        return "only told"
    low, high = _short(figure.low), _short(figure.high)
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.3g}"
