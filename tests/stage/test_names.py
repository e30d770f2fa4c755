"""Names as models write them: cues, addressees and labels in the forms that people use."""

from __future__ import annotations

import unicodedata

import pytest

from improv.stage.addressee import find_addressee
from improv.stage.names import owners, short_forms
from improv.stage.reply import clean

CLERKS = ["Chandler Voss", "Ines Quill", "Bartholomew Reed"]
SCRIPTS = ["राम", "सीता", "أحمد", "ليلى", "สมชาย", "มาลี", "李明", "김민수"]


def addressed(text: str, speaker: str, names: list[str]) -> str:
    return find_addressee(text, speaker, [(n, ()) for n in names], "", names)[0]


def test_a_first_name_is_a_cue() -> None:
    reply = "Chandler: I counted the stairs.\nInes: Nothing of the kind."
    line = clean(reply, "Chandler Voss", CLERKS)
    assert line.text == "I counted the stairs." and line.cuts == ("cue", "others")
    assert clean("CHANDLER: Yes.", "Chandler Voss", CLERKS).text == "Yes."
    assert clean("chandler: Yes.", "Chandler Voss", CLERKS).text == "Yes."


def test_a_name_that_stands_alone_above_its_line_is_a_cue() -> None:
    for name in ("CHANDLER VOSS", "Chandler", "CHANDLER", "**Chandler Voss**"):
        line = clean(f"{name}\nYes, I did.\nINES QUILL\nNo.", "Chandler Voss", CLERKS)
        assert line.text == "Yes, I did." and "cue" in line.cuts


def test_the_line_of_somebody_who_is_not_in_the_cast_is_not_joined() -> None:
    reply = "Ines: Keep your coat on.\nOld Nurse (softly): Hush.\nInes: Why?"
    assert clean(reply, "Ines Quill", CLERKS).text == "Keep your coat on."
    # Without a cue of its own a second line may be the speaker's.
    assert clean("Remember this.\nOne thing: Run.", "Ines Quill", CLERKS).text.endswith("Run.")


@pytest.mark.parametrize(
    ("text", "whom"),
    [
        ("Ines, is this yours?", "Ines Quill"),
        ("What do you say, Ines?", "Ines Quill"),
        ("What do you say, Quill?", "Ines Quill"),
        ("INES, LOOK.", "Ines Quill"),
        ("(to Ines) Is this yours?", "Ines Quill"),
    ],
)
def test_a_first_name_is_an_addressee(text: str, whom: str) -> None:
    assert addressed(text, "Bartholomew Reed", CLERKS) == whom


def test_a_name_that_two_have_is_nobodys() -> None:
    cast = (("Ana Reed", ()), ("Ana Cole", ()), ("Tom Reed", ("Red",)))
    forms = owners(cast)
    assert "ana" not in forms and "reed" not in forms
    assert (forms["cole"], forms["tom"], forms["red"]) == ("Ana Cole", "Tom Reed", "Tom Reed")
    assert addressed("Ana, come here.", "Tom Reed", ["Ana Reed", "Ana Cole", "Tom Reed"]) == ""
    # It is the speaker's own cue nevertheless, because nobody else is due.
    assert clean("Ana: Here.", "Ana Reed", ["Ana Reed", "Ana Cole"]).text == "Here."


def test_an_article_or_a_title_is_no_first_name() -> None:
    assert short_forms("The Porter") == ["Porter"]
    assert short_forms("Dr. Maria Okafor") == ["Maria Okafor", "Okafor", "Maria"]
    assert short_forms('Bartholomew "Bart" Reed')[-1] == "Bartholomew"


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_of_every_script_are_cues(name: str) -> None:
    other = next(n for n in SCRIPTS if n != name)
    line = clean(f"{name}: !?… 1.\n{other}: 2.", name, [name, other])
    assert line.text == "!?… 1."
    assert clean(f"{other}：Ⅱ。", name, [name, other]).text == ""


@pytest.mark.parametrize(
    ("text", "whom"),
    [
        ("सीता, इधर आओ।", "सीता"),
        ("सुनो। सीता, बैठो।", "सीता"),
        ("يا ليلى، تعالي!", "ليلى"),
        ("ليلى؟", "ليلى"),
        ("มาลี มานี่หน่อย", ""),
        ("มาลี, มานี่หน่อย", "มาลี"),
        ("「李明，你来。」", "李明"),
        ("你好！李明：过来。", "李明"),
    ],
)
def test_names_of_every_script_are_called(text: str, whom: str) -> None:
    assert addressed(text, "राम", ["राम", "सीता", "ليلى", "มาลี", "李明"]) == whom


def test_a_name_does_not_end_within_a_letter() -> None:
    # रामायण is an epic; the vowel after राम belongs to its last letter.
    assert addressed("रामा, आओ।", "सीता", ["राम", "सीता", "ليلى"]) == ""
    assert addressed("राम, आओ।", "सीता", ["राम", "सीता", "ليلى"]) == "राम"


def test_a_name_is_known_composed_or_not() -> None:
    apart = unicodedata.normalize("NFD", "René")
    assert clean(f"{apart}: Oui.", "René", ["René", "Bo"]).text == "Oui."
    assert addressed(f"{apart}, viens.", "Bo", ["René", "Bo", "Cy"]) == "René"
