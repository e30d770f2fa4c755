"""The turns of a run as columns of numbers: who spoke when, to whom, and what the author did.

Everything in this folder begins here. Turns come in as an Arrow table and leave as arrays, sorted
by scene and place, so that a million of them cost seconds; nothing here knows of NetworkX.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints: TypeAlias = npt.NDArray[np.int32]
Wide: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Cast: TypeAlias = Sequence[tuple[str, Sequence[str]]]
"""Names with their aliases, in the order of the cast list."""

SAID, NAME, ORDER, NOBODY = range(4)
EVIDENCE = ("said", "name", "order", "none")
"""How it is known whom a line speaks to; its places are the codes above. By turn order is a
guess, the others stand in the line."""

NOTE, CUE, MOVE = range(3)
ACTS = ("note", "cue", "move")

AUTHOR = 0
"""The code of the author among the people; no character may be called so."""

COLUMNS = [
    "trial",
    "branch",
    "turn",
    "seq",
    "kind",
    "speaker",
    "text",
    "addressed",
    "by",
    "acts",
]
"""What is read of a run's turns."""
SPOKEN = ["trial", "branch", "kind", "speaker"]
"""What tells who speaks in them."""
PLACES = ["trial", "branch", "scene", "condition", "block"]
"""What is read of its trials."""

_LINES = ("written", "line", "silence")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can stand in a graph: a character of one scene's cast, or the author."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of all scenes, one a row, sorted by scene and by their `place` in it from 0.

    `turn` is 0 for what was written with the scene. `who` and `to` are codes of people, `to` -1
    for nobody in particular; `by` is a code of EVIDENCE. `spoken` is false for a silence, which
    has a place in the order and says nothing.
    """

    scene: Ints
    place: Ints
    turn: Ints
    seq: Ints
    who: Ints
    to: Ints
    by: Ints
    words: Ints
    spoken: Bools

    def __len__(self) -> int:
        return len(self.who)

    def taken(self, rows: npt.NDArray[Any]) -> Lines:
        return Lines(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Acts:
    """What the author did: `kind` is a code of ACTS, `to` a person (-1 for a move, which is for
    all), `turn` when, and `line` the row of the line that came next (-1 for none in its scene)."""

    scene: Ints
    turn: Ints
    kind: Ints
    to: Ints
    line: Ints

    def taken(self, rows: npt.NDArray[Any]) -> Acts:
        return Acts(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Talk:
    """Who said what to whom in a number of scenes, without the words.

    A scene is one trial (or branch), in the order given. `slug`, `condition` and `block` are the
    scenes' codes in `slugs`, `conditions` and `blocks`. `people` has the author first and then
    each slug's cast, whose codes begin at `first[slug]`. `mentions` has a row for each line and
    person (shape (n, 2)) whom it names without speaking to them.
    """

    trials: tuple[str, ...]
    slug: Ints
    slugs: tuple[str, ...]
    condition: Ints
    conditions: tuple[str, ...]
    block: Ints
    blocks: tuple[str, ...]
    people: tuple[Person, ...]
    first: Ints
    lines: Lines
    acts: Acts
    mentions: Ints

    @property
    def scenes(self) -> int:
        return len(self.trials)

    @property
    def last(self) -> int:
        """The last turn that any scene has."""
        return int(self.lines.turn.max(initial=0))

    def cast(self, slug: int) -> range:
        """Return the codes of a slug's characters."""
        return range(int(self.first[slug]), int(self.first[slug + 1]))

    def sure(self) -> Talk:
        """Return the talk without guesses: nobody is spoken to by the order of turns alone."""
        lines = self.lines
        guessed = lines.by == ORDER
        to = np.where(guessed, np.int32(-1), lines.to)
        by = np.where(guessed, np.int32(NOBODY), lines.by)
        return replace(self, lines=replace(lines, to=to, by=by))

    def only(self, scenes: Bools) -> Talk:
        """Return the talk of some scenes, given as a mask of shape (scenes,)."""
        at = np.cumsum(scenes, dtype=np.int32) - 1
        rows = scenes[self.lines.scene]
        row_at = np.cumsum(rows, dtype=np.int32) - 1
        lines = self.lines.taken(rows)
        acts = self.acts.taken(scenes[self.acts.scene])
        mentions = self.mentions[rows[self.mentions[:, 0]]]
        return replace(
            self,
            trials=tuple(np.array(self.trials, dtype=object)[scenes]),
            slug=self.slug[scenes],
            condition=self.condition[scenes],
            block=self.block[scenes],
            lines=replace(lines, scene=at[lines.scene]),
            acts=replace(
                acts,
                scene=at[acts.scene],
                line=np.where(acts.line >= 0, row_at[acts.line], np.int32(-1)),
            ),
            mentions=np.column_stack([row_at[mentions[:, 0]], mentions[:, 1]]),
        )

    def times(self, many: int) -> Talk:
        """Return the talk `many` times over: all scenes, all scenes again, and so on."""
        if many == 1:
            return self

        def again(codes: Ints, step: int) -> Ints:
            """Repeat codes, those that mean something `step` further on each time."""
            more = np.repeat(np.arange(many, dtype=codes.dtype) * step, len(codes))
            found = np.tile(codes, many)
            return np.where(found >= 0, found + more, found)

        lines = self.lines.taken(np.tile(np.arange(len(self.lines)), many))
        acts = self.acts.taken(np.tile(np.arange(len(self.acts.scene)), many))
        named, who = self.mentions.T
        return replace(
            self,
            trials=self.trials * many,
            slug=np.tile(self.slug, many),
            condition=np.tile(self.condition, many),
            block=np.tile(self.block, many),
            lines=replace(lines, scene=again(self.lines.scene, self.scenes)),
            acts=replace(
                acts,
                scene=again(self.acts.scene, self.scenes),
                line=again(self.acts.line, len(self.lines)),
            ),
            mentions=np.column_stack([again(named, len(self.lines)), np.tile(who, many)]),
        )

    def of(self, *, condition: str = "", trial: str = "") -> Talk:
        """Return the talk of one condition, or of one scene by its trial's id."""
        keep = np.ones(self.scenes, dtype=np.bool_)
        if condition:
            code = self.conditions.index(condition) if condition in self.conditions else -1
            keep &= self.condition == code
        if trial:
            keep &= np.array(self.trials, dtype=object) == trial
        return self.only(keep)


def talk(turns: pa.Table, trials: pa.Table, casts: Mapping[str, Cast]) -> Talk:
    """Read turns into columns.

    `turns` has COLUMNS and `trials` has PLACES; a scene is a row of `trials`, and turns of others
    are passed over. `casts` maps slugs to casts; who speaks without standing in one comes after
    it. Off-record turns and directions are no lines, but what the author did before them counts.
    """
    keys = _joined(trials)
    slugs, slug = _coded(trials["scene"])
    conditions, condition = _coded(trials["condition"])
    blocks, block = _coded(trials["block"])
    scene = _indices(pc.index_in(_joined(turns), value_set=pc.unique(keys)))
    there = scene >= 0
    turns, scene = turns.filter(pa.array(there)), scene[there]
    number, seq = (_ints(turns[name]) for name in ("turn", "seq"))
    order = np.lexsort((seq, number, scene))
    if not bool(np.all(order[1:] > order[:-1])):
        turns, scene, number, seq = turns.take(order), scene[order], number[order], seq[order]
    kind = turns["kind"]
    is_line = _bools(pc.is_in(kind, value_set=pa.array(_LINES)))
    named = _Names(turns, casts, slugs, slug, scene, is_line)
    acts = _acts(turns, scene, number, is_line, slug, named)
    spoken = turns.filter(pa.array(is_line))
    at = scene[is_line]
    begins = np.searchsorted(at, np.arange(len(trials)))
    to = named.codes(spoken["addressed"], slug[at])
    by = _indices(pc.index_in(spoken["by"], value_set=pa.array(EVIDENCE)))
    lines = Lines(
        scene=at,
        place=(np.arange(len(at)) - begins[at]).astype(np.int32),
        turn=number[is_line],
        seq=seq[is_line],
        who=named.codes(spoken["speaker"], slug[at]),
        to=to,
        by=np.where((to < 0) | (by < 0), NOBODY, by).astype(np.int32),
        words=_words(spoken["text"]),
        spoken=_bools(pc.not_equal(spoken["kind"], "silence")),
    )
    return Talk(
        tuple(trials["trial"].to_pylist()),
        slug,
        slugs,
        condition,
        conditions,
        block,
        blocks,
        named.people,
        named.first,
        lines,
        acts,
        _mentions(spoken["text"], lines, slug, slugs, casts, named),
    )


def completed(
    turns: Iterable[pa.Table], trials: pa.Table, casts: Mapping[str, Cast]
) -> dict[str, Cast]:
    """Return the casts with whoever speaks without standing in one: by them, a part of the turns
    has the people that the whole has. `turns` come in pieces of SPOKEN, `trials` have PLACES."""
    slug_of = dict(zip(_joined(trials).to_pylist(), trials["scene"].to_pylist(), strict=True))
    found = {slug: list(cast) for slug, cast in casts.items()}
    speaks: dict[str, set[str]] = {}
    for piece in turns:
        lines = piece.filter(pc.is_in(piece["kind"], value_set=pa.array(_LINES)))
        pairs = lines.group_by(["trial", "branch", "speaker"]).aggregate([])
        speakers = pairs["speaker"].to_pylist()
        for scene, who in zip(_joined(pairs).to_pylist(), speakers, strict=True):
            if scene in slug_of and who:
                speaks.setdefault(slug_of[scene], set()).add(who)
    for slug, names in speaks.items():
        cast = found.setdefault(slug, [])
        cast += [(who, ()) for who in sorted(names - {name for name, _ in cast})]
    return dict(found)


# --- columns


def _joined(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["trial"], table["branch"], "\x1f")


def _coded(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Ints]:
    """Return the values of a column in the order of their coming, and each row's place in them."""
    encoded = column.combine_chunks().dictionary_encode()
    return tuple(encoded.dictionary.to_pylist()), _ints(encoded.indices)


def _ints(column: Any) -> Ints:
    found = (
        column.to_numpy(zero_copy_only=False)
        if isinstance(column, pa.Array)
        else (column.to_numpy())
    )
    return np.asarray(found, dtype=np.int32)


def _indices(column: Any) -> Ints:
    return _ints(pc.fill_null(column, -1))


def _bools(column: Any) -> Bools:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def _words(text: pa.ChunkedArray) -> Ints:
    """Count words by the spaces between them: a line has been cleaned, and a pattern costs more."""
    spaces = _indices(pc.count_substring(pc.utf8_trim_whitespace(text), " "))
    return spaces + (_indices(pc.utf8_length(text)) > 0).astype(np.int32)


class _Names:
    """Who is who: each slug's cast, then whoever else speaks in it."""

    def __init__(
        self,
        turns: pa.Table,
        casts: Mapping[str, Cast],
        slugs: Sequence[str],
        slug: Ints,
        scene: Ints,
        is_line: Bools,
    ) -> None:
        names, speaker = _coded(turns["speaker"])
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
        """Return the people whom a column of names means, -1 for nobody who is known."""
        names, at = _coded(column)
        known = [[self._code.get((s, n), -1) for n in names] for s in self._slugs]
        table = np.array(known, dtype=np.int32).reshape(len(self._slugs), len(names))
        return table[slug, at] if len(names) else np.full(len(at), -1, dtype=np.int32)

    def code(self, slug: str, name: str) -> int:
        return self._code.get((slug, name), -1)


def _acts(
    turns: pa.Table, scene: Ints, number: Ints, is_line: Bools, slug: Ints, named: _Names
) -> Acts:
    column = turns["acts"]
    some = np.flatnonzero(np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy()))
    lists = column.take(pa.array(some)).combine_chunks()
    rows = some[pc.list_parent_indices(lists).to_numpy()]
    flat = pc.list_flatten(lists)
    kind = _indices(pc.index_in(pc.struct_field(flat, "kind"), value_set=pa.array(ACTS)))
    known = kind >= 0
    rows, kind = rows[known], kind[known]
    to = named.codes(
        pa.chunked_array([pc.struct_field(flat, "to").filter(pa.array(known))], pa.string()),
        slug[scene[rows]],
    )
    # A move's `to` is the move's own name.
    to = np.where(kind == MOVE, np.int32(-1), to)
    after: Wide = (np.cumsum(is_line, dtype=np.int64) - is_line)[rows]
    owner = np.append(scene[is_line], -1)
    line = np.where(owner[after] == scene[rows], after, -1).astype(np.int32)
    good = (kind == MOVE) | (to >= 0)
    return Acts(scene[rows], number[rows], kind, to, line).taken(good)


# --- who is spoken about


def _mentions(
    text: pa.ChunkedArray,
    lines: Lines,
    slug: Ints,
    slugs: Sequence[str],
    casts: Mapping[str, Cast],
    named: _Names,
) -> Ints:
    """Find the names in the lines' words: (line, person) for each who is named and not spoken to.

    A name counts as it is written in the cast list, in capitals, or by an alias or, where it is
    nobody else's, by its last word. Arrow passes over the lines without any; only the rest is
    searched one by one.
    """
    found: list[tuple[int, int]] = []
    for i, name in enumerate(slugs):
        rows = np.flatnonzero(slug[lines.scene] == i)
        forms = _forms([(p.name, _aliases(casts, p)) for p in named.people if p.slug == name])
        if not len(rows) or not forms:
            continue
        every = len(rows) == len(lines)
        some = text if every else text.take(pa.array(rows))
        either = "|".join(re.escape(f) for f in sorted(forms, key=len, reverse=True))
        hits = np.flatnonzero(_bools(pc.match_substring_regex(some, _re2(forms))))
        pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)|{_packed(forms)}")
        owners = {form: named.code(name, who) for form, who in forms.items()}
        for row, line in zip(
            rows[hits].tolist(), some.take(pa.array(hits)).to_pylist(), strict=True
        ):
            people = {owners[m] for m in pattern.findall(line)}
            people -= {int(lines.who[row]), int(lines.to[row])}
            found += [(row, who) for who in sorted(people)]
    return np.array(sorted(found), dtype=np.int32).reshape(-1, 2)


def _aliases(casts: Mapping[str, Cast], person: Person) -> Sequence[str]:
    return next((a for n, a in casts.get(person.slug, ()) if n == person.name), ())


def _forms(cast: Cast) -> dict[str, str]:
    """Return each form that a name may have in a line, with whose it is."""
    found: dict[str, str] = {}
    for name, aliases in cast:
        for form in (name, *aliases):
            found.setdefault(form, name)
    for name, _ in cast:
        last = name.split()[-1]
        if sum(n.split()[-1] == last for n, _ in cast) == 1 and len(last) > 2:
            found.setdefault(last, name)
    for form, name in list(found.items()):
        found.setdefault(form.upper(), name)
        found.setdefault(form[0].upper() + form[1:], name)
    # "the keeper" is a calling like any other where it does not stand as a name.
    return {f: n for f, n in found.items() if not (f[0].isascii() and f[0].islower())}


def _re2(forms: Iterable[str]) -> str:
    # RE2 takes a backslash before ASCII's marks, and before an emoji not.
    return "|".join(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", form) for form in forms)


_UNSPACED = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")


def _packed(forms: Iterable[str]) -> str:
    """Names in scripts that have no spaces between words, where there is no boundary to find."""
    return "|".join(re.escape(f) for f in forms if _UNSPACED.search(f)) or r"(?!)"
