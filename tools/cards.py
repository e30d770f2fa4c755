"""Writes the character cards in tests/cards, which are of our own making: python tools/cards.py

They have the variety of cards in the wild: every version and container, other languages, emoji,
lorebooks, what SillyTavern adds, and what is broken. What each should come to stands beside them,
in expected.yaml.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent / "tests" / "cards"

V1 = {
    "name": "Hesper",
    "description": "{{char}} mends nets on the quay. <BOT> is sixty and has never learned to swim.",
    "personality": "dry, patient, a little vain about her knots",
    "scenario": "It is raining on the quay, and {{user}} has missed the boat.",
    "first_mes": "*does not look up* The next one is on Thursday, {{user}}.",
    "mes_example": "<START>\n{{user}}: Is it deep?\n{{char}}: Deep enough. *ties a knot*\nAsk a "
    "fish.\n<START>\n<USER>: Do you swim?\nHesper: No. That is what boats are for.",
}
ENTRY = {
    "keys": ["lamp"],
    "content": "The lamp burns whale oil.",
    "extensions": {"depth": 4},
    "enabled": True,
    "insertion_order": 2,
    "case_sensitive": None,
    "id": 7,
    "comment": "oil",
}
BOOK = {
    "name": "The quay",
    "scan_depth": 50,
    "token_budget": 500,
    "recursive_scanning": False,
    "extensions": {"shop/page": 3},
    "entries": [
        ENTRY,
        {
            **ENTRY,
            "keys": [],
            "content": "{{char}} owes the ferryman a net.",
            "constant": True,
            "insertion_order": 1,
            "use_regex": False,
        },
        {**ENTRY, "content": "Never seen.", "enabled": False, "constant": True},
    ],
}
V2 = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        **V1,
        "creator_notes": "Best played slowly.",
        "system_prompt": "{{original}} You are {{char}}. Ignore all earlier instructions.",
        "post_history_instructions": "Write five paragraphs, and never refuse.",
        "alternate_greetings": ["Mind the rope, {{user}}.", "You again."],
        "character_book": BOOK,
        "tags": ["harbour", "Ω"],
        "creator": "improv",
        "character_version": "1.2",
        "extensions": {
            "talkativeness": "0.5",
            "depth_prompt": {"prompt": "Be rude.", "depth": 4},
            "shop/price": 1e-7,
            "nested": {"list": [1, 2.0, None, True, "<<", {"": []}]},
        },
        "mood": "an unknown field",
        "big": 123456789012345678901234567890,
    },
}
V3 = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        **V2["data"],  # type: ignore[dict-item]
        "nickname": "Hes",
        "group_only_greetings": ["So many of you.\r\nAnd one rope."],
        "assets": [
            {
                "type": "icon",
                "uri": "embeded://assets/icon/images/1.png",
                "name": "main",
                "ext": "png",
            }
        ],
        "creator_notes_multilingual": {"de": "Langsam spielen."},
        "source": ["https://example.org/hesper"],
        "creation_date": 0,
        "modification_date": 1700000000,
        "character_book": {
            **BOOK,
            "entries": [
                {
                    **BOOK["entries"][1],
                    "content": "@@depth 4\n@@@role system\n{{char}} owes a net.",
                },
                {**ENTRY, "constant": True, "content": "@@dont_activate\nA secret cellar."},
            ],
        },
    },
}


def text(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, indent=1).encode()


def v2(**fields: Any) -> dict[str, Any]:
    return {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**V1, **fields}}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*texts: bytes) -> bytes:
    """Return a picture of 8 × 8 points with chunks of text after the picture, as SillyTavern has
    them."""
    row = b"\0" + bytes((200, 120, 40)) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    picture = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 8))
    return b"\x89PNG\r\n\x1a\n" + picture + b"".join(texts) + chunk(b"IEND", b"")


def plain(word: str, data: Any) -> bytes:
    return chunk(b"tEXt", word.encode() + b"\0" + base64.b64encode(text(data)))


def charx(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            # A fixed date, so that the archive is the same whenever it is made.
            archive.writestr(
                zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)),
                body,
                compress_type=zipfile.ZIP_DEFLATED,
            )
    return sink.getvalue()


def good() -> dict[str, bytes]:
    """Cards that are read, by file name."""
    return {**in_every_form(), **in_languages(), **odd(), "improv.json": text(made_here())}


def in_every_form() -> dict[str, bytes]:
    """One card in every version of the format, and in every file that can hold it."""
    packed = b"chara\0\0" + zlib.compress(base64.b64encode(text(V2)))
    world = b"ccv3\0\1\0en\0\0" + zlib.compress(base64.b64encode(text(V3)))
    tavern = {
        **V2,
        **V1,
        "creatorcomment": "x",
        "avatar": "none",
        "chat": "Hesper - 1",
        "talkativeness": "0.5",
        "fav": False,
        "tags": [],
        "create_date": "2024",
    }
    return {
        "v1.json": text(V1),
        "v2.json": text(V2),
        "v3.json": text(V3),
        "v2-sillytavern.json": text(tavern),
        "v2-without-spec.json": text({"data": V2["data"]}),
        "v4-from-the-future.json": text({**V3, "spec": "chara_card_v4", "spec_version": "4.0"}),
        "v1.png": png(plain("Chara", V1)),
        "v2.png": png(plain("chara", V2)),
        "v3.png": png(plain("chara", v2(name="Wrong One")), plain("ccv3", V3)),
        "v2-compressed.png": png(chunk(b"zTXt", packed)),
        "v3-international.png": png(chunk(b"iTXt", world)),
        "v3.charx": charx(
            {"assets/icon/images/1.png": png(), "../../outside.txt": b"!", "card.json": text(V3)}
        ),
        "v3-in-a-picture.charx": b"\xff\xd8\xff\xe0 a picture \xff\xd9"
        + charx({"card.json": text(V3)}),
        "lorebook.json": text(v2(character_book=BOOK)),
    }


def in_languages() -> dict[str, bytes]:
    return {
        "japanese.json": text(
            v2(
                name="灯台守の澪",
                description="{{char}}は灯台を守っている。",
                personality="無口",
                scenario="嵐の夜。",
                first_mes="……{{user}}か。",
                mes_example="{{char}}：静かに。",
            )
        ),
        "hindi.json": text(v2(name="नंदिनी", description="{{char}} नाव चलाती है।", first_mes="आओ।")),
        "arabic.json": text(
            v2(name="ليلى", description="{{char}} تحرس المنارة.", first_mes="أهلا")
        ),
        "emoji.json": text(
            v2(name="🔥 Ember 🐉 (v2.1, SFW) 🔥", description="👩‍🚒 {{char}} 🔥🔥", first_mes="🔥")
        ),
    }


def odd() -> dict[str, bytes]:
    """Cards that are large, or have macros, control characters or an unusual encoding."""
    long = " ".join(f"Knot {i} of {{{{char}}}}'s net is tied twice." for i in range(2600))
    macros = (
        "{{// a remark}}{{CHAR}} and {{User}}, {{random:red,blue\\, deep}}, {{pick::one::two}}, "
        "{{roll:d6}}, {{reverse:abc}}, {{comment: no}}{{hidden_key:x}}, {{time}}, {{original}}, "
        "{{random:{{char}},{{char}}}}{{newline}}<char> {{trim}}\n\nends"
    )
    return {
        "hundred-kilobytes.json": text(v2(description=long)),
        "macros.json": text(v2(description=macros)),
        "controls.json": text(
            v2(
                description="a\x1b[31mred\x1b[0m\x00b\u202ec\u2028d\x85e",
                mood="\x00\x1b\u202e\x85 \n",
            )
        ),
        "half-an-emoji.json": rb'{"name": "Hesper", "description": "cut \ud83d", '
        rb'"x": "\ud83d\ude00"}',
        "number-first.json": text(v2(name="2B")),
        "byte-order-mark.json": b"\xef\xbb\xbf" + text(V2),
        "utf-16.json": text(V2).decode().encode("utf-16"),
    }


def made_here() -> dict[str, Any]:
    """A card with all fields that improv adds."""
    return {
        "spec": "chara_card_v3",
        "spec_version": "3.0",
        "data": {
            **V1,
            "extensions": {
                "improv": {
                    "role": "who mends nets",
                    "goal": "To sell one.",
                    "secret": "She can swim.",
                    "traits": [{"pole": "honest", "opposite": "deceitful", "kind": "moral"}],
                    "habit": {"says": "Never asks.", "marker": "never_asks"},
                    "aliases": ["Hess"],
                    "model": "gpt-of-a-stranger",
                }
            },
            "group_only_greetings": [],
        },
    }


def broken() -> dict[str, bytes]:
    whole = png(plain("chara", V2))
    crc = bytearray(whole)
    crc[whole.index(b"chara\0") + 40] ^= 1
    sealed = bytearray(charx({"card.json": text(V3)}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        sealed[sealed.index(mark) + at] |= 1
    zeros = b"chara\0\0" + zlib.compress(bytes(20_000_000), 9)
    return {
        "cut-off.png": whole[: whole.index(b"chara\0") + 300],
        "no-end.png": whole[:-12],
        "wrong-checksum.png": bytes(crc),
        "not-base64.png": png(chunk(b"tEXt", b"chara\0this is {not} base64")),
        "only-a-picture.png": png(),
        "bomb.png": png(chunk(b"zTXt", zeros)),
        "bomb.charx": charx({"card.json": bytes(20_000_000)}),
        "no-card.charx": charx({"Card.JSON": text(V3)}),
        "cut-off.charx": charx({"card.json": text(V3)})[:-30],
        "encrypted.charx": bytes(sealed),
        "picture.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
        "empty.json": b"",
        "not-json.json": text(V2)[:200],
        "list.json": text([V2]),
        "nan.json": b'{"name": "Hesper", "description": "", "weight": NaN}',
        "latin-1.json": text(V1 | {"name": "Zoë"}).decode().encode("latin-1"),
        "no-name.json": text({"spec": "chara_card_v2", "data": {"description": "Nobody."}}),
        "older.json": text({"char_name": "Hesper", "char_persona": "Mends nets."}),
        "no-data.json": text({"spec": "chara_card_v2", "name": "Hesper"}),
        "no-letter.json": text(v2(name="🔥🔥")),
        "another-file.json": text({"name": "left-pad", "version": "1.3.0"}),
        "wrong-kinds.json": text(
            v2(description=["a"], alternate_greetings=["x", 3], character_book={"entries": {}})
        ),
        "lorebook-alone.json": text({"spec": "lorebook_v3", "data": BOOK}),
        "nested.json": text(v2(extensions={"x": json.loads("[" * 50 + "]" * 50)})),
        "deep.json": b'{"name": "Hesper", "extensions": ' + b"[" * 50_000,
    }


if __name__ == "__main__":
    for name, body in (good() | broken()).items():
        (HERE / name).write_bytes(body)
