"""Reads a character card from a JSON file, the text of a PNG or a CHARX archive.

These files come from strangers. Sizes are checked before anything is unpacked, unpacking stops at
the greatest size of a card, checksums are verified, and no path in an archive is used. Pillow is
not used, because it reads text after a picture only if it unpacks the picture.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from improv.errors import StudyError
from improv.records import Json
from improv.study.importing.cards.card import MAX_TEXT, Card, read_card, refuse_card

MAX_FILE = 64_000_000
"""Bytes of a card's file, at most: a picture, or an archive with pictures and sounds."""
MAX_CHUNKS = 100_000
"""Chunks of a PNG, at most."""
MAX_LISTING = 2_000_000
"""Bytes of an archive's table of contents, at most."""

_PNG = b"\x89PNG\r\n\x1a\n"
_KEYWORDS = ("ccv3", "chara")
"""The first one present is read: beside a V3 card there may be a V2 card for older programs."""
_CARD = "card.json"
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The methods by which programs of cards pack a CHARX, and whose unpacking can be limited."""
_OTHERS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
"""The names of other methods."""


def load_card(path: str | Path, name: str = "") -> Card:
    """Read a card from a file. Messages use `name`, or else the path. Raises StudyError."""
    path = Path(path)
    name = name or str(path)
    try:
        if not path.is_file():
            refuse_card(name, "there is no such file")
        size = path.stat().st_size
        if size > MAX_FILE:
            refuse_card(name, f"{size / 1e6:.0f} MB; a card's file may have {MAX_FILE // 10**6} MB")
        return read_card_bytes(path.read_bytes(), name)
    except OSError as e:
        refuse_card(name, f"cannot be read: {e.strerror}")


def read_card_bytes(data: bytes, file: str) -> Card:
    """Read the card in `data`, whose first bytes tell its format. Raises StudyError."""
    if data.startswith(_PNG):
        keyword, text, assets = _png_text(data, file)
        return read_card(text, file, f"PNG '{keyword}'", assets)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        refuse_card(
            file, "a WebP picture, for which no card format exists; export it as PNG or JSON"
        )
    if data[:2] == b"PK" or (data[:3] == b"\xff\xd8\xff" and b"PK\x05\x06" in data[-70_000:]):
        text, assets = _zip_text(data, file)
        return read_card(text, file, "CHARX", assets)
    if data[:3] == b"\xff\xd8\xff":
        refuse_card(file, "a JPEG picture without a card in it")
    return read_card(_decoded(data, file), file)


def card_into_png(picture: bytes, whole: Json, version: int, file: str) -> bytes:
    """Return a PNG picture with the card as its only card. Raises StudyError."""
    if not picture.startswith(_PNG):
        refuse_card(file, "not a PNG picture")
    keyword = "ccv3" if version > 2 else "chara"
    text = json.dumps(whole, ensure_ascii=False).encode()
    card = keyword.encode() + b"\0" + base64.b64encode(text)
    parts = [_PNG]
    for kind, body in _chunks(picture, file):
        if kind in _READERS and _keyword(body) in _KEYWORDS:
            continue
        if kind == b"IEND":
            parts.append(_chunk(b"tEXt", card))
        parts.append(_chunk(kind, body))
    return b"".join(parts)


# -- text


def _decoded(data: bytes, file: str) -> str:
    if len(data) > MAX_TEXT:
        refuse_card(
            file, f"{len(data) / 1e6:.1f} MB; a card may have {MAX_TEXT // 10**6} MB of text"
        )
    # UTF-8, 16 or 32: the first bytes of JSON show which, with a byte order mark or without.
    coding = json.detect_encoding(data)
    try:
        return data.decode(coding)
    except UnicodeDecodeError as e:
        refuse_card(file, f"not {coding.removesuffix('-sig').upper()} text (byte {e.start})")


# -- PNG (https://www.w3.org/TR/png-3/#5Chunk-layout)


def _png_text(data: bytes, file: str) -> tuple[str, str, int]:
    """Return the keyword and the JSON of a PNG's card, and the number of its assets."""
    texts: dict[str, tuple[bytes, bytes]] = {}
    assets = 0
    for kind, body in _chunks(data, file):
        if kind in _READERS:
            keyword = _keyword(body)
            if keyword in _KEYWORDS:
                texts.setdefault(keyword, (kind, body))
            assets += keyword.startswith("chara-ext-asset_")
    keyword = next((keyword for keyword in _KEYWORDS if keyword in texts), "")
    if not keyword:
        refuse_card(file, "a PNG picture without a card: it has no text 'chara' or 'ccv3'")
    kind, body = texts[keyword]
    packed = _READERS[kind](body.partition(b"\0")[2], f"its '{keyword}' text", file)
    return keyword, _unpacked(packed, keyword, file), assets


def _chunks(data: bytes, file: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each chunk; verify the checksums of chunks of text."""
    at, ended, chunks = len(_PNG), False, 0
    while at < len(data) and not ended:
        chunks += 1
        if chunks > MAX_CHUNKS:
            refuse_card(file, f"the PNG has more than {MAX_CHUNKS:,} chunks; save it anew")
        head = data[at : at + 8]
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        body, check = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(check) < 4:
            shown = kind.decode("latin-1") if kind.isalpha() else "?"
            refuse_card(
                file, f"the PNG is cut off in chunk {shown} at byte {at}; download it again"
            )
        if kind in _READERS and zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
            what = f"the PNG's text at byte {at} does not match its checksum; download it again"
            refuse_card(file, what)
        yield kind, body
        at += 12 + length
        ended = kind == b"IEND"
    if not ended:
        what = f"the PNG is cut off after byte {len(data)}: it has no end; download it again"
        refuse_card(file, what)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _keyword(body: bytes) -> str:
    return body[:80].partition(b"\0")[0].decode("latin-1").lower()


def _plain_text(rest: bytes, what: str, file: str) -> bytes:
    return rest


def _packed_text(rest: bytes, what: str, file: str) -> bytes:
    if rest[:1] != b"\0":
        refuse_card(file, f"{what} has a compression method that PNG does not have")
    return _inflated(rest[1:], what, file)


def _international_text(rest: bytes, what: str, file: str) -> bytes:
    packed, method, tail = rest[:1], rest[1:2], rest[2:].split(b"\0", 2)
    if len(tail) < 3 or (packed == b"\1" and method != b"\0"):
        refuse_card(file, f"{what} is not a valid iTXt chunk")
    return _inflated(tail[2], what, file) if packed == b"\1" else tail[2]


_READERS = {b"tEXt": _plain_text, b"zTXt": _packed_text, b"iTXt": _international_text}


def _inflated(data: bytes, what: str, file: str) -> bytes:
    most = MAX_TEXT * 4 // 3 + 4
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, most + 1)
    except zlib.error:
        refuse_card(file, f"{what} cannot be decompressed")
    if len(text) > most:
        refuse_card(file, f"{what} unpacks to more than {MAX_TEXT // 10**6} MB")
    if not unpacker.eof:
        refuse_card(file, f"{what} cannot be decompressed: it is cut off")
    return text


def _unpacked(packed: bytes, keyword: str, file: str) -> str:
    """Decode base64; some programs write the JSON itself, which is accepted."""
    if len(packed) > MAX_TEXT * 4 // 3 + 4:
        refuse_card(file, f"its '{keyword}' text has more than {MAX_TEXT // 10**6} MB")
    if packed.lstrip()[:1] in (b"{", b"["):
        return _decoded(packed, file)
    bare = b"".join(packed.split()).rstrip(b"=")
    wrong = re.search(rb"[^A-Za-z0-9+/]", bare)
    if wrong or len(bare) % 4 == 1:
        where = f"character {wrong.start() + 1}" if wrong else "it is cut off"
        refuse_card(file, f"its '{keyword}' text is not base64 ({where})")
    try:
        return _decoded(base64.b64decode(bare + b"=" * (-len(bare) % 4)), file)
    except binascii.Error:
        refuse_card(file, f"its '{keyword}' text is not base64")


# -- CHARX


def _zip_text(data: bytes, file: str) -> tuple[str, int]:
    """Return the text of an archive's `card.json`, and the number of its other files."""
    _check_listing(data, file)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            text = _member(archive, file)
    except StudyError:
        raise
    except Exception as e:
        # Each decompressor and each Python has errors of its own, and the bytes are a stranger's.
        refuse_card(file, f"the archive is broken: {str(e)[:80].lower() or 'it is cut off'}")
    assets = sum(1 for name in names if name != _CARD and not name.endswith("/"))
    return _decoded(text, file), assets


def _member(archive: zipfile.ZipFile, file: str) -> bytes:
    """Return the bytes of an archive's `card.json`."""
    if _CARD not in archive.namelist():
        refuse_card(file, f"an archive without '{_CARD}'; a CHARX has it at its root")
    info = archive.getinfo(_CARD)
    if info.flag_bits & 1:
        refuse_card(file, "an encrypted archive, which cannot be read")
    if info.compress_type not in _PACKINGS:
        # zipfile unpacks the others without a limit: 1 MB of bzip2 may become 20 GB, and LZMA
        # takes as much memory as its first bytes ask for.
        method = _OTHERS.get(info.compress_type, str(info.compress_type))
        what = f"'{_CARD}' is packed by the method {method}; pack it again as an ordinary zip"
        refuse_card(file, what)
    if info.file_size > MAX_TEXT:
        what = f"'{_CARD}' unpacks to {info.file_size / 1e6:.0f} MB"
        refuse_card(file, f"{what}; a card may have {MAX_TEXT // 10**6} MB")
    with archive.open(info) as opened:
        # The size that the archive states may be wrong: zipfile stops at it, and the checksum
        # does not match then.
        return opened.read(MAX_TEXT + 1)


def _check_listing(data: bytes, file: str) -> None:
    """Refuse an archive whose table of contents is too large to read into memory."""
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or len(data) < at + 22:
        refuse_card(file, "the archive is cut off: it has no table of contents; download it again")
    (size,) = struct.unpack("<I", data[at + 12 : at + 16])
    if size > MAX_LISTING or b"PK\x06\x07" in data[max(0, at - 20) : at]:
        refuse_card(file, "the archive lists too many files for a card")
