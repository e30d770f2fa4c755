"""The layout of a tree of branches: turns from left to right, each branch on a row of its own.

Branches with the same parent, fork and change are a family. A large family is drawn as one bundle
until it is opened. An open family is a prefix tree of its lines: draws with the same first lines
share their points. Branches that part earlier lie further out, so that no two lines cross. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from improv.records import MAIN, digest

FEW_MEMBERS = 4
"""Most members of a family that are drawn one by one without opening it."""
MOST_COURSES = 24
"""Most different courses of an open family that are drawn; the others stay a bundle."""
FAMILIES = 60
"""Most families that are drawn together."""
REST = "rest"
"""The name of a bundle that does not open: members of an open family beyond the most that are
drawn, and branches without a turn."""
POINTS = 1500
"""Most points that a browser draws without a pause; a larger tree has points for every n-th
turn."""


@dataclass(frozen=True, slots=True)
class World:
    """A branch for the layout. `said` are its own turns, (number, text); `way` describes the change
    at the fork, which comes after the turn `fork`. Members of a family have the same `way`."""

    id: str
    parent: str
    fork: int
    way: str
    said: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A turn of one or more branches. `before` is the index of the previous point, -1 for the first
    point. For a bundle `folded` names its family and `lines` counts its different first lines.
    `first` marks the first own turn of its branches, `last` the end of a row."""

    turn: int
    row: int
    worlds: tuple[str, ...]
    before: int
    folded: str = ""
    lines: int = 0
    first: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """The points, the number of their rows, and the number of branches that are not drawn."""

    points: tuple[Point, ...]
    rows: int
    left: int

    def of(self, world: str, turn: int) -> Point | None:
        """Return the point of a branch's own turn, or else the nearest point before it."""
        own = [p for p in self.points if world in p.worlds]
        before = [p for p in own if p.turn <= turn or p.folded]
        return max(before or own, key=lambda p: p.turn, default=None)


def ancestors(worlds: Sequence[World], world: str) -> list[str]:
    """Return a branch and its ancestors, itself first. A cycle of parents ends where it closes."""
    parents = {w.id: w.parent for w in worlds}
    line: list[str] = []
    while world in parents and world not in line:
        line.append(world)
        world = parents[world]
    return line


def family(world: World) -> str:
    """Return the name of a branch's family, for the address."""
    return digest(f"{world.parent}\x1f{world.fork}\x1f{world.way}", size=4)


def alone(worlds: Sequence[World], world: str) -> bool:
    """Whether a branch has points of its own while no family is open."""
    names = {w.id: family(w) for w in worlds}
    return sum(name == names[world] for name in names.values()) <= FEW_MEMBERS


def drawn(
    worlds: Sequence[World], *, shown: Collection[str] = (), opened: str = "", near: int = 0
) -> Tree:
    """Return the tree of a trial and its branches.

    The branches in `shown` have points of their own even in a folded family; `opened` is the family
    that is open. Where there are more than FAMILIES, those with the forks nearest to the turn
    `near` are drawn.
    """
    by_id = {w.id: w for w in worlds}
    if MAIN not in by_id:
        return Tree((), 0, len(worlds))
    lit = {a for world in shown for a in ancestors(worlds, world)}
    families = _families(worlds, by_id, lit, opened, near)
    grower = _Grower(families, lit, opened, _step(families, by_id[MAIN], lit, opened))
    [trunk] = grower.twigs([by_id[MAIN]], 0) or [_Twig(0, [MAIN])]
    _lay_trunk(trunk)
    return _tree(trunk, len(worlds))


@dataclass(slots=True)
class _Twig:
    """A point that is being placed: the next point in its row, and the branches that part here."""

    turn: int
    worlds: list[str]
    heir: _Twig | None = None
    sides: list[list[_Twig]] = field(default_factory=list)
    row: int = 0
    folded: str = ""
    lines: int = 0
    first: bool = False

    def course(self) -> Iterator[_Twig]:
        at: _Twig | None = self
        while at is not None:
            yield at
            at = at.heir


_Families = dict[tuple[str, int], list[list[World]]]
"""(Parent, fork) → the families that part there."""


def _families(
    worlds: Sequence[World], by_id: dict[str, World], lit: set[str], opened: str, near: int
) -> _Families:
    """Return the families that are drawn."""
    named: dict[str, list[World]] = {}
    for world in worlds:
        if world.id != MAIN and world.parent in by_id:
            named.setdefault(family(world), []).append(world)

    def distance(name: str) -> tuple[bool, int, int]:
        members = named[name]
        wanted = name == opened or any(w.id in lit for w in members)
        return not wanted, abs(members[0].fork - near), members[0].fork

    room: set[str] = set()
    for name in sorted(named, key=distance)[:FAMILIES]:
        room |= {w.id for w in named[name]}
    # A family cannot be drawn without its parent, nor can the families that part from it.
    there = {MAIN}
    fresh = there
    while fresh:
        fresh = {w.id for w in worlds if w.parent in fresh and w.id in room} - there
        there |= fresh
    drawn_families: _Families = {}
    for members in named.values():
        if members[0].id in there:
            drawn_families.setdefault(_anchor(members[0], by_id), []).append(members)
    return drawn_families


def _anchor(world: World, by_id: dict[str, World]) -> tuple[str, int]:
    """Return the branch and its own turn that `world` continues: a turn of the parent, or, where
    the fork lies before the parent's first own turn, a turn of an older ancestor."""
    parent, met = by_id[world.parent], {world.id}
    while parent.parent in by_id and parent.id not in met:
        if parent.said and parent.said[0][0] <= world.fork:
            break
        met.add(parent.id)
        parent = by_id[parent.parent]
    turns = [turn for turn, _ in parent.said if turn <= world.fork]
    return parent.id, max(turns, default=0)


def _step(families: _Families, trunk: World, lit: set[str], opened: str) -> int:
    """Return n, where every n-th turn has a point."""
    total = len(trunk.said)
    for groups in families.values():
        for members in groups:
            few = len(members) <= FEW_MEMBERS or family(members[0]) == opened
            total += sum(len(w.said) for w in members if few or w.id in lit)
    return -(-total // POINTS)


class _Grower:
    """Builds the twigs of branches: separate ones, ones with shared lines, and bundles."""

    def __init__(self, families: _Families, lit: set[str], opened: str, step: int) -> None:
        self._families, self._lit, self._opened, self._step = families, lit, opened, step

    def twigs(self, members: Sequence[World], place: int) -> list[_Twig]:
        """Return the prefix tree of the lines of `members`, from the index `place` of their own
        turns."""
        return [self._course(group, place) for group in _alike(members, place)]

    def _course(self, group: list[World], place: int) -> _Twig:
        head = at = self._point(group, place)
        while True:
            place += 1
            rest = _alike(group, place)
            if not rest:
                return head
            group = rest[0]
            turn = group[0].said[place][0]
            heirs, at_end = at, len(group[0].said) == place + 1
            alone = len(group) == len(rest) == 1
            if not alone or turn % self._step == 0 or at_end or self._parted(group, turn):
                at = heirs.heir = self._point(group, place)
            heirs.sides += [[self._course(other, place)] for other in rest[1:]]

    def _parted(self, group: list[World], turn: int) -> bool:
        return any((w.id, turn) in self._families for w in group)

    def _point(self, group: list[World], place: int) -> _Twig:
        turn = group[0].said[place][0]
        twig = _Twig(turn, [w.id for w in group], first=place == 0)
        for world in group:
            for members in self._families.get((world.id, turn), ()):
                twig.sides.append(self._family(members, turn))
        return twig

    def _family(self, members: list[World], fork: int) -> list[_Twig]:
        name = family(members[0])
        seen = self._lit
        if len(members) <= FEW_MEMBERS:
            seen = {w.id for w in members}
        elif name == self._opened:
            seen = _widest(members) | self._lit
        twigs = self.twigs([w for w in members if w.said and w.id in seen], 0)
        bundled = [w for w in members if not w.said or w.id not in seen]
        if bundled:
            folded = REST if name == self._opened or len(members) <= FEW_MEMBERS else name
            ids, lines = [w.id for w in bundled], len(_alike(bundled, 0))
            twigs.append(_Twig(fork + 1, ids, folded=folded, lines=lines, first=True))
        return twigs


def _alike(members: Sequence[World], place: int) -> list[list[World]]:
    """Group the members that have a turn at index `place` by its text, the largest group first."""
    groups: dict[tuple[int, str], list[World]] = {}
    for world in members:
        if place < len(world.said):
            turn, words = world.said[place]
            groups.setdefault((turn, " ".join(words.split())), []).append(world)
    return sorted(groups.values(), key=len, reverse=True)


def _widest(members: Sequence[World]) -> set[str]:
    """Return the members whose courses are drawn: those with the most frequent first lines."""
    courses: dict[tuple[tuple[int, str], ...], list[str]] = {}
    for group in _alike(members, 0):
        for world in group:
            courses.setdefault(world.said, []).append(world.id)
    return {name for names in islice(courses.values(), MOST_COURSES) for name in names}


def _lay_trunk(trunk: _Twig) -> None:
    """Place the trunk on row 0 and its branches on both sides, as evenly as possible."""
    down, up = 0, 0
    for twig in [*trunk.course()][::-1]:
        for members in twig.sides:
            if down <= up:
                down = _lay_all(members, down, 1)
            else:
                up = -_lay_all(members, -up, -1)


def _lay(twig: _Twig, row: int, step: int) -> int:
    """Place a course on `row` and its branches further out; return the last row used.

    A branch that parts later lies nearer. The line to a branch that parts earlier then passes to
    the left of those between.
    """
    course = [*twig.course()]
    for at in course:
        at.row = row
    for at in reversed(course):
        for members in at.sides:
            row = _lay_all(members, row, step)
    return row


def _lay_all(members: list[_Twig], row: int, step: int) -> int:
    for twig in members:
        row = _lay(twig, row + step, step)
    return row


def _tree(trunk: _Twig, worlds: int) -> Tree:
    points: list[Point] = []
    waiting: list[tuple[_Twig, int]] = [(trunk, -1)]
    while waiting:
        course, before = waiting.pop()
        for at in course.course():
            ends = at.heir is None
            here = tuple(at.worlds)
            point = Point(
                turn=at.turn,
                row=at.row,
                worlds=here,
                before=before,
                folded=at.folded,
                lines=at.lines,
                first=at.first,
                last=ends,
            )
            points.append(point)
            before = len(points) - 1
            waiting += [(twig, before) for members in at.sides for twig in members]
    top = min(p.row for p in points)
    rows = max(p.row for p in points) - top + 1
    there = {world for p in points for world in p.worlds}
    placed = tuple(replace(p, row=p.row - top) for p in points)  # row 0 is the top row
    return Tree(placed, rows, worlds - len(there))
