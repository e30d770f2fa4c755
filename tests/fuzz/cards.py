"""Character cards of three versions in JSON, PNG, CHARX and YAML, bent in their data and bytes."""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from improv.study.importing.importer import export_card, import_cards, import_into
from improv.study.loader import load_scene
from tests.conftest import KETTLE
from tests.fuzz.bend import (
    ODD_TEXTS,
    as_text,
    bend,
    bend_bytes,
    byte_bends,
    codings,
    data_bends,
    encoded,
    odd,
)
from tests.fuzz.outcome import Kind, Words, command

_PNG = b"\x89PNG\r\n\x1a\n"
_text = st.sampled_from(["", "Ana waits.", "{{char}} greets {{user}}.", "<START>\n{{char}}: Hi."])
_texts = _text | st.sampled_from(ODD_TEXTS) | st.text(max_size=30)
_V1 = {
    "name": st.sampled_from(["Ana", "ana", "Bo 2", "Éloïse d'Été"]) | _texts,
    "description": _texts,
    "personality": _texts,
    "scenario": _texts,
    "first_mes": _texts,
    "mes_example": _texts,
}
_entry = st.fixed_dictionaries(
    {"keys": st.lists(_texts, max_size=2), "content": _texts, "enabled": st.booleans() | odd},
    optional={"insertion_order": odd, "constant": odd, "id": odd, "extensions": odd},
)
_book = st.fixed_dictionaries({"entries": st.lists(_entry, max_size=3)}, optional={"name": odd})
_V2 = {
    "creator_notes": _texts,
    "system_prompt": _texts,
    "post_history_instructions": _texts,
    "alternate_greetings": st.lists(_texts, max_size=3),
    "tags": st.lists(_texts, max_size=2),
    "creator": _texts,
    "character_version": _texts,
    "extensions": st.dictionaries(_texts, odd, max_size=2),
}
_V3 = {
    "assets": st.lists(st.fixed_dictionaries({"type": _texts, "uri": _texts}), max_size=2),
    "nickname": _texts,
    "source": st.lists(_texts, max_size=2),
    "group_only_greetings": st.lists(_texts, max_size=2),
    "creation_date": odd,
    "creator_notes_multilingual": st.dictionaries(_texts, _texts, max_size=2),
}
_more = {"character_book": _book}


def _versioned(spec: str, version: str, data: Any) -> st.SearchStrategy[Words]:
    return st.fixed_dictionaries(
        {"spec": st.just(spec), "spec_version": st.just(version) | odd, "data": data}
    )


_cards = st.one_of(
    st.fixed_dictionaries(_V1),
    _versioned("chara_card_v2", "2.0", st.fixed_dictionaries(_V1, optional=_V2 | _more)),
    _versioned("chara_card_v3", "3.0", st.fixed_dictionaries(_V1, optional=_V2 | _V3 | _more)),
)
cards = st.fixed_dictionaries(
    {
        "card": _cards,
        "bends": data_bends,
        "text": byte_bends | st.just([]),
        "coding": codings,
        "container": st.sampled_from(["json", "json", "png", "png", "charx", "charx", "yaml"]),
        "chunk": st.sampled_from(["tEXt", "zTXt", "iTXt", "iTXt packed"]),
        "keyword": st.sampled_from(["chara", "ccv3", "Chara", "other"]),
        "packed": byte_bends | st.just([]),
        "base64": st.sampled_from([True, True, True, False]),
        "packing": st.sampled_from([0, 8, 8, 12, 14, 9, 93]),
        "member": st.sampled_from(["card.json", "card.json", "CARD.JSON", "../card.json", "x/"]),
        "twice": st.booleans(),
        "checksum": st.sampled_from([True, True, True, True, False]),
        "bytes": byte_bends | st.just([]),
        "user": st.sampled_from(["", "", "Bo", "Ana"]) | _texts,
        "into": st.booleans(),
        "command": st.integers(0, 7),
    }
)


def card_bytes(words: Words) -> bytes:
    """Return the file of a card in its container."""
    data = bend(words["card"], words["bends"])
    text = bend_bytes(encoded(as_text(data, "json"), words["coding"]), words["text"])
    if words["container"] == "png":
        text = _png(text, words)
    elif words["container"] == "charx":
        text = _charx(text, words)
    return bend_bytes(text, words["bytes"])


def _png(text: bytes, words: Words) -> bytes:
    body = base64.b64encode(text) if words["base64"] else text
    keyword = words["keyword"].encode() + b"\0"
    kind = words["chunk"][:4].encode()
    if words["chunk"] == "zTXt":
        body = b"\0" + bend_bytes(zlib.compress(body), words["packed"])
    elif kind == b"iTXt":
        head = b"\0\0"
        if words["chunk"].endswith("packed"):
            head, body = b"\1\0", bend_bytes(zlib.compress(body), words["packed"])
        body = head + b"\0\0" + body
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), True)]
    parts += [_chunk(kind, keyword + body, words["checksum"])] * (1 + words["twice"])
    parts += [_chunk(b"IDAT", zlib.compress(b"\0\0"), True), _chunk(b"IEND", b"", True)]
    return _PNG + b"".join(parts)


def _chunk(kind: bytes, body: bytes, right: bool) -> bytes:
    check = zlib.crc32(kind + body) if right else 0
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def _charx(text: bytes, words: Words) -> bytes:
    """Return an archive. A packing that this Python has not is written as a header's number."""
    sink = io.BytesIO()
    packing = words["packing"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        with zipfile.ZipFile(sink, "w", packing if packing in (0, 8, 12, 14) else 0) as archive:
            for _ in range(1 + words["twice"]):
                archive.writestr(words["member"], text)
            archive.writestr("assets/icon.png", b"\x89PNG")
    data = sink.getvalue()
    if packing in (9, 93):
        # The method's number is at byte 8 of a local header, and 10 of the directory's.
        data = data.replace(
            b"PK\x03\x04\x14\0\0\0\0\0", b"PK\x03\x04\x14\0\0\0" + bytes([packing, 0])
        )
        data = data.replace(
            b"PK\x01\x02\x14\x03\x14\0\0\0\0\0",
            b"PK\x01\x02\x14\x03\x14\0\0\0" + bytes([packing, 0]),
        )
    return data


def try_card(words: Words, place: Path, shared: Path) -> None:
    file = place / f"card.{words['container']}"
    scene = place / "scene.yaml"
    file.write_bytes(card_bytes(words))
    if words["container"] == "yaml":
        _try_named(words, place)
        return
    if words["command"] == 0:
        command("import-card", str(file), "-o", str(place / "new.yaml"))
    if words["into"]:
        scene.write_text(KETTLE)
        made = import_into(str(scene), [str(file)], words["user"])
    else:
        made = import_cards([str(file)], words["user"], str(scene))
    scene.write_text(made.text)
    read = load_scene(scene)
    assert read == made.scene, "the scene's file is not the scene"
    for character in read.cast:
        json.loads(export_card(str(scene), character.name))


def _try_named(words: Words, place: Path) -> None:
    """Let a scene name the card, and hold another as `original`."""
    (place / "ana.json").write_bytes(card_bytes({**words, "container": "json"}))
    original = bend({"card": words["card"], "user": "Bo"}, words["bends"])
    cast = [{"card_file": "ana.json"}, {"name": "Bo", "role": "who hurries", "original": original}]
    scene = place / "scene.yaml"
    data = {"title": "Two", "premise": "They meet.", "cast": cast}
    scene.write_bytes(encoded(as_text(data, "json"), "utf-8"))
    if words["command"] == 0:
        command("validate", str(scene))
    read = load_scene(scene)
    for character in read.cast:
        export_card(str(scene), character.name)


CARD = Kind("card", "character cards: JSON, PNG, CHARX, and in a scene", cards, try_card)
