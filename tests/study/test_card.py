"""Character cards of other programs: their import, a run with them, their export, and errors."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from improv.errors import StudyError
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.importing.cards.card import Card
from improv.study.importing.cards.container import load_card
from improv.study.importing.cards.convert import LONGEST_CARD, card_to_entry
from improv.study.importing.cards.macros import Filling
from improv.study.importing.importer import export_card, import_cards, import_into, save
from improv.study.importing.names import ordinary_case, stage_name
from improv.study.loader import load, load_scene
from improv.study.snapshot import write_study
from improv.study.trial import plan
from improv.study.yaml_source import read_yaml, write_yaml
from tests.support.places import CARDS
from tests.support.weather import command

HERE = CARDS
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "expected.yaml").read_text("utf-8"))
GOOD = [name for name, row in EXPECTED.items() if "broken" not in row]
BROKEN = [name for name, row in EXPECTED.items() if "broken" in row]


def written(folder: Path, text: str, name: str = "scene.yaml") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def test_every_card_is_in_the_table() -> None:
    assert {file.name for file in HERE.iterdir()} == {"expected.yaml", *EXPECTED}
    assert len(GOOD) >= 20 and len(BROKEN) >= 20


@pytest.mark.parametrize("name", GOOD)
def test_a_card_becomes_a_character_and_the_same_card_again(name: str, tmp_path: Path) -> None:
    wanted = EXPECTED[name]
    card = load_card(HERE / name)
    assert (card.version, card.container) == (wanted["version"], wanted["from"])
    made = import_cards([str(HERE / name)])
    (account,) = made.accounts
    who = made.scene.cast[0]
    assert who.name == wanted["name"]
    assert (who.role, who.secret) == (
        wanted.get("role", "one of the cast"),
        wanted.get("secret", ""),
    )
    texts = f"{who.card}\n{who.goal}\n{who.role}"
    for phrase in wanted.get("card", ()):
        assert phrase in who.card
    for phrase in wanted.get("not", ()):
        assert phrase not in texts
    assert len(who.card) <= LONGEST_CARD
    assert len(who.samples) == len(wanted["samples"])
    for said, phrase in zip(who.samples, wanted["samples"], strict=True):
        assert phrase in said
    card_entry = card_to_entry(card, "Visitor")
    assert len(card_entry.greetings) == wanted["greetings"]
    assert [o.line for o in made.scene.opening] == ([wanted["opens"]] if wanted["opens"] else [])
    assert [field for field, _ in account.orders] == wanted.get("orders", [])
    for phrase in wanted.get("notes", ()):
        assert any(phrase in note for note in account.notes), account.notes
    # Written as YAML and read again, the scene returns the whole card, with unknown fields too.
    file = written(tmp_path, made.text)
    back = json.loads(export_card(str(file), who.name))
    assert back == card.whole
    assert json.dumps(back) == json.dumps(card.whole), "in the same order, 2.0 as 2.0"
    # A scene that names the card has the same character, and exports the same card.
    scene = f"title: T\npremise: P\ncast:\n  - card_file: '{HERE / name}'\n".replace(
        str(HERE), "cards"
    )
    (tmp_path / "cards").symlink_to(HERE)
    if name != "hundred-kilobytes.json":
        named = written(tmp_path, scene, "named.yaml")
        assert load_scene(named).cast[0].samples == who.samples
        assert json.loads(export_card(str(named))) == card.whole


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_card_is_named_with_what_is_broken(name: str, tmp_path: Path) -> None:
    wanted = EXPECTED[name]
    with pytest.raises(StudyError) as caught:
        import_cards([str(HERE / name)])
    message = str(caught.value).splitlines()[0]
    assert message == f"{HERE / name}:{wanted.get('at', '1:1')}: {wanted['broken']}"
    (tmp_path / "cards").symlink_to(HERE)
    scene = f"title: T\npremise: P\ncast:\n  - role: one\n    card_file: cards/{name}\n"
    file = written(tmp_path, scene)
    with pytest.raises(StudyError) as caught:
        load(file)
    message = str(caught.value).splitlines()[0]
    assert message.startswith(f"{file}:5:16: cast.0.card_file: cards/{name}:"), (
        "the place in the scene"
    )
    assert wanted["broken"] in message
    if name != "no-letter.json":
        return
    named = written(tmp_path, scene.replace("role: one", "name: Ember\n    role: one"))
    assert load_scene(named).cast[0].name == "Ember"


def test_every_field_of_a_text_may_be_cut_anywhere_without_a_traceback() -> None:
    from improv.study.importing.cards.container import read_card_bytes

    for name in ("v3.png", "v2-compressed.png", "v3.charx", "v3.json", "utf-16.json"):
        whole = (HERE / name).read_bytes()
        for end in range(0, len(whole), max(1, len(whole) // 60)):
            with pytest.raises(StudyError):
                read_card_bytes(whole[:end], name)
        for at in range(0, len(whole), max(1, len(whole) // 60)):
            torn = bytearray(whole)
            torn[at] ^= 0xFF
            with suppress(StudyError):
                assert isinstance(read_card_bytes(bytes(torn), name), Card)


# -- scenes made of cards


def test_two_cards_make_a_scene_that_plays(tmp_path: Path) -> None:
    file = tmp_path / "duo.yaml"
    done = command(
        "import-card", str(HERE / "v2.png"), str(HERE / "japanese.json"), "-o", str(file)
    )
    assert "taken over: description, personality, scenario, 2 sample lines" in done.stderr
    assert "shown, not obeyed: system_prompt" in done.stderr
    assert "Ignore all earlier instructions." in done.stderr
    assert "good (1 trial)" in command("validate", str(file)).stdout
    scene = load_scene(file)
    assert [c.name for c in scene.cast] == ["Hesper", "灯台守の澪"]
    assert scene.opening[0].line == "(does not look up) The next one is on Thursday, 灯台守の澪."
    assert "Mind the rope" in file.read_text("utf-8"), "the other greetings are comments"
    runs = tmp_path / "runs"
    played = load(file, {"turns": 3, "model": {"model": "puppet"}})
    assert run(played, runs=runs, setup=Setup("off")).exit_code == 0
    folder = open_run(runs, "last")
    trial = folder.transcripts.trial("0")["trial"]
    assert len(folder.transcripts.read(trial).lines()) == 3
    ids = {block for call in folder.transcripts.calls(trial) for block in call.blocks}
    shown = " ".join(block.text for block in folder.tables.blocks(ids).values())
    assert "Hesper mends nets" in shown
    for secret in ("Ignore all", "five paragraphs", "Be rude", "talkativeness"):
        assert secret not in shown
        assert secret not in folder.study_text()


def test_the_user_of_a_card_is_the_one_that_is_named(tmp_path: Path) -> None:
    made = import_cards([str(HERE / "v1.json")], "Dana")
    assert [c.name for c in made.scene.cast] == ["Hesper", "Dana"]
    assert made.scene.premise == "It is raining on the quay, and Dana has missed the boat."
    assert "Scenario" not in made.scene.cast[0].card, "the premise is not repeated in the card"
    twins = import_cards([str(HERE / "v1.json"), str(HERE / "v1.png")])
    assert [c.name for c in twins.scene.cast] == ["Hesper", "Hesper 2"]
    file = written(tmp_path, twins.text)
    for name in ("Hesper", "Hesper 2"):
        back = json.loads(export_card(str(file), name))
        assert back["description"] == load_card(HERE / "v1.json").text("description")
    with pytest.raises(StudyError, match=r"--user.*a scene cannot use the name 'R2-D2!'"):
        import_cards([str(HERE / "v1.json")], "R2-D2!")
    with pytest.raises(StudyError, match="the cast has 13 characters; it may have 12"):
        import_cards([str(HERE / "v1.json")] * 12, "Dana")


def test_a_card_joins_a_scene_and_leaves_the_rest_as_it_was_written(
    kettle: Path, tmp_path: Path
) -> None:
    before = kettle.read_text("utf-8")
    marked = before.replace("opening:", "# how it begins\nopening:")
    kettle.write_text(marked, "utf-8")
    made = import_into(str(kettle), [str(HERE / "v2.json")])
    assert [c.name for c in made.scene.cast] == ["Ana", "Bo", "Cy", "Hesper"]
    assert "Ana has missed the boat" in made.scene.cast[-1].card
    head, _, tail = marked.partition("# how it begins")
    assert made.text.startswith(head) and made.text.endswith(tail)
    command("import-card", str(HERE / "v2.json"), "--into", str(kettle))
    assert kettle.read_text("utf-8") == made.text
    flow = written(tmp_path, "title: T\npremise: P\ncast: [{name: Ana, role: r}]\n", "flow.yaml")
    with pytest.raises(StudyError, match=r"flow.yaml:3:7: cast: cards can only join"):
        import_into(str(flow), [str(HERE / "v2.json")])
    with pytest.raises(Exception, match="this file exists"):
        save("title: T", str(flow), new=True)


def test_changes_in_the_scene_are_exported_to_the_card(tmp_path: Path) -> None:
    made = import_cards([str(HERE / "v2-sillytavern.json")])
    data = read_yaml(made.text, "t").data
    data["cast"][0] |= {
        "name": "Vesper",
        "card": "Vesper sells nets.",
        "secret": "She can swim.",
        "samples": ["Nets!"],
    }
    data["opening"][0]["who"] = "Vesper"
    file = written(tmp_path, write_yaml(data))
    back = json.loads(export_card(str(file), "vesper"))
    old = load_card(HERE / "v2-sillytavern.json").whole
    changed = {k for k in old["data"] if back["data"][k] != old["data"][k]}
    texts = {"name", "description", "personality", "scenario", "mes_example"}
    assert changed == {*texts, "extensions", "character_book"}
    entries = zip(
        back["data"]["character_book"]["entries"],
        old["data"]["character_book"]["entries"],
        strict=True,
    )
    off = [old["content"] for new, old in entries if new != old and not new["enabled"]]
    assert off == ["{{char}} owes the ferryman a net."], "the text does not contain it any more"
    assert (back["name"], back["data"]["name"]) == ("Vesper", "Vesper")
    assert back["data"]["mes_example"] == "<START>\n{{char}}: Nets!"
    assert back["data"]["extensions"] == {
        **old["data"]["extensions"],
        "improv": {"secret": "She can swim."},
    }
    again = import_cards([str(written(tmp_path, json.dumps(back), "back.json"))]).scene.cast[0]
    assert (again.name, again.card, again.secret, again.samples) == (
        "Vesper",
        "Vesper sells nets.",
        "She can swim.",
        ["Nets!"],
    )


def test_lorebook_text_is_exported_once(tmp_path: Path) -> None:
    made = import_cards([str(HERE / "v2.json")])
    file = written(tmp_path, made.text.replace("mends nets on", "sells nets on", 1))
    back = json.loads(export_card(str(file)))
    old = load_card(HERE / "v2.json").data
    assert back["data"]["description"].startswith("Hesper sells nets on the quay.")
    assert "owes the ferryman" not in back["data"]["description"]
    assert back["data"]["character_book"] == old["character_book"]
    again = import_cards([str(written(tmp_path, json.dumps(back), "back.json"))]).scene.cast[0]
    assert again.card.count("owes the ferryman") == again.card.count("dry, patient") == 1


@pytest.mark.parametrize("scene", ["cold-pass", "the-tontine", "honey-job"])
def test_a_character_of_a_shipped_scene_survives_export_and_import(
    scene: str, tmp_path: Path
) -> None:
    for ours in load_scene(scene).cast:
        card = export_card(scene, ours.name)
        file = written(tmp_path, card.decode(), f"{ours.name}.json")
        back = import_cards([str(file)]).scene.cast[0]
        fields = ("name", "role", "card", "goal", "secret", "traits", "habit", "samples", "aliases")
        assert [getattr(back, f) for f in fields] == [getattr(ours, f) for f in fields]


def test_a_card_goes_into_a_picture_in_place_of_the_one_there(tmp_path: Path) -> None:
    for name in ("v3.png", "v2.png"):
        scene = written(tmp_path, f"title: T\npremise: P\ncast: [{{card_file: {name}}}]\n")
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
        out = tmp_path / "out.png"
        picture = str(HERE / "v3-international.png")
        command("export-card", str(scene), "--picture", picture, "-o", str(out))
        card = load_card(out)
        assert card.whole == load_card(HERE / name).whole
        assert out.read_bytes().count(b"tEXt") + out.read_bytes().count(b"iTXt") == 1
    with pytest.raises(StudyError, match="not a PNG picture"):
        export_card(str(scene), picture=str(HERE / "v1.json"))


# -- card_file in a scene

SCENE = """\
title: On the quay
premise: It rains.
cast:
  - card_file: cards/v3.png
    secret: She can swim.
  - {name: Ana, role: who waits}
"""


def test_a_study_stores_the_character_and_not_the_path(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    card = tmp_path / "cards" / "v3.png"
    card.write_bytes((HERE / "v3.png").read_bytes())
    file = written(tmp_path, SCENE)
    study = load(file)
    hes = study.cells[0][2].cast[0]
    assert (hes.name, hes.secret, hes.role) == ("Hes", "She can swim.", "one of the cast")
    assert "Ana has missed the boat" in hes.card, "{{user}} is the first other character"
    assert "card_file" not in write_study(study)
    (before,) = [t.id for t in plan(study)]
    moved = tmp_path / "elsewhere.png"
    card.rename(moved)
    again = load(written(tmp_path, SCENE.replace("cards/v3.png", "elsewhere.png")))
    assert [t.id for t in plan(again)] == [before], "the path is not part of the id"
    (tmp_path / "v1.json").write_bytes((HERE / "v1.json").read_bytes())
    other = load(written(tmp_path, SCENE.replace("cards/v3.png", "v1.json")))
    assert [t.id for t in plan(other)] != [before], "the content is"
    validated = command("validate", str(tmp_path / "scene.yaml"))
    assert "good (1 trial)" in validated.stdout
    file.write_text(SCENE.replace("cards/v3.png", "elsewhere.png"), "utf-8")
    validated = command("validate", str(file))
    assert "shown, not obeyed: system_prompt" in validated.stderr


def test_a_study_may_cast_cards(tmp_path: Path) -> None:
    for name in ("v1.json", "emoji.json"):
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    written(tmp_path, "title: T\npremise: P\ncast: [{name: Ana, role: a}, {name: Bo, role: b}]\n")
    study = {
        "study": "cards",
        "scenes": ["scene.yaml"],
        "factors": {
            "who": {
                "as written": {},
                "Hesper": {"cast": [{"card_file": "v1.json"}, {"name": "Bo", "role": "b"}]},
                "Ana as Ember": {"cast": {"Ana": {"card_file": "emoji.json"}}},
            }
        },
    }
    file = written(tmp_path, write_yaml(study), "study.yaml")
    scenes = [scene for _, _, scene in load(file).cells]
    assert [s.cast[0].name for s in scenes] == ["Ana", "Hesper", "Ana"]
    assert "Bo has missed the boat" in scenes[1].cast[0].card
    assert scenes[2].cast[0].card.startswith("👩‍🚒 Ana 🔥🔥")
    file.write_text(write_yaml(study).replace("emoji.json", "no.json"), "utf-8")
    with pytest.raises(StudyError) as caught:
        load(file)
    message = str(caught.value)
    assert (
        "factors.who.Ana as Ember.cast.Ana.card_file: no.json:1:1: there is no such file" in message
    )
    assert message.startswith(f"{file}:")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/hostname", "the path of a card, relative to this file"),
        ("[a]", "the path of a card, relative to this file"),
        (".", "there is no such file"),
        ("hundred-kilobytes.json", "`card` may have 20,000; shorten it with `improv"),
    ],
)
def test_a_path_without_a_usable_card_is_an_error(path: str, message: str, tmp_path: Path) -> None:
    large = "hundred-kilobytes.json"
    (tmp_path / large).write_bytes((HERE / large).read_bytes())
    file = written(tmp_path, f"title: T\npremise: P\ncast: [{{card_file: {path}}}]\n")
    with pytest.raises(StudyError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:3:8: cast.0.card_file: ") or ":3:20:" in str(
        caught.value
    )
    assert message in str(caught.value)


def test_a_command_reads_no_card() -> None:
    with pytest.raises(
        StudyError, match="only the file of a scene or study can name a 'card_file'"
    ):
        load("cold-pass", {"cast": {"Rufina": {"card_file": "x.json"}}})


# -- macros and names


def test_macros_are_filled_the_same_way_each_time() -> None:
    text = "{{pick:a,b,c,d,e}}{{roll:1000}} {{random:x,y}} {{Char}}/{{ user }}/<USER>/<bot>"
    first = Filling("Ana", "Bo", "card").fill(text, "description")
    assert first == Filling("Ana", "Bo", "card").fill(text, "description")
    assert first.endswith(" Ana/Bo/Bo/Ana")
    elsewhere = {Filling("Ana", "Bo", str(i)).fill("{{pick:a,b,c}}", "x") for i in range(30)}
    assert elsewhere == {"a", "b", "c"}
    rolls = {int(Filling("A", "B", str(i)).fill("{{roll:d6}}", "x")) for i in range(60)}
    assert rolls == {1, 2, 3, 4, 5, 6}
    filling = Filling("Ana", "Bo", "c")
    assert filling.fill("{{a}} }}{{ {{{{}}}} {{weird thing}}", "x").startswith("{{a}}")
    assert "{{weird thing}}" in filling.left
    hostile = "{{" * 50_000 + "}}" * 50_000
    assert len(Filling("A", "B", "c").fill(hostile, "x")) <= len(hostile)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Ana", "Ana"),
        ("  ✨Ana✨ ", "Ana"),
        ("Ana (v2) [NSFW]", "Ana"),
        ("(Ana)", "Ana"),
        ("Dr. O'Neil-Smith, PhD", "Dr. O'Neil-Smith PhD"),
        ("2B", "No. 2B"),
        ("🔥", ""),
        ("", ""),
        ("Zoe\u0308", "Zoë"),
        ("李雷", "李雷"),
        ("नंदिनी", "नंदिनी"),
        ("a\x00b\u202ec", "abc"),
        ("x" * 99, "x" * 40),
        ("The Very Long Name Of One Who Has No End At All", "The Very Long Name Of One Who Has No"),
    ],
)
def test_names_for_a_stage(written: str, name: str) -> None:
    from improv.study.scene import CharacterSpec

    assert stage_name(written) == name
    if name:
        assert CharacterSpec(name=name, role="r").name == name


def test_names_in_capitals() -> None:
    names = ("O'BRIEN", "ANA-MARIA", "STEEL'S MOM", "DR. NO", "McCoy")
    assert [ordinary_case(name) for name in names] == [
        "O'Brien",
        "Ana-Maria",
        "Steel's Mom",
        "Dr. No",
        "McCoy",
    ]
    assert ordinary_case("MCCLANE", "And McClane runs.") == "McClane"
