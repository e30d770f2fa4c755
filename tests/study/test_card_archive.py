"""Archives and pictures of strangers: what is packed, how large it says to be, and what is torn."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import pytest

from improv.errors import StudyError
from improv.study.importing.cards.container import read_card_bytes


def an_archive(method: int, text: bytes = b"{}") -> bytes:
    """Return an archive whose `card.json` says that it is packed by this method."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", text)
    data = bytearray(sink.getvalue())
    for at in (8, data.rfind(b"PK\1\2") + 10):  # in the file's own head, and in the contents
        data[at : at + 2] = struct.pack("<H", method)
    return bytes(data)


@pytest.mark.parametrize("method", [1, 6, 9, 10, 12, 14, 20, 93, 94, 95, 96, 97, 98, 99, 65535])
def test_an_archive_of_another_packing_is_refused_before_it_is_unpacked(method: int) -> None:
    with pytest.raises(StudyError, match="packed by the method"):
        read_card_bytes(an_archive(method), "c.charx")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_bomb_is_refused_in_a_moment(method: int) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("card.json", b" " * 30_000_000)
    with pytest.raises(StudyError, match="packed by the method"):
        read_card_bytes(sink.getvalue(), "c.charx")


def test_an_archive_that_understates_its_size_is_refused() -> None:
    data = bytearray(an_archive(zipfile.ZIP_DEFLATED, b" " * 9_000_000))
    for at in (22, data.rfind(b"PK\1\2") + 24):
        data[at : at + 4] = struct.pack("<I", 10)
    with pytest.raises(StudyError, match="archive is broken"):
        read_card_bytes(bytes(data), "c.charx")


def test_any_bytes_for_packed_ones_are_a_broken_archive() -> None:
    whole = an_archive(zipfile.ZIP_DEFLATED, os.urandom(2000))
    for at in range(40, 240):
        torn = bytearray(whole)
        torn[at] ^= 0x55
        with pytest.raises(StudyError):
            read_card_bytes(bytes(torn), "c.charx")


def test_a_picture_of_a_million_chunks_is_refused() -> None:
    with pytest.raises(StudyError, match="100,000 chunks"):
        read_card_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0juNk\0\0\0\0" * 1_000_000, "c.png")
