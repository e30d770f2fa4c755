"""Reads what an analysis needs of the lines themselves: how long each is, which predicate a score
of it verifies, and whether lines of other characters would do as well in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from improv.analysis.units import Frame
from improv.storage.run_folder import RunFolder
from improv.study.design import Study
from improv.study.scene import EVERYBODY, Predicate

_SPOKEN = ("line", "silence")
_STAGED = r"\([^()]*\)"
_WORD = r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*"

PredicateKey = tuple[str, str, str]
"""The slug of a scene, a character, and the measure whose scores the predicate makes."""


@dataclass(frozen=True)
class Speech:
    """The improvised lines of a run (trial, branch, turn, speaker, kind, words), and the predicates
    of its markers."""

    lines: Frame
    predicates: Mapping[PredicateKey, Predicate]
    borrowed: Frame | None = None
    """The lines of other characters by each predicate (see the module borrowed); None where all
    characters are puppets, who say the same sentences."""

    def turns(self) -> Frame:
        """Return how many `rows` each trial and branch has."""
        return self.lines.groupby(["trial", "branch"]).size().rename("rows").reset_index()


def read_speech(folder: RunFolder, study: Study) -> Speech:
    """Return the lines of a run, without their texts. Raises RunError."""
    columns = ["trial", "branch", "turn", "speaker", "kind", "text"]
    parts = [_counted(piece) for piece in folder.tables.read_batches("turns", columns)]
    lines = (
        pa.concat_tables(parts) if parts else _counted(folder.tables.read("turns", columns=columns))
    )
    coded = [lines[name].dictionary_encode() for name in ("trial", "branch", "speaker", "kind")]
    for place, column in zip((0, 1, 3, 4), coded, strict=True):
        lines = lines.set_column(place, lines.column_names[place], column)
    return Speech(lines.to_pandas(), predicates_of(study))


def _counted(piece: pa.Table) -> pa.Table:
    """Return the improvised lines of some turns, with the number of their words for the text."""
    spoken = piece.filter(pc.is_in(piece["kind"], pa.array(_SPOKEN)))
    speech = pc.replace_substring_regex(spoken["text"], pattern=_STAGED, replacement=" ")
    words = pc.count_substring_regex(speech, pattern=_WORD)
    return spoken.drop_columns(["text"]).append_column("words", words)


def predicates_of(study: Study) -> dict[PredicateKey, Predicate]:
    """Return the predicate of each marker. If conditions differ in one, it is that of the first."""
    predicates: dict[PredicateKey, Predicate] = {}
    for slug, _, scene in study.cells:
        for person in scene.cast:
            if person.habit is not None:
                key = (slug, person.name, f"habit:{person.habit.marker}")
                predicates.setdefault(key, person.habit)
            for trait in person.traits:
                if trait.sign is not None:
                    key = (slug, person.name, f"sign:{trait.pole}/{trait.opposite}")
                    predicates.setdefault(key, trait.sign)
            for name, rule in scene.rules.items():
                if rule.of in (EVERYBODY, person.name):
                    predicates.setdefault((slug, person.name, f"rule:{name}"), rule)
    return predicates


def with_words(scores: Frame, speech: Speech) -> Frame:
    """Return scores with the words of their lines; only those of improvised lines."""
    keys = ["trial", "branch", "turn", "speaker"]
    plain = scores.assign(speaker=scores["character"])
    for name in ("trial", "branch", "speaker"):
        plain[name] = plain[name].astype(object)
    lines = speech.lines.astype(dict.fromkeys(("trial", "branch", "speaker"), object))
    return pd.merge(plain, lines[[*keys, "words"]], on=keys, how="inner")
