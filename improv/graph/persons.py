"""The people of a run's scenes, and the mentions of their names in the lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from improv.graph.arrow_columns import Bools, Ints, encode, to_bools

CastNames: TypeAlias = Sequence[tuple[str, Sequence[str]]]
"""Names with their aliases, in the order of the cast list."""


@dataclass(frozen=True, slots=True)
class Person:
    """A possible node of a graph: a character of one scene's cast, or the author."""

    slug: str
    name: str


class PersonCodes:
    """Integer codes of people: the author, then for each slug its cast and its other speakers."""

    def __init__(
        self,
        turns: pa.Table,
        casts: Mapping[str, CastNames],
        slugs: Sequence[str],
        slug: Ints,
        scene: Ints,
        is_line: Bools,
    ) -> None:
        names, speaker = encode(turns["speaker"])
        pairs = np.unique(slug[scene[is_line]].astype(np.int64) * len(names) + speaker[is_line])
        speaks: dict[int, list[str]] = {}
        for pair in pairs.tolist():
            at, name = divmod(pair, len(names))
            speaks.setdefault(at, []).append(names[name])
        people, first = [Person("", "author")], [1]
        for i, name in enumerate(slugs):
            cast = [who for who, _ in casts.get(name, ())]
            others = sorted(who for who in speaks.get(i, ()) if who and who not in cast)
            people += [Person(name, who) for who in [*cast, *others]]
            first.append(len(people))
        self.people = tuple(people)
        self.first = np.array(first, dtype=np.int32)
        self._slugs = slugs
        self._code = {(p.slug, p.name): i for i, p in enumerate(people)}

    def codes(self, column: pa.ChunkedArray, slug: Ints) -> Ints:
        """Return the codes of a column of names, -1 for an unknown name."""
        names, at = encode(column)
        known = [[self._code.get((s, n), -1) for n in names] for s in self._slugs]
        table = np.array(known, dtype=np.int32).reshape(len(self._slugs), len(names))
        return table[slug, at] if len(names) else np.full(len(at), -1, dtype=np.int32)

    def code(self, slug: str, name: str) -> int:
        return self._code.get((slug, name), -1)


def find_mentions(
    text: pa.ChunkedArray,
    home: Ints,
    known: Ints,
    slugs: Sequence[str],
    casts: Mapping[str, CastNames],
    named: PersonCodes,
) -> Ints:
    """Find mentions: (line, person) for each person whom a line names without speaking to them.

    `home` is the index in `slugs` of each line's scene; `known` (lines, 2) is the line's speaker
    and addressee.

    A mention is a name as written in the cast list, in capitals, an alias, or the last word of a
    name if no other name ends in it. Arrow skips the lines without any; only the rest is searched
    line by line.
    """
    mentions: list[tuple[int, int]] = []
    for i, name in enumerate(slugs):
        rows = np.flatnonzero(home == i)
        forms = _forms([(p.name, _aliases(casts, p)) for p in named.people if p.slug == name])
        if not len(rows) or not forms:
            continue
        every = len(rows) == len(home)
        some = text if every else text.take(pa.array(rows))
        either = "|".join(re.escape(f) for f in sorted(forms, key=len, reverse=True))
        hits = np.flatnonzero(to_bools(pc.match_substring_regex(some, _re2(forms))))
        pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)|{_packed(forms)}")
        owners = {form: named.code(name, who) for form, who in forms.items()}
        for row, line in zip(
            rows[hits].tolist(), some.take(pa.array(hits)).to_pylist(), strict=True
        ):
            people = {owners[m] for m in pattern.findall(line)}
            people -= set(known[row].tolist())
            mentions += [(row, who) for who in sorted(people)]
    return np.array(sorted(mentions), dtype=np.int32).reshape(-1, 2)


def _aliases(casts: Mapping[str, CastNames], person: Person) -> Sequence[str]:
    return next((a for n, a in casts.get(person.slug, ()) if n == person.name), ())


def _forms(cast: CastNames) -> dict[str, str]:
    """Return form → name, for each form that a name may have in a line."""
    forms: dict[str, str] = {}
    for name, aliases in cast:
        for form in (name, *aliases):
            forms.setdefault(form, name)
    for name, _ in cast:
        last = name.split()[-1]
        if sum(n.split()[-1] == last for n, _ in cast) == 1 and len(last) > 2:
            forms.setdefault(last, name)
    for form, name in list(forms.items()):
        forms.setdefault(form.upper(), name)
        forms.setdefault(form[0].upper() + form[1:], name)
    # "the keeper" in lower case is a common noun, not a name.
    return {f: n for f, n in forms.items() if not (f[0].isascii() and f[0].islower())}


def _re2(forms: Iterable[str]) -> str:
    # RE2 accepts a backslash before ASCII punctuation, but not before an emoji.
    return "|".join(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", form) for form in forms)


_UNSPACED = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")


def _packed(forms: Iterable[str]) -> str:
    """Return a pattern of the names in scripts without spaces: they have no word boundaries."""
    return "|".join(re.escape(f) for f in forms if _UNSPACED.search(f)) or r"(?!)"
