"""A key as an endpoint may quote it: split by what cleaning takes out, or written another way."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections.abc import Callable
from urllib.parse import quote


def _between(mark: str) -> Callable[[str], str]:
    return lambda key: key[:9] + mark + key[9:]


def _each(form: str) -> Callable[[str], str]:
    return lambda key: "".join(form.format(ord(c)) for c in key)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPLIT: dict[str, Callable[[str], str]] = {
    "plain": str,
    "bearer": "Bearer {}".format,
    "colour": _between("\x1b[0m"),
    "title": _between("\x1b]0;x\x07"),
    "eight-bit escape": _between("\x9b1m"),
    "zero width": "\u200b".join,
    "joiner": "\u2060".join,
    "soft hyphen": _between("\xad"),
    "direction": _between("\u202e"),
    "null": _between("\0"),
    "accents": "\u0301".join,
    "bold": _between("**"),
    "code": _between("`"),
    "tag": _between("<b>"),
    "token": _between("<|x|>"),
    "reasoning": _between("<think>well</think>"),
    "aside": _between("(aside)"),
    "break": _between("\n"),
    "spaces": " ".join,
}
WRITTEN: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "reversed": lambda key: key[::-1],
    "wide": lambda key: "".join(chr(ord(c) + 0xFEE0) for c in key),
    "lookalikes": lambda key: key.replace("e", "\u0435").replace("P", "\u0420"),
    "base64": _base64,
    "bearer in base64": lambda key: _base64(f"Bearer {key}"),
    "base64 twice": lambda key: _base64(_base64(key)),
    "base64 of a URL": lambda key: base64.urlsafe_b64encode(b"k" + key.encode()).decode(),
    "base32": lambda key: base64.b32encode(key.encode()).decode(),
    "base32 of a header": lambda key: base64.b32encode(f"key: {key}".encode()).decode(),
    "base32 with digits first": lambda key: base64.b32hexencode(key.encode()).decode(),
    "base85": lambda key: base64.b85encode(key.encode()).decode(),
    "base85 of a header": lambda key: base64.b85encode(f"key: {key}".encode()).decode(),
    "Ascii85": lambda key: base64.a85encode(key.encode()).decode(),
    "uuencode": lambda key: binascii.b2a_uu(key.encode(), backtick=True).decode(),
    "tag characters": lambda key: "".join(chr(0xE0000 + ord(c)) for c in key),
    "variation selectors": lambda key: "".join(chr(0xE00F0 + ord(c)) for c in key),
    "between variation selectors": "\U000e0150".join,
    "hex": lambda key: key.encode().hex(),
    "hex with colons": lambda key: key.encode().hex(":").upper(),
    "rot13": lambda key: codecs.encode(key, "rot13"),
    "URL": _each("%{:02X}"),
    "URL twice": lambda key: quote(_each("%{:02x}")(key)),
    "HTML": _each("&#{};"),
    "HTML in hex": _each("&#x{:x};"),
    "JSON": _each("\\u{:04x}"),
    "JSON in JSON": lambda key: json.dumps(_each("\\u{:04x}")(key)),
    "Python": _each("\\x{:02x}"),
    "mail": _each("={:02X}"),
    "codes": _each("{} "),
    "binary": _each("{:08b} "),
}
SPELLINGS = SPLIT | WRITTEN
