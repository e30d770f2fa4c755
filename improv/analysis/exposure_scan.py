"""Reads the blocks that every role of a run was shown, in pieces, and checks them for leaks.

A large run has a million calls that list a hundred million blocks. Blocks are numbered, and arrays
of numbers show at once that most are harmless: such a block belongs to no arm's head and quotes
none. `ExposureRules` checks the others one by one.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from improv.analysis.exposure import NAMED_LEAKS, Exposure, ExposureRules, Leak
from improv.records import Block, Json, digest
from improv.storage.run_files import READ_ERRORS
from improv.storage.run_folder import RunFolder
from improv.study.design import Study

_BRANCH_COLUMNS = ["trial", "branch", "origin", "scene", "condition", "parent", "edit"]
_CALL_COLUMNS = ["trial", "branch", "role", "blocks"]
_CODED_COLUMNS = ["trial", "branch", "role", "blocks.list.element"]
_FILE = "exposure.json"
_VERSION = 2
"""Rises when the same tables would give another result."""
_WORTH = 2.0
"""A result that took more seconds than this is kept in a file."""
_MIXED = np.uint64(0x9E3779B97F4A7C15)

_Numbers = npt.NDArray[np.int64]
_RoleKey = tuple[str, str, str]


def read_exposure(folder: RunFolder, study: Study) -> Exposure:
    """Check from the run's calls that no arm saw another arm's text. Raises RunError."""
    watch = ExposureRules(study)
    known = _Blocks(folder, watch)
    places = {
        (r["trial"], r["branch"]): r
        for r in folder.tables.read("trials", columns=_BRANCH_COLUMNS).to_pylist()
    }
    conditions = {
        name: i for i, name in enumerate(sorted({r["condition"] for r in places.values()}))
    }
    roles = {key: i for i, key in enumerate(watch.own)}
    own = _pairs(known, watch, roles)
    seen = np.zeros((len(conditions), len(known)), dtype=bool)
    there = np.zeros(len(known), dtype=bool)
    keys: set[_RoleKey] = set()
    odd: dict[_RoleKey, set[str]] = defaultdict(set)
    lost: set[str] = set()
    for shown in _pieces(folder, known):
        keys.update(shown.keys)
        lost.update(shown.lost)
        there[shown.block[shown.block >= 0]] = True
        rows = [places.get((trial, branch)) for trial, branch, _ in shown.keys]
        # A scene that is not finished is owed, and is checked when it is.
        condition_numbers = [-1 if row is None else conditions[row["condition"]] for row in rows]
        arm = [
            -2 if row is None else roles.get((row["scene"], row["condition"], key[2]), -1)
            for row, key in zip(rows, shown.keys, strict=True)
        ]
        condition = np.array(condition_numbers, dtype=np.int64)[shown.key]
        finished = condition >= 0
        seen[
            condition[finished & (shown.block >= 0)], shown.block[finished & (shown.block >= 0)]
        ] = 1
        pair = np.array(arm, dtype=np.int64)[shown.key] * len(known) + shown.block
        doubtful = (shown.block < 0) | (known.doubtful[shown.block] & ~np.isin(pair, own))
        for i in np.flatnonzero(finished & doubtful).tolist():
            odd[shown.keys[shown.key[i]]].add(shown.id(i))
    return _judged(
        watch,
        known,
        places,
        odd,
        keys,
        _counts(known, conditions, seen),
        int(there.sum()) + len(lost),
    )


def cached_exposure(folder: RunFolder, study: Study, *, worth: float = _WORTH) -> Exposure:
    """Return `read_exposure`, from a file if the run's tables have not changed since.

    The file is written when the run is over and the check took more than `worth` seconds.
    Raises RunError.
    """
    before = _state(folder)
    with contextlib.suppress(*READ_ERRORS, TypeError):
        kept = orjson.loads(folder.files.read_cache(_FILE))
        if before and kept["of"] == before:
            seen = {(condition, kind): n for condition, kind, n in kept["seen"]}
            leaks, doubts = (
                tuple(Leak(*leak) for leak in kept[name]) for name in ("leaks", "doubts")
            )
            counts = (kept["prompts"], kept["blocks"], seen, leaks, kept["leaked"], kept["unknown"])
            return Exposure(*counts, doubts, kept["chance"], study.quotation_rule)
    began = time.monotonic()
    exposure = read_exposure(folder, study)
    if before == _state(folder) and time.monotonic() - began > worth:
        seen_rows = [[condition, kind, n] for (condition, kind), n in exposure.seen.items()]
        leaks_rows = [list(astuple(leak)) for leak in exposure.leaks]
        row = {
            "of": before,
            "prompts": exposure.prompts,
            "blocks": exposure.blocks,
            "seen": seen_rows,
            "leaks": leaks_rows,
            "leaked": exposure.leaked,
            "unknown": exposure.unknown,
            "doubts": [list(astuple(leak)) for leak in exposure.doubts],
            "chance": exposure.chance,
        }
        folder.files.write_cache(_FILE, orjson.dumps(row))
    return exposure


def _state(folder: RunFolder) -> str:
    """Return a digest of the files that the check reads, "" while a host still writes tables."""
    if folder.tables.stems():
        return ""
    files = [
        f"{folder.path}/{name}"
        for name in ("calls.parquet", "blocks.parquet", "trials.parquet", "study.yaml")
    ]
    there = [(info.size, info.mtime_ns) for info in folder.fs.get_file_info(files)]
    return digest(f"{_VERSION} {there}")


def _judged(
    watch: ExposureRules,
    known: _Blocks,
    places: dict[tuple[str, str], Json],
    odd: dict[_RoleKey, set[str]],
    keys: set[_RoleKey],
    seen: dict[tuple[str, str], int],
    blocks: int,
) -> Exposure:
    """Check the doubtful blocks one by one."""
    leaks, doubts = watch.by_study[:NAMED_LEAKS], list[Leak]()
    leaked, unknown, chance = len(watch.by_study), 0, 0
    for (trial, branch, role), ids in odd.items():
        for id in sorted(ids):
            block = known.looked_at.get(id)
            if block is None:
                unknown += 1
                continue
            leak = watch.leak(places, places[trial, branch], role, block)
            if leak is None:
                continue
            if leak.owner:
                leaked += 1
                leaks += [leak] if len(leaks) < NAMED_LEAKS else []
            else:
                chance += 1
                named = any(
                    (d.condition, d.quoted) == (leak.condition, leak.quoted) for d in doubts
                )
                doubts += [leak] if len(doubts) < NAMED_LEAKS and not named else []
    counts = (len(keys), blocks, seen, (*leaks,), leaked, unknown, (*doubts,), chance)
    return Exposure(*counts, watch.rule)


class _Blocks:
    """The blocks of a run by number, in the order of their ids; those that matter as they are.

    `doubtful` are in some arm's head, or quote one; `looked_at` has them whole.
    """

    def __init__(self, folder: RunFolder, watch: ExposureRules) -> None:
        ids: list[pa.Array] = []
        kinds: list[pa.Array] = []
        self.looked_at: dict[str, Block] = {}
        heads = pa.array(list(watch.whose), pa.string())
        for part in folder.tables.read_batches("blocks", ["id", "kind", "text"]):
            ids += part["id"].chunks
            kinds += part["kind"].chunks
            in_heads = pc.is_in(part["id"], value_set=heads).to_numpy()
            quotes = [watch.quotes(text) for text in part["text"].to_pylist()]
            for row in part.filter(pa.array(in_heads | np.array(quotes, dtype=bool))).to_pylist():
                self.looked_at[row["id"]] = Block(**row)
        names, first = np.unique(_bytes(pa.chunked_array(ids, pa.string())), return_index=True)
        # Numbers are found in a tenth of the time of texts.
        mixed = _mixed(names)
        self._names, self._order = names, np.argsort(mixed)
        self._mixed = mixed[self._order]
        kind = pa.chunked_array(kinds, pa.string()).dictionary_encode().unify_dictionaries()
        kind = kind.combine_chunks()
        if isinstance(kind, pa.ChunkedArray):
            kind = (
                pa.concat_arrays(kind.chunks)
                if kind.num_chunks
                else pa.array([], pa.string()).dictionary_encode()
            )
        self.kinds: list[str] = kind.dictionary.to_pylist()
        self.kind = kind.indices.to_numpy()[first].astype(np.int64)
        matter = list(self.looked_at)
        self.doubtful = np.zeros(len(names) + 1, dtype=bool)  # the last is for what is not known
        self.doubtful[self.at(pa.array(matter, pa.string()))] = True

    def __len__(self) -> int:
        return len(self._names)

    def at(self, ids: pa.Array) -> _Numbers:
        """Return the number of each block, −1 for one that is not known."""
        wanted = _bytes(ids)
        if not len(self._names):
            return np.full(len(wanted), -1)
        last = len(self._names) - 1
        numbers = self._order[np.minimum(np.searchsorted(self._mixed, _mixed(wanted)), last)]
        other = np.flatnonzero(self._names[numbers] != wanted)
        exact = np.minimum(np.searchsorted(self._names, wanted[other]), last)
        numbers[other] = np.where(self._names[exact] == wanted[other], exact, -1)
        return np.asarray(numbers, dtype=np.int64)


class _Shown:
    """What the calls of one piece listed: each block that a role was shown, once.

    `key` says which of `keys` (trial, branch, role) it was shown to, `block` its number.
    """

    def __init__(self, calls: pa.Table, known: _Blocks) -> None:
        lists = calls["blocks"].combine_chunks()
        lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        ids = pc.list_flatten(lists)
        ids = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        codes, names = zip(*(_coded(calls[name]) for name in _CALL_COLUMNS[:3]), strict=True)
        whole = (codes[0] * len(names[1]) + codes[1]) * len(names[2]) + codes[2]
        _, first, which = np.unique(whole, return_index=True, return_inverse=True)
        self.keys: list[_RoleKey] = [
            (names[0][codes[0][i]], names[1][codes[1][i]], names[2][codes[2][i]]) for i in first
        ]
        # Prompts only grow, so a role's calls list the same blocks again and again.
        owner = which[pc.list_parent_indices(lists).to_numpy()]
        many = max(1, len(ids.dictionary))
        self.key, self._own = np.divmod(np.unique(owner * many + ids.indices.to_numpy()), many)
        self._ids = ids.dictionary
        at = known.at(ids.dictionary)
        self.block = at[self._own]
        self.lost: list[str] = ids.dictionary.filter(pa.array(at < 0)).to_pylist()

    def id(self, i: int) -> str:
        return str(self._ids[self._own[i]].as_py())


def _pieces(folder: RunFolder, known: _Blocks) -> Iterator[_Shown]:
    for calls in folder.tables.read_batches("calls", _CALL_COLUMNS, _CODED_COLUMNS):
        # A run that is still played comes whole; a table of what was listed must fit in memory.
        for start in range(0, calls.num_rows, _PIECE):
            yield _Shown(calls.slice(start, _PIECE), known)


_PIECE = 10_000
"""Calls that are looked at together."""


def _coded(column: pa.ChunkedArray) -> tuple[_Numbers, list[str]]:
    whole = column.combine_chunks()
    whole = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().chunk(0)
    return whole.indices.to_numpy().astype(np.int64), whole.dictionary.to_pylist()


def _bytes(ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return ids as an array of bytes that numpy can sort."""
    names = ids.cast(pa.binary()).to_numpy(zero_copy_only=False)
    return np.array(names.tolist() or [b""][:0], dtype=np.bytes_)


def _mixed(texts: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return a number for each text, hardly ever the same for two."""
    width = -(-max(1, texts.dtype.itemsize) // 8) * 8
    parts = texts.astype(f"S{width}").view("<u8").reshape(len(texts), width // 8)
    hashes = np.zeros(len(texts), dtype=np.uint64)
    for part in parts.T:
        # From the low bits to the high ones and back, or texts that are alike would be so here.
        hashes = (hashes ^ part) * _MIXED
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _pairs(
    known: _Blocks, watch: ExposureRules, roles: dict[tuple[str, str, str], int]
) -> _Numbers:
    """Return which blocks are of each role's own head: its number times theirs."""
    pairs = []
    for key, ids in watch.own.items():
        at = known.at(pa.array(sorted(ids), pa.string()))
        pairs.append(roles[key] * len(known) + at[at >= 0])
    return np.concatenate([np.empty(0, dtype=np.int64), *pairs])


def _counts(
    known: _Blocks, conditions: dict[str, int], seen: npt.NDArray[np.bool_]
) -> dict[tuple[str, str], int]:
    counts = {
        (condition, kind): int(n)
        for condition, i in conditions.items()
        for kind, n in zip(
            known.kinds, np.bincount(known.kind[seen[i]], minlength=len(known.kinds)), strict=True
        )
        if n
    }
    return dict(sorted(counts.items()))
