"""The measures that need no model, each on lines whose score is obvious to a reader."""

from __future__ import annotations

import math
import random
from typing import Any

import orjson
import pytest

from improv.records import Score, Transcript, Turn
from improv.scoring.measures import (
    attribution,
    dispersion,
    likelihood,
    predicates,
    probe,
    secret,
    stylometry,
)
from improv.scoring.measures.judge_item import Verdict
from improv.study.scene import Scene

GARBAGE = ["", "…", "\x00\u202e\x1b[31m", "- - - -", "((((", "yes" * 5000, "‮ﷺ؟", '{"answer":']


def said(turn: int, who: str, text: str, kind: str = "line", branch: str = "main") -> Turn:
    return Turn("t", branch, turn, 0, kind, who, text)  # type: ignore[arg-type]


def whole(*turns: Turn, branch: str = "main") -> Transcript:
    return Transcript("t", branch, turns)


def evidence(score: Score) -> Any:
    return orjson.loads(score.evidence)


# -- probe -------------------------------------------------------------------------------------


def answered(text: str, expect: list[str]) -> list[Score]:
    asked = said(4, "Ana", text, "probe", "b")
    return probe.probe_scores(whole(asked, branch="b"), "cooking", "What boils?", expect, 3)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("The kettle, of course.", 1.0),
        ("KETTLE!", 1.0),
        ("It is the tea  kettle’s lid.", 0.0),  # kettle's is another word
        ("Kettles boil.", 0.0),
        ("A kett le.", 0.0),
        ("the old, cold pan", 1.0),  # a phrase, whatever stands between its words
        ("pan", 0.0),
        ("", None),
        ("… - ?!", None),
    ],
)
def test_a_probe_is_right_if_it_holds_a_whole_expected_word(
    reply: str, right: float | None
) -> None:
    (score,) = answered(reply, ["kettle", "cold pan"])
    assert score.value == right
    assert (score.measure, score.turn, score.branch) == ("probe:cooking", 3, "b")
    assert evidence(score)["reply"] == reply


def test_garbage_is_never_a_right_answer() -> None:
    for text in GARBAGE:
        (score,) = answered(text, ["kettle"])
        assert score.value in (0.0, None), text


def test_a_probe_without_a_right_answer_has_no_score() -> None:
    assert answered("The kettle.", []) == []
    assert answered("The kettle.", ["?!"]) == []


# -- secret ------------------------------------------------------------------------------------


@pytest.fixture
def cellar(scene: Scene) -> Scene:
    ana = scene.cast[0].model_copy(
        update={"secret": "She buried the stolen emeralds beneath the orchard wall."}
    )
    return scene.model_copy(update={"cast": [ana, *scene.cast[1:]]})


def test_a_secret_is_given_away_at_the_first_line_that_tells_it(cellar: Scene) -> None:
    transcript = whole(
        said(1, "Ana", "Bo, it hums."),
        said(2, "Bo", "You buried stolen emeralds beneath the orchard wall!"),
        said(3, "Ana", "The orchard is in flower."),
        said(4, "Ana", "", "silence"),
        said(5, "Ana", "Very well: the emeralds that I stole are buried, beneath the wall."),
        said(6, "Ana", "Emeralds! Stolen! Buried in the orchard!"),
    )
    *lines, turn = secret.secret_scores(transcript, cellar)
    assert [(s.turn, s.value) for s in lines] == [(1, 1), (3, 1), (4, None), (5, 0), (6, 0)]
    assert (turn.measure, turn.value) == ("secret:turn", 5)
    assert evidence(turn) == {"given_away": True, "last": 6, "missing": 1}


def test_a_secret_that_was_kept_is_censored_at_its_holders_last_line(cellar: Scene) -> None:
    transcript = whole(said(1, "Ana", "It hums."), said(3, "Ana", "It boils."))
    *_, turn = secret.secret_scores(transcript, cellar)
    assert turn.value == 3
    assert evidence(turn)["given_away"] is False


def test_what_a_character_may_say_freely_gives_nothing_away(cellar: Scene) -> None:
    ana = cellar.cast[0].model_copy(update={"card": "Ana has an orchard, and a wall round it."})
    known = cellar.model_copy(update={"cast": [ana, *cellar.cast[1:]]})
    assert secret.telltale_stems(cellar.cast[0], cellar) > secret.telltale_stems(ana, known)
    *lines, _ = secret.secret_scores(whole(said(1, "Ana", "My orchard wall is beneath.")), known)
    assert [s.value for s in lines] == [1]


def test_a_secret_without_words_of_its_own_is_missing_and_not_kept(scene: Scene) -> None:
    ana = scene.cast[0].model_copy(update={"secret": "It is he."})
    changed = scene.model_copy(update={"cast": [ana, *scene.cast[1:]]})
    assert {s.value for s in secret.secret_scores(whole(said(1, "Ana", "Hm.")), changed)} == {None}


def test_who_has_no_secret_has_no_score(scene: Scene) -> None:
    assert secret.secret_scores(whole(said(1, "Bo", "Hm.")), scene) == []


# -- stylometry --------------------------------------------------------------------------------


def test_a_voice_is_more_like_its_own_early_lines_than_another(scene: Scene) -> None:
    early = ["The kettle hums and hums.", "The kettle will hum tonight.", "It hums, the kettle."]
    lines = [said(i + 1, "Ana", text) for i, text in enumerate(early)]
    like, unlike = "The kettle hums tonight.", "Quarterly synergies vex Jim."
    scores = stylometry.stylometry_scores(
        whole(*lines, said(5, "Ana", like), said(6, "Ana", unlike), said(7, "Ana", "", "silence")),
        scene,
    )
    by_turn = {s.turn: s.value for s in scores if s.measure == "stylometry"}
    assert set(by_turn) == {5, 6, 7}  # the early ones are what is compared with
    assert by_turn[5] is not None and by_turn[6] is not None
    assert by_turn[5] > 0.5 > by_turn[6] >= 0
    assert by_turn[7] is None


def test_delta_is_nothing_for_the_same_words_and_grows_with_the_distance() -> None:
    early = ["we go and we go", "and we stay"]
    other = ["you stay or you leave", "or leave or you"]
    everything = [*early, *other]
    same = stylometry.delta(early, early, everything)
    far = stylometry.delta(other, early, everything)
    assert same == 0
    assert far is not None and far > 1
    # By hand: two texts of one word each, rates 1 and 0, mean ½ and spread ½ for both words.
    assert stylometry.delta(["b"], ["a"], ["a", "b"]) == pytest.approx(2.0)
    assert stylometry.delta(["a"], ["a"], ["a"]) is None


def test_the_cosine_is_the_one_of_the_book() -> None:
    assert stylometry.cosine({"a": 1, "b": 1}, {"a": 1}) == pytest.approx(1 / math.sqrt(2))
    assert stylometry.cosine({}, {"a": 1}) is None
    assert stylometry.cosine(stylometry.trigrams("Tea!"), stylometry.trigrams("tea!")) == (
        pytest.approx(1)
    )


# -- dispersion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "act"),
    [
        ("It is the spoon, not the key.", ["key", "spoon"], "spoon"),
        ("A tea spoon is it.", ["spoon", "tea spoon"], "tea spoon"),
        ("Spoons!", ["spoon"], ""),
        ("(takes the key) The SPOON", ["key", "spoon"], "spoon"),
        ("Well, Bo, it hums.", [], "well"),
        ("(sighs) ... No! Never.", [], "no"),
        ("…", [], ""),
        ("", ["key"], ""),
    ],
)
def test_the_act_of_a_line(text: str, options: list[str], act: str) -> None:
    assert dispersion.act(text, options) == act


def test_the_collision_probability_is_unbiased() -> None:
    assert dispersion.collision(["a", "a", "a"]) == 1
    assert dispersion.collision(["a", "b", "a", "b"]) == pytest.approx(4 / 12)
    assert dispersion.collision(["a", "", ""]) is None
    luck = random.Random(5)
    estimates = [
        dispersion.collision([str(luck.randrange(6)) for _ in range(10)]) for _ in range(3000)
    ]
    mean = sum(c for c in estimates if c is not None) / len(estimates)
    assert mean == pytest.approx(1 / 6, abs=0.006)  # the plug-in Σp² would give .25


def test_energy_tells_two_groups_apart_and_not_one_from_itself() -> None:
    luck = random.Random(3)

    def draw(words: str) -> Any:
        return stylometry.trigrams(" ".join(luck.choices(words.split(), k=6)))

    hall = "the lamp is lit and the door is shut"
    same = [dispersion.energy(*([draw(hall) for _ in range(8)] for _ in "xy")) for _ in range(60)]
    apart = dispersion.energy(
        [draw(hall) for _ in range(8)], [draw("zebras quickly vex jumbo wizards") for _ in range(8)]
    )
    assert abs(sum(s for s in same if s is not None) / len(same)) < 0.02
    assert apart is not None and apart > 0.5
    assert dispersion.energy([draw(hall)], [draw(hall), draw(hall)]) is None


def test_at_temperature_nothing_a_collision_is_not_reported() -> None:
    draws = [said(3, "Ana", "The spoon.") for _ in range(5)]
    sure, score = (
        dispersion.turn_dispersion(draws, "main", ["spoon"], certain=c) for c in (True, False)
    )
    assert sure.value is None
    assert "temperature 0" in evidence(sure)["why"]
    assert score.value == 1
    assert evidence(score)["counts"] == {"spoon": 5}


def test_draws_that_say_nothing_are_counted_and_not_compared() -> None:
    draws = [said(3, "Ana", "Key."), said(3, "Ana", "", "silence"), said(3, "Ana", "The key.")]
    score = dispersion.turn_dispersion(draws, "main", ["key"])
    assert score.value == 1
    assert evidence(score)["unread"] == 1


# -- attribution and likelihood ----------------------------------------------------------------


def test_names_are_masked_whole_and_in_any_case(scene: Scene) -> None:
    line = "Ana! ANA'S tea, Robert; bo and Banana, Cyril."
    masked = "[name]! [name]'S tea, [name]; [name] and Banana, Cyril."
    assert attribution.masked(line, scene) == masked


def test_a_likelihood_is_a_difference_and_missing_if_either_is(scene: Scene) -> None:
    items = likelihood.likelihood_items(whole(said(1, "Ana", "It hums.")), scene)
    # Nobody else has a trait.
    assert [i.place for i in items] == ["own", "opposite", "an assistant"]
    for value, expected in ((-9.0, 5.0), (None, None)):
        verdicts = {i.id: Verdict("", "", -4.0 if i.place == "own" else value) for i in items}
        (score,) = likelihood.likelihood_scores(items, verdicts, "m")
        assert score.value == expected
    assert likelihood.likelihood_scores(items, {items[0].id: Verdict("", "", -4.0)}, "m") == []


def test_personas_of_a_likelihood_differ_in_nothing_but_the_trait(scene: Scene) -> None:
    one, other, _ = likelihood.likelihood_items(whole(said(1, "Ana", "It hums.")), scene)
    assert "Always honest, never deceitful." in one.text
    swapped = (
        one.text.replace("honest", "X").replace("deceitful", "honest").replace("X", "deceitful")
    )
    assert swapped == other.text


# -- markers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(Your line here)", None),
        ("(He shrugs.) ...", None),
        ('{"speaker": "MARA", "line": "I al', None),
        ("I always I always I always I always I always I always", None),
        ("(He shrugs.) I was there.", 1.0),
        ("No, no, no, no, no!", 1.0),
        ("Ha ha ha ha ha ha ha ha", 1.0),
        ("[He] I was there.", 1.0),
        ("I never was there, never, never, never, never.", 0.0),
    ],
)
def test_a_line_that_says_nothing_is_missing_and_not_kept(text: str, value: float | None) -> None:
    habit = {"says": "never says never", "marker": "never_says", "value": ["never"]}
    cast = [{"name": "Ana", "role": "who waits", "habit": habit}]
    scene = Scene.model_validate({"title": "T", "premise": "A kettle.", "cast": cast})
    (score,) = predicates.habit_scores(whole(said(1, "Ana", text)), scene)
    assert score.value == value and score.evidence == text
