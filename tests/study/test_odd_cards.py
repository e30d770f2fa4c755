"""Cards in which a field is of another kind than the specification says: read, with a note."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from improv.errors import StudyError
from improv.study.importing.cards.card import read_card
from improv.study.importing.cards.convert import card_to_entry
from improv.study.importing.cards.field_kinds import V1_FIELDS, V2_FIELDS, V3_FIELDS
from improv.study.importing.importer import export_card, import_cards

PLAIN = {"name": "Odile Marsh", "description": "Odile keeps the ferry books."}
ODD: tuple[Any, ...] = (
    None,
    True,
    7,
    1.5,
    "",
    "x",
    "171",
    [],
    [None],
    [3, {}],
    ["a", "b"],
    {},
    {"0": "a"},
    {"b": []},
)
ENTRY = {"keys": ["ferry"], "content": "The ferry is named Constance.", "constant": True}


def card_text(fields: Any, spec: str = "chara_card_v2", version: Any = "2.0") -> str:
    return json.dumps({"spec": spec, "spec_version": version, "data": PLAIN | fields})


def notes_on(fields: Any) -> tuple[list[str], str]:
    """Return the notes of a card with these fields, and its character's text."""
    made = card_to_entry(read_card(card_text(fields), "ana.json"), "Visitor")
    return made.account.notes, made.entry["card"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_only_name_and_description_make_a_card_unreadable(version: int, tmp_path: Path) -> None:
    fields = {1: V1_FIELDS, 2: V1_FIELDS + V2_FIELDS, 3: V1_FIELDS + V2_FIELDS + V3_FIELDS}[version]
    for name, value in itertools.product(fields, ODD):
        text = card_text({name: value}, f"chara_card_v{version}", f"{version}.0")
        if version == 1:
            text = json.dumps({**PLAIN, "first_mes": "You again.", name: value})
        needed = name == "name" or (name == "description" and value is not None)
        if (
            needed
            and not (isinstance(value, str) and value)
            and (name, value) != ("description", "")
        ):
            with pytest.raises(StudyError, match=name):
                read_card(text, "ana.json")
            continue
        if name == "name":
            continue
        assert card_to_entry(read_card(text, "ana.json"), "Visitor").entry["name"]
        if value != {"b": []}:
            continue  # One value of each field goes the whole way, which takes longer.
        (tmp_path / "ana.json").write_text(text)
        made = import_cards([str(tmp_path / "ana.json")])
        (tmp_path / "scene.yaml").write_text(made.text)
        back = json.loads(export_card(str(tmp_path / "scene.yaml"), made.scene.cast[0].name))
        assert back == json.loads(text), "the card is exported as it was"


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"creator": {"name": "x"}}, "data.creator is an object, not a text; it is left out"),
        ({"character_version": 1.2}, "data.character_version is a number, not a text"),
        ({"tags": "ferry, river"}, "data.tags is 'ferry, river', not a list of texts"),
        ({"tags": ["ferry", 1920]}, "data.tags.1 is a number, not a text"),
        ({"alternate_greetings": "1687194031049"}, "not a list of texts; it is left out"),
        ({"alternate_greetings": [None, "Hello."]}, "alternate_greetings.0 is nothing"),
        ({"extensions": []}, "data.extensions is an empty list, not an object"),
        ({"extensions": {"improv": {"goal": 5}}}, "extensions.improv.goal is not usable"),
        ({"character_book": []}, "data.character_book is an empty list, not an object"),
        (
            {"character_book": {"entries": {}}},
            "data.character_book.entries is an object, not a list",
        ),
        ({"character_book": {"entries": ["x"]}}, "entries.0 is 'x', not an object; it is left out"),
    ],
)
def test_what_is_odd_is_noted(fields: dict[str, Any], note: str) -> None:
    notes, _ = notes_on(fields)
    assert [n for n in notes if n.startswith("not as the specification says: ") or "usable" in n]
    assert note in " ".join(notes)


@pytest.mark.parametrize(
    "book",
    [
        {"entries": [ENTRY]},
        [ENTRY],
        {"entries": {"0": ENTRY}},
        {
            "entries": {
                "0": {"uid": 0, "key": ["ferry"], "content": ENTRY["content"], "constant": True}
            }
        },
        {"entries": [ENTRY | {"keys": "ferry, boat", "constant": "true", "enabled": 1}]},
        {"entries": [ENTRY | {"enabled": "maybe", "insertion_order": "first"}]},
        {"entries": [ENTRY, ENTRY | {"content": "Gone.", "disable": True}]},
    ],
)
def test_a_lorebook_is_read_in_each_of_its_shapes(book: Any, tmp_path: Path) -> None:
    _, text = notes_on({"character_book": book})
    assert text.endswith("The ferry is named Constance.")
    assert "Gone." not in text
    # An entry whose text is no longer in the character's is turned off, where the card has it.
    (tmp_path / "ana.json").write_text(card_text({"character_book": book}))
    made = import_cards([str(tmp_path / "ana.json")])
    (tmp_path / "scene.yaml").write_text(made.text.replace("The ferry is named Constance.", ""))
    back = export_card(str(tmp_path / "scene.yaml"), "Odile Marsh").decode()
    again = card_to_entry(read_card(back, "back.json"), "Visitor")
    assert "Constance" not in again.entry["card"]


def test_greetings_in_one_text_or_by_number_are_greetings() -> None:
    for value in ("Hello.", ["Hello."], {"0": "Hello."}):
        card = read_card(card_text({"first_mes": "You again.", "alternate_greetings": value}), "a")
        assert card_to_entry(card, "Visitor").greetings == ["You again.", "Hello."]


@pytest.mark.parametrize(
    ("spec", "version", "reads"), [(2, 2, 2), (None, 3.0, 2), ("", 3.0, 3), ([], "3.0", 3)]
)
def test_a_spec_of_another_kind_goes_by_its_version(spec: Any, version: Any, reads: int) -> None:
    assert read_card(card_text({}, spec, version), "ana.json").version == reads


def test_fields_beside_the_spec_are_read_where_there_is_no_data() -> None:
    text = json.dumps({"spec": "chara_card_v2", "data": None, **PLAIN})
    made = card_to_entry(read_card(text, "ana.json"), "Visitor")
    assert made.entry["card"] == PLAIN["description"]
    assert "no 'data' object" in " ".join(made.account.notes)


def test_a_card_with_much_that_is_odd_has_few_notes() -> None:
    entries = [{"content": 5, "keys": 3}] * 50
    notes, _ = notes_on({"character_book": {"entries": entries}})
    assert len(notes) < 16
    assert "88 more fields" in " ".join(notes)
