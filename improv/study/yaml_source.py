"""Reads a YAML text as plain data together with the place of every value in it; writes YAML too.

Scalars follow the YAML 1.2 core schema, so `yes, and`, `no` and `12:30` stay text. A file may come
from anybody. So its events are counted before anything is built: bytes, depth, nodes with every
alias unfolded, and the length of each text. PyYAML then composes the nodes, and the walk over them
lets an error name line and column, finds duplicate keys, and refuses values that no file and no
request can hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from improv.errors import Problem, StudyError
from improv.study.plain_data import MAX_DEPTH, value_problem
from improv.study.yaml_advice import Advice, LostMarks, advice


@dataclass(frozen=True)
class Limits:
    """The most that a YAML text may hold. `nodes` counts keys, values, lists and mappings, with
    every alias unfolded; `text` is the most characters of one key or value."""

    bytes: int
    nodes: int
    text: int


WRITTEN_LIMITS = Limits(bytes=1_000_000, nodes=100_000, text=200_000)
"""For files that people write. A longer text is refused where its field is checked."""
KEPT_LIMITS = Limits(bytes=32_000_000, nodes=500_000, text=1_000_000)
"""For the files that improv itself keeps in a run folder. A folder may come from a stranger."""
MAX_BYTES = WRITTEN_LIMITS.bytes

DataPath = tuple[str | int, ...]

# The core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCT = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_TAGS = (":str", ":null", ":int", ":float", ":bool", ":seq", ":map")


@dataclass(frozen=True)
class Source:
    """A file's data, and the place of each value in the file.

    `places` maps the path of a value to its (line, column). `keys` maps the path of a mapping's
    entry to the (line, column) of its key. Both count from 1. `notes` has comments that may have
    been meant as a part of a text.
    """

    file: str
    data: Any
    places: dict[DataPath, tuple[int, int]] = field(default_factory=dict)
    keys: dict[DataPath, tuple[int, int]] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)

    def problem(self, path: DataPath, what: str, *, at_key: bool = False) -> Problem:
        """Return a problem at the place of `path`, or of its nearest parent that is in the file."""
        known: DataPath = path
        table = self.keys if at_key else self.places
        while known and known not in table:
            known, table = known[:-1], self.places
        line, column = table.get(known, (1, 1))
        return Problem(self.file, line, column, ".".join(map(str, path)), what)


def read_yaml(text: str, file: str, *, own: bool = False) -> Source:
    """Read one YAML document. Raises StudyError with every problem of its YAML.

    `own` is for files that improv wrote itself, which may be larger (KEPT_LIMITS).
    """
    limits = KEPT_LIMITS if own else WRITTEN_LIMITS
    size = len(text.encode(errors="surrogatepass"))
    if size > limits.bytes:
        kind = "what a run keeps of its study" if own else "a scene or study"
        what = f"{size / 1e6:.1f} MB is too large: {kind} may have {limits.bytes // 1000} kB"
        raise _error(file, 1, 1, what)
    try:
        broken = _count_nodes(text, file, limits, lost := LostMarks(text))
        # libyaml is ten times as fast, but PyYAML's own parser says better what is wrong.
        node = yaml.compose(text, Loader=_Loader if broken else _FastLoader)
        if broken:
            raise broken
    except yaml.MarkedYAMLError as e:
        raise StudyError(_problems(file, advice(text, e, _first_error))) from None
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        what = f"a character that YAML does not allow (#x{_code(e):04x})"
        raise _error(file, line, 1, what) from None
    except (UnicodeEncodeError, ValueError, OverflowError) as e:
        raise _error(file, 1, 1, f"cannot be read as YAML: {str(e)[:200]}") from None
    except RecursionError:
        raise _error(file, 1, 1, f"nested more than {MAX_DEPTH} deep") from None
    if node is None:
        raise _error(file, 1, 1, "the file is empty; a scene needs at least a title and a cast")
    walk = _Walk(file)
    data = walk.value(node, (), 0)
    if not own:
        walk.problems += _problems(file, lost.advice())
    if walk.problems:
        raise StudyError(walk.problems)
    return Source(file, data, walk.places, walk.keys, _problems(file, lost.comments))


def _count_nodes(text: str, file: str, limits: Limits, lost: LostMarks) -> yaml.YAMLError | None:
    """Count the nodes of a text event by event; return the error that ends the events early.

    Raises StudyError at the first event that is beyond a limit. Nothing is built: the memory that
    is used is that of the open collections. `lost` sees every event.
    """
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and nodes counted before it
    sizes: dict[str, int] = {}
    total = 0
    try:
        for event in yaml.parse(text, Loader=_FastLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor:
                    sizes[anchor] = total - before
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total))
            total += 1
            lost.see(event)
            if isinstance(event, yaml.AliasEvent):
                total += sizes.get(event.anchor or "", 1) - 1
            elif isinstance(event, yaml.ScalarEvent):
                if event.anchor:
                    sizes[event.anchor] = 1
                if len(event.value) > limits.text:
                    what = (
                        f"a text of {len(event.value)} characters; at most {limits.text} are read"
                    )
                    raise _error(file, *_place(event.start_mark), what)
            if total > limits.nodes:
                what = (
                    f"more than {limits.nodes} keys and values; do aliases unfold into each other?"
                )
                raise _error(file, *_place(event.start_mark), what)
            if len(open_nodes) > MAX_DEPTH:
                what = f"nested more than {MAX_DEPTH} deep"
                raise _error(file, *_place(event.start_mark), what)
    except yaml.YAMLError as e:
        return e
    return None


def _first_error(text: str) -> yaml.MarkedYAMLError | None:
    try:
        yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as e:
        return e
    return None


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with no implicit types: scalars are read here, by the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same in C, ten times as fast, for files that improv wrote: its messages differ."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class _Walk:
    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[DataPath, tuple[int, int]] = {}
        self.keys: dict[DataPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.open: set[int] = set()

    def value(self, node: yaml.Node, path: DataPath, depth: int) -> Any:
        place = _place(node.start_mark)
        self.places[path] = place
        if depth > MAX_DEPTH:
            raise _error(self.file, *place, f"nested more than {MAX_DEPTH} deep")
        self._refuse_tag(node, path)
        if isinstance(node, yaml.ScalarNode):
            held = core_scalar(node.value) if not node.style else node.value
            if problem := value_problem(held):
                self._wrong(place, path, problem)
            return held
        if id(node) in self.open:
            raise _error(self.file, *place, "an alias to a value that contains the alias")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(v, (*path, i), depth + 1) for i, v in enumerate(node.value)]
            return self._mapping(node, path, depth)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: DataPath, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(place, path, "a key must be plain text")
                continue
            key = key_node.value
            if problem := value_problem(key):
                self._wrong(place, path, f"a key: {problem}")
                continue
            here = (*path, key)
            if key == "<<" and not key_node.style:
                self._wrong(place, path, "merge keys (<<) are not part of YAML 1.2; use an alias")
                continue
            if key in mapping:
                first = self.keys[here]
                self._wrong(place, here, f"this key is here twice, first on line {first[0]}")
                continue
            self.keys[here] = place
            mapping[key] = self.value(value_node, here, depth + 1)
        return mapping

    def _refuse_tag(self, node: yaml.Node, path: DataPath) -> None:
        tag = node.tag or ""
        if tag.startswith("!") or (tag.startswith("tag:yaml.org") and not tag.endswith(_TAGS)):
            what = f"unknown tag {tag[:40]}; a text that begins with ! stands in quotation marks"
            self._wrong(_place(node.start_mark), path, what)

    def _wrong(self, place: tuple[int, int], path: DataPath, what: str) -> None:
        self.problems.append(Problem(self.file, *place, ".".join(map(str, path)), what))


def write_yaml(data: Any, *, prose: bool = False) -> str:
    """Return `data` as YAML from which `read_yaml` reads equal data. With `prose`, a text of
    several lines is written as a block of lines, for people who edit the file."""
    kind = _ProseDumper if prose else _Dumper
    return yaml.dump(data, Dumper=kind, allow_unicode=True, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes text that the core schema, or a reader of older YAML, would not read as text."""


_BREAKS = re.compile("[\x85\u2028\u2029]")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(core_scalar(text), str) else "'"
    if _BREAKS.search(text):
        style = '"'  # PyYAML would write them as line breaks, which YAML 1.2 does not know.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _prose(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text.strip("\n") and not _BREAKS.search(text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    return _text(dumper, text)


class _ProseDumper(_Dumper):
    """The same, but writes a text of several lines as a block literal."""


_Dumper.add_representer(str, _text)
_ProseDumper.add_representer(str, _prose)


def core_scalar(text: str) -> Any:
    """Return a plain scalar by the YAML 1.2 core schema: null, bool, int, float, or the text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    for form, base in ((_INT, 10), (_OCT, 8), (_HEX, 16)):
        if form.fullmatch(text):
            # CPython refuses to print integers of more than 4,300 digits, and to read them.
            return int(text, base) if len(text) < 400 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return float(text.replace(".", "").lower())
    return float("nan") if text in _NAN else text


def _place(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _code(error: yaml.reader.ReaderError) -> int:
    c = error.character
    return c if isinstance(c, int) else ord(c)


def _problems(file: str, rows: list[Advice]) -> list[Problem]:
    return [Problem(file, line, column, "", what) for line, column, what in rows]


def _error(file: str, line: int, column: int, what: str) -> StudyError:
    return StudyError([Problem(file, line, column, "", what)])
