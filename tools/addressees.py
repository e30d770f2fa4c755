"""Fits the weights by which a line's addressee is guessed, and tests them on plays held out.

tests/data/plays.jsonl has scenes of plays in the public domain (texts of Standard Ebooks, without
stage directions). A reader, who was a language model, labelled whom each line addresses before any
weight was fitted. Each play in turn is held out: the weights are fitted on the other plays, and
guess through the scene on their own, as on the stage. The interval draws whole plays.

    python -m tools.addressees            fit, test, print the table
    python -m tools.addressees --write    and write improv/stage/addressee_weights.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from improv.stage.addressee import find_addressee, find_outright
from improv.stage.addressee_guess import NOBODY, Spoken, signs

TOP = Path(__file__).resolve().parent.parent
PLAYS = TOP / "tests" / "data" / "plays.jsonl"
TABLE = TOP / "improv" / "stage" / "addressee_weights.py"
RIDGE = 1.0
"""Weight of the squares of the weights against the log likelihood."""
MANY = 3
"""Persons present from which a line is counted: of two, the other one is addressed."""
DRAWS = 10_000

Cast = tuple[tuple[str, tuple[str, ...]], ...]
Signs = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a play. `addressed` is None if its reader was not sure."""

    play: str
    scene: str
    cast: Cast
    speaker: str
    present: tuple[str, ...]
    text: str
    addressed: str | None


@dataclass(frozen=True, slots=True)
class Guess:
    """A labelled line with what was guessed, and what who spoke last would have been."""

    line: Line
    addressed: str
    by: str
    last: str

    @property
    def right(self) -> bool:
        return self.addressed == self.line.addressed

    @property
    def last_right(self) -> bool:
        return self.last == self.line.addressed


def read_lines(file: Path = PLAYS) -> list[Line]:
    """Return the lines of all scenes in order. The first line of a scene has its cast."""
    lines: list[Line] = []
    cast: Cast = ()
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        if row["cast"] is not None:
            cast = tuple((name, tuple(aliases)) for name, aliases in row["cast"])
        lines.append(
            Line(
                row["play"],
                row["scene"],
                cast,
                row["speaker"],
                tuple(row["present"]),
                row["text"],
                row["addressed"],
            )
        )
    return lines


def examples(lines: Sequence[Line]) -> list[tuple[Line, Signs]]:
    """Return the labelled lines that do not say whom they address, with the signs of each choice.

    The lines before are known as their reader labelled them; where he was not sure, they address
    who spoke last.
    """
    made: list[tuple[Line, Signs]] = []
    earlier: list[Spoken] = []
    scene = ""
    for line in lines:
        if line.scene != scene:
            earlier, scene = [], line.scene
        others = [name for name in line.present if name != line.speaker]
        outright = find_outright(line.text, line.speaker, line.cast, line.present)
        if line.addressed is not None and len(others) > 1 and not outright.known:
            rows = signs(line.text, line.speaker, others, earlier, outright.mentions)
            made.append((line, rows))
        addressed = line.addressed if line.addressed is not None else _last(earlier, line)
        earlier.append(Spoken(line.speaker, addressed, line.text))
    return made


def fit(made: Sequence[tuple[Line, Signs]]) -> dict[str, float]:
    """Return the weights of a conditional logit with a ridge."""
    names = sorted({sign for _, rows in made for row in rows.values() for sign in row})
    most = max(len(rows) for _, rows in made)
    x = np.zeros((len(made), most, len(names)))
    absent = np.full((len(made), most), -1e9)
    chosen = np.zeros(len(made), dtype=int)
    for i, (line, rows) in enumerate(made):
        choices = list(rows)
        chosen[i] = choices.index(line.addressed or NOBODY)
        absent[i, : len(choices)] = 0
        for k, choice in enumerate(choices):
            x[i, k] = [rows[choice].get(name, 0.0) for name in names]
    which = np.arange(len(made))
    seen = x[which, chosen].sum(axis=0)

    def loss(
        weights: npt.NDArray[np.float64],
    ) -> tuple[float, npt.NDArray[np.float64]]:
        scores = x @ weights + absent
        top = scores.max(axis=1, keepdims=True)
        odds = np.exp(scores - top)
        total = odds.sum(axis=1, keepdims=True)
        likelihood = (scores[which, chosen] - top[:, 0] - np.log(total[:, 0])).sum()
        slope = seen - np.einsum("nc,nck->k", odds / total, x)
        return RIDGE * weights @ weights - likelihood, 2 * RIDGE * weights - slope

    best = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B").x
    return {name: round(float(weight), 2) for name, weight in zip(names, best, strict=True)}


def play_through(lines: Sequence[Line], weights: Mapping[str, float]) -> list[Guess]:
    """Guess through scenes as the stage does: each guess is all that the next ones know."""
    guesses: list[Guess] = []
    earlier: list[Spoken] = []
    scene = ""
    for line in lines:
        if line.scene != scene:
            earlier, scene = [], line.scene
        addressed, by = find_addressee(
            line.text, line.speaker, line.cast, earlier, line.present, weights
        )
        if line.addressed is not None and len(line.present) >= MANY:
            guesses.append(Guess(line, addressed, by, _last(earlier, line)))
        earlier.append(Spoken(line.speaker, addressed, line.text))
    return guesses


def held_out(lines: Sequence[Line]) -> list[Guess]:
    """Return the guesses for each play by weights that were fitted on the others."""
    made = examples(lines)
    guesses = []
    for play in dict.fromkeys(line.play for line in lines):
        weights = fit([one for one in made if one[0].play != play])
        guesses += play_through([line for line in lines if line.play == play], weights)
    return guesses


def interval(guesses: Sequence[Guess], *, lead: bool = False) -> tuple[float, float, float]:
    """Return the share that is right, or its lead over "whoever spoke last", with 95% limits.

    Whole plays are drawn again, because lines of one play are alike.
    """
    plays = list(dict.fromkeys(g.line.play for g in guesses))
    own = [[g for g in guesses if g.line.play == play] for play in plays]
    right = np.array([sum(g.right - (g.last_right if lead else 0) for g in part) for part in own])
    size = np.array([len(part) for part in own])
    drawn = np.random.default_rng(0).integers(len(plays), size=(DRAWS, len(plays)))
    shares = right[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(right.sum() / size.sum()), float(low), float(high)


def _last(earlier: Sequence[Spoken], line: Line) -> str:
    speaker = next((s.speaker for s in reversed(earlier) if s.speaker != line.speaker), NOBODY)
    return speaker if speaker in line.present else NOBODY


def table(guesses: Sequence[Guess]) -> list[str]:
    """Return the lines of the table of docs/graphs.md."""
    rows = ["| play | lines | guess | whoever spoke last |", "|---|---|---|---|"]
    for scene in dict.fromkeys(g.line.scene for g in guesses):
        part = [g for g in guesses if g.line.scene == scene]
        right, last = (
            sum(x) / len(part) for x in zip(*((g.right, g.last_right) for g in part), strict=True)
        )
        rows.append(f"| {scene} | {len(part)} | {right:.2f} | {last:.2f} |")
    share, low, high = interval(guesses)
    last = sum(g.last_right for g in guesses) / len(guesses)
    rows.append(f"| all | {len(guesses)} | {share:.2f} ({low:.2f} to {high:.2f}) | {last:.2f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write the table of weights")
    options = parser.parse_args()
    lines = read_lines()
    guesses = held_out(lines)
    weights = fit(examples(lines))
    named = [g for g in guesses if g.by in ("said", "name")]
    lead, low, high = interval(guesses, lead=True)
    print("\n".join(table(guesses)))
    print(f"lead over whoever spoke last: {lead:.2f} ({low:.2f} to {high:.2f}, plays drawn again)")
    print(f"{len(named)} say it outright or by name: {sum(g.right for g in named)} right")
    if options.write:
        rows = "".join(f'    "{name}": {weight},\n' for name, weight in sorted(weights.items()))
        head, begin, _ = TABLE.read_text(encoding="utf-8").partition("float] = {\n")
        TABLE.write_text(f"{head}{begin}{rows}}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
