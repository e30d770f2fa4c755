"""Bends: small damages to data, texts and bytes, which are data themselves.

A bend names its place by a number that is taken modulo the number of places, so that any list of
bends can be applied to anything, and an example stays an example when the thing it bends changes.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Bend = list[Any]
"""[place, how, value] of data; [place, how, value] of bytes, whose place is in thousandths."""

ODD_TEXTS = [
    *("", " ", "\0", "\x1b[31mred", "\u202egnirts", "\ud800", "half \udc00", "\u2028", "a\r\nb"),
    *("@x*300@", "@y*25000@", "@word *9000@", "- ", "{", "[[", "yes", "null", "~", ".nan", "1e999"),
    *("0x@f*5000@", "@9*400@", "@9*5000@", "../../../etc/passwd", "/dev/zero", "C:\\x", "\t"),
    *("<script>", "{{user}} and {{char}}", "{{random:a,b}}", "everybody", "author", "nobody"),
    *("İstanbul", "ﬁ", "ß", "Ω≈ç", "日本", "👩‍👩‍👧", "@e\u0301*50@", "another's diary"),
    *("http://[::1", "http://127.0.0.1:99999/v1", "file:///etc/passwd", "puppet", "embedded"),
    *("%s %d {0}", "=1+1", "a.b.c", "\u0600", "1_000", "2001-01-01", "<<", "!!python/none", "*x"),
    *("x.gguf", "Ana", "\ufeff", "&a [*a]"),
]
GROWN = [
    *("@@brackets 300@@", "@@brackets 90000@@", "@@open 100000@@", "@@maps 100000@@"),
    *("@@aliases 12@@", "@@aliases 30@@", "@@items 60000@@", "@@items 400000@@", "@@keys 120000@@"),
    *("@@digits 5000@@", "@@hex 5000@@", "@@exponent 400@@", "@@indents 300@@"),
]
ODD_NUMBERS = [0, -1, 1, 2, 7, 13, 100, 2001, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63]
ODD_NUMBERS += [-(2**63) - 1, 10**19, 10**300]
ODD_FLOATS = [0.5, -0.5, 1.5, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan")]

odd_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_FLOATS),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=12),
    st.integers(),
)
odd = st.one_of(
    odd_scalars,
    st.lists(odd_scalars, max_size=4),
    st.dictionaries(st.sampled_from(ODD_TEXTS) | st.text(max_size=6), odd_scalars, max_size=3),
    st.sampled_from([[], {}]),
    st.sampled_from(GROWN),
)
"""Values that a field may not expect; a text of GROWN becomes a structure when it is written."""

_HOW = ["replace", "remove", "double", "rename", "swap", "wrap"]
_HOW += ["box", "many", "add", "deep", "cast"]
data_bends = st.lists(
    st.tuples(st.integers(0, 4000), st.sampled_from(_HOW), odd).map(list), max_size=4
)
_TOKENS = [
    *("{", "}", "[", "]", '"', ":", ",", "- ", "#", "&a ", "*a", "<<: ", "!!x ", "| ", "\n", "\0"),
    *("\r", "\t", "\\u0000", "\\ud800", "\ufeff", "\u2028", "---\n", "...\n", "%YAML 9\n", "'"),
]
_BYTE_HOW = ["flip", "cut", "drop", "put", "repeat", "zero", "raw", "swap", "head", "tail"]
byte_bends = st.lists(
    st.tuples(
        st.integers(0, 1000),
        st.sampled_from(_BYTE_HOW),
        st.integers(0, 2**16) | st.sampled_from(_TOKENS),
    ).map(list),
    max_size=3,
)
_REPEATED = re.compile(r"@([^@]{1,5})\*(\d{1,5})@")
_GROWN = re.compile(r"[\"']?@@(\w+) (\d+)@@[\"']?")

codings = st.sampled_from(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "utf-32", "latin-1", "gzip"])


def bend(data: Any, bends: list[Bend]) -> Any:
    """Return data with bends applied one after the other."""
    data = copy.deepcopy(data)
    for at, how, value in bends:
        box = {"whole": data}
        places = list(_places(box))
        holder, key = places[at % len(places)]
        _bend_at(box, holder, key, how, copy.deepcopy(value), at)
        data = box.get("whole")
    return data


def bend_bytes(data: bytes, bends: list[Bend]) -> bytes:
    """Return bytes with bends applied one after the other."""
    for at, how, value in bends:
        place = at * len(data) // 1000
        number = value if isinstance(value, int) else len(value)
        token = value.encode() if isinstance(value, str) else value.to_bytes(3, "little")
        before, after = data[:place], data[place:]
        if how == "flip" and after:
            data = before + bytes([after[0] ^ 1 << number % 8]) + after[1:]
        elif how == "cut":
            data = before
        elif how == "drop":
            data = before + after[1 + number % 64 :]
        elif how == "put":
            data = before + token + after
        elif how == "repeat":
            data = before + after[: 1 + number % 40] * (number % 300) + after
        elif how == "zero":
            data = before + b"\0" * (number % 64) + after[number % 64 :]
        elif how == "raw":
            data = before + b"\xff\xfe\x80\xed\xa0\x80" + after
        elif how == "swap":
            data = after + before
        elif how == "head":
            data = token + data
        elif how == "tail":
            data = data + token
    return data[:4_000_000]


def encoded(text: str, coding: str) -> bytes:
    """Return a text as bytes. Half an emoji is written as its three bytes, @x*9@ as nine x, and
    "@@brackets 9@@" as a structure in place of the text, with its quotes."""
    text = _GROWN.sub(lambda m: _grown(m[1], int(m[2])), text)[:4_000_000]
    text = _REPEATED.sub(lambda m: m[1] * int(m[2]), text)
    if coding == "gzip":
        return gzip.compress(text.encode("utf-8", "surrogatepass"))
    return text.encode(coding, "surrogatepass" if coding.startswith("utf") else "replace")


def as_text(data: Any, form: str) -> str:
    """Write data as JSON, which is YAML too, or as the YAML that people write."""
    if form == "yaml":
        return "\n".join(_yaml(data, 0)) + "\n"
    return json.dumps(data, ensure_ascii=form == "ascii", indent=1 if form == "wide" else None)


def _grown(how: str, size: int) -> str:
    """Return JSON or YAML that is deep, wide or long, as nobody writes it by hand."""
    if how == "aliases":
        steps = [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, size)]
        return "[" + ", ".join(["&a0 [lol, lol]", *steps]) + "]"
    if how == "keys":
        return "{" + ", ".join(f'"k{i}": 0' for i in range(size)) + "}"
    if how == "indents":
        return "\n" + "".join(f"{' ' * (i + 4)}a:\n" for i in range(size))
    return {
        "brackets": lambda: "[" * size + "]" * size,
        "open": lambda: "[" * size,
        "maps": lambda: '{"a":' * size + "1" + "}" * size,
        "items": lambda: "[" + "0, " * size + "0]",
        "digits": lambda: "9" * size,
        "hex": lambda: "0x" + "f" * size,
        "exponent": lambda: "1e" + "9" * size,
    }[how]()


forms = st.sampled_from(["json", "wide", "ascii", "yaml", "yaml"])


def _yaml(data: Any, depth: int) -> Iterator[str]:
    """Yield lines of block YAML, with plain scalars where that is how people would write them."""
    pad = "  " * depth
    if isinstance(data, dict) and data and depth < 30:
        for key, value in data.items():
            if isinstance(value, dict | list) and value:
                yield f"{pad}{_scalar(key)}:"
                yield from _yaml(value, depth + 1)
            else:
                yield f"{pad}{_scalar(key)}: {_scalar(value)}"
    elif isinstance(data, list) and data and depth < 30:
        for value in data:
            if isinstance(value, dict | list) and value:
                yield f"{pad}-"
                yield from _yaml(value, depth + 1)
            else:
                yield f"{pad}- {_scalar(value)}"
    else:
        yield pad + _scalar(data)


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and value[:1].isalpha() and len(value) < 80
    if plain and not set(value) & set(":#\n\r\0\t\"'{}[],&*!|>%@`"):
        return value
    return json.dumps(value, ensure_ascii=False)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each holder and key of a tree, from the outside to the inside; at most 4,000."""
    line, count = [data], 0
    while line and count < 4000:
        holder = line.pop(0)
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            count += 1
            if isinstance(holder[key], dict | list):
                line.append(holder[key])


def _bend_at(box: Any, holder: Any, key: Any, how: str, value: Any, at: int) -> None:
    there = holder[key]
    if how == "replace":
        holder[key] = value
    elif how == "remove":
        del holder[key]
    elif how == "double" and isinstance(there, list) and there:
        there.insert(at % len(there), copy.deepcopy(there[at % len(there)]))
    elif how == "rename" and isinstance(holder, dict) and holder is not box:
        holder[value if isinstance(value, str) else str(value)[:50]] = holder.pop(key)
    elif how == "swap":
        others = list(_places(box["whole"])) if isinstance(box["whole"], dict | list) else []
        if others:
            other, its_key = others[(at * 7 + 3) % len(others)]
            holder[key] = copy.deepcopy(other[its_key])
    elif how == "wrap":
        holder[key] = [there]
    elif how == "box":
        holder[key] = {value if isinstance(value, str) else "x": there}
    elif how == "many" and isinstance(there, list) and there:
        holder[key] = [copy.deepcopy(there[at % len(there)]) for _ in range(at % 150)]
    elif how == "add" and isinstance(there, dict):
        there[f"{value}"[:60] if at % 2 else "extra"] = value
    elif how == "deep":
        for _ in range(at % 60):
            there = [there] if at % 2 else {"a": there}
        holder[key] = there
    elif how == "cast":
        holder[key] = str(there)[:1000] if not isinstance(there, str) else len(there)
