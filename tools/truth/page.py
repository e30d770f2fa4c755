"""The page of `make truth`, and the text that it prints while it works. There is no I/O."""

from __future__ import annotations

from tools.truth.crew import CHECKS, Result
from tools.truth.planting import Check, Figure


def result_text(result: Result) -> str:
    """Return the lines about one check with one seed."""
    name = next(c.name for c in CHECKS if c.number == result.number)
    verdict = "pass" if result.held else "FAIL"
    lines = [f"{result.number:>2} {name}, seed {result.seed}: {verdict}, {result.seconds:.0f} s"]
    lines += [f"     {result.why}"] if result.why else []
    for f in result.figures:
        lines.append(f"   {_mark(result, f) or '  '} {f.what}: {_value(f)} in {_band(f)}")
    return "\n".join(lines)


def page(results: list[Result], minutes: float) -> str:
    """Return the page as Markdown."""
    lines = [*_opening(results, minutes), "", *_summary(results)]
    for check in CHECKS:
        lines += ["", *_section(check, _of(check, results))]
    return "\n".join(lines) + "\n"


def _opening(results: list[Result], minutes: float) -> list[str]:
    first = next(r.seed for r in results if not r.again)
    others = sorted({r.seed for r in results if r.again})
    verdict = " ".join(_counts(results, seed) for seed in (first, *others))
    paragraphs = [
        "Written by `make truth`; [validity.md](validity.md) says in which domain each test and "
        "interval holds. SCIENCE.md, section 4, says what has to come out, and gives the "
        "bands. A puppet is a fake model that plays a character from a declared process. It plays "
        "whole scenes through `launch.run` (the stage, the journal and the store, in one process). "
        "The tables are read back from the run folder, and the functions of a report make the "
        "scores, units, tests and intervals.",
        f"{verdict} Each figure has its Monte-Carlo error (± one standard error) and the band that "
        "it has to be in. A band that is one number allows no error. Some figures have no band.",
        "“Studies” counts the played studies. If a check has groups and deals, its scenes "
        "are split into that many groups, and each group is dealt that many times at random into "
        "studies. A dealt study is a random sample of scenes, as a played one is, so the rates are "
        "unbiased. The error comes from the groups, which share no scene.",
        f"Seed {first} is fixed and played in full. If one of its figures is outside its band, the "
        "check fails. These seeds are played too, at a smaller size: "
        f"{', '.join(f'seed {s}' for s in others) or 'none'}. Their figures fail if they are "
        "outside by more than two of their errors, and are marked ○ if they are outside by less. A "
        "figure that fails is marked ✗.",
        f"The run took {sum(r.seconds for r in results) / 60:.0f} minutes of processor time, and "
        f"{minutes:.0f} minutes in two processes on two cores that did other work as well. The "
        "seconds below are processor time.",
    ]
    return ["# Planted truth", *(line for text in paragraphs for line in ("", text))]


def _counts(results: list[Result], seed: int) -> str:
    """Return how many figures of a seed are in their bands, near them, and out of them."""
    mine = [(r, f) for r in results if r.seed == seed for f in r.figures if f.banded]
    inside = sum(f.held for _, f in mine)
    near = sum(not f.held and r.passes(f) for r, f in mine)
    parts = [f"{inside} of {len(mine)} figures with a band are in it"]
    parts += [f"{near} miss it by at most two of their errors (○)"] if near else []
    out = len(mine) - inside - near
    parts += [f"**{out} are out of it (✗)**"] if out else []
    parts += [f"**{n} checks raised an error**" for n in [_raised(results, seed)] if n]
    return f"Seed {seed}: {', '.join(parts)}."


def _raised(results: list[Result], seed: int) -> int:
    return sum(bool(r.why) for r in results if r.seed == seed)


def _summary(results: list[Result]) -> list[str]:
    lines = [
        "| | Check | Planted | Figures in their bands, seed by seed | Seconds |",
        "|---|---|---|---|---|",
    ]
    for check in CHECKS:
        mine = _of(check, results)
        cells = [
            str(check.number),
            check.name,
            check.planted,
            "; ".join(_in_band(m) for m in mine),
            ", ".join(f"{m.seconds:.0f}" for m in mine),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _in_band(result: Result) -> str:
    banded = [f for f in result.figures if f.banded]
    inside = f"{result.seed}: {sum(f.held for f in banded)} of {len(banded)}"
    return inside if result.held else f"**{inside} ✗**"


def _section(check: Check, mine: list[Result]) -> list[str]:
    lines = [f"## {check.number}. {check.name}", "", f"Planted: {check.planted}.", ""]
    lines += [check.how, "", f"*If it fails.* {check.failing}", ""]
    for m in mine:
        sizes = check.again if m.again else check.full
        counts = ", ".join(f"{name.replace('_', ' ')} {size:g}" for name, size in sizes.items())
        lines += [f"Seed {m.seed}: {counts}.", ""]
    head = " | ".join(f"Seed {m.seed}" for m in mine)
    lines += [f"| Figure | Band | {head} |", "|---|---|" + "---|" * len(mine)]
    names = list(dict.fromkeys(_plain(f.what) for m in mine for f in m.figures))
    for name in names:
        figures = [next((f for f in m.figures if _plain(f.what) == name), None) for m in mine]
        cells = [
            "" if f is None else _value(f) + _mark(m, f) for f, m in zip(figures, mine, strict=True)
        ]
        band = _band(next(f for f in figures if f is not None))
        lines.append(f"| {name} | {band} | {' | '.join(cells)} |")
    failed = [f"Seed {m.seed} raised an error: {m.why}" for m in mine if m.why]
    return [*lines, *(line for why in failed for line in ("", why))]


def _of(check: Check, results: list[Result]) -> list[Result]:
    mine = [m for m in results if m.number == check.number]
    return sorted(mine, key=lambda m: (m.again, m.seed))


def _mark(result: Result, figure: Figure) -> str:
    if not result.passes(figure):
        return " ✗"
    return "" if figure.held else " ○"


def _plain(what: str) -> str:
    """Return the name of a figure without the value that was measured on the played scenes."""
    return what.partition(" (played")[0].replace("|", "\\|")


def _value(figure: Figure) -> str:
    error = f" ± {_short(figure.error)}" if figure.error else ""
    return f"{_short(figure.value)}{error}"


def _band(figure: Figure) -> str:
    if not figure.banded:
        return "no band"
    low, high = _short(figure.low), _short(figure.high)
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.3g}"
