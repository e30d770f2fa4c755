"""Plans: a wrong one is refused before anything is played, and its hash is that of its content."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from improv.errors import RunError, StudyError
from improv.models.budget import Budget
from improv.report.material import read_material
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.study.loader import load
from improv.study.plan import Plan
from improv.study.snapshot import read_study, write_study
from improv.study.trial import plan as trials_of
from tests.support.run import PLAN

OFF = Setup(ray="off")


def wrong(file: Path, old: str, new: str) -> list[str]:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(StudyError) as caught:
        load(file)
    file.write_text(text)
    return [str(p).replace(str(file), "k.yaml") for p in caught.value.problems]


def made(**changes: Any) -> Plan:
    fields: dict[str, Any] = {"hypothesis": "h", "outcome": {}, "blocks": 3}
    return Plan.model_validate(fields | changes)


# --- what is wrong with a plan


@pytest.mark.parametrize(
    ("old", "new", "at", "path", "what"),
    [
        (
            "plus: {author: live}",
            "plus: {auther: live}",
            "auther",
            "contrasts.0.plus.auther",
            "'auther' is not a factor (did you mean 'author'?)",
        ),
        (
            "minus: {author: none}",
            "minus: {author: nonne}",
            "author: nonne",
            "contrasts.0.minus.author",
            "'nonne' is not a level of 'author' (did you mean 'none'?)",
        ),
        (
            "plus: {order: round}",
            "plus: {order: rond}",
            "order: rond",
            "controls.0.equivalence.plus.order",
            "'rond' is not a level of 'order' (did you mean 'round'?)",
        ),
        (
            "measure: habit",
            "measure: habbit",
            "habbit",
            "outcome.measure",
            "no measure has this name",
        ),
        (
            "of_whom: Ana",
            "of_whom: Anna",
            "Anna",
            "outcome.of_whom",
            "nobody in any scene is called 'Anna' (did you mean 'Ana'?)",
        ),
        (
            "{of: broken, measure",
            "{of: phrasing, factor: phrases, measure",
            "",
            "",
            "the outcome 'phrasing' is tested by itself, without contrasts",
        ),
        (
            "of: broken,",
            "of: phrasing,",
            "{of: phrasing",
            "outcome",
            "'factor' goes with the outcome 'phrasing', which needs it",
        ),
        (
            "plus: {author: live},",
            "plus: [{author: live}, {order: round}],",
            "{name: live",
            "contrasts.0",
            "'plus' and 'minus' need the same number of mappings",
        ),
        (
            "margin: .1}",
            "margin: .1}, bound: {where: {}, at_most: .1}",
            "{name: orders",
            "controls.0",
            "give one of equivalence, chance, bound, icc, flat",
        ),
        (
            "{name: orders, equivalence: {plus: {order: round}, minus: {order: silence}, "
            "margin: .1}}",
            "{name: orders}",
            "{name: orders",
            "controls.0",
            "give one of",
        ),
        ("name: orders", "name: live against none", "", "", "are called 'live against none'"),
        (
            "{order: silence}, margin",
            "{arm: 'a: b'}, margin",
            "arm: 'a",
            "controls.0.equivalence.minus.arm",
            "'arm' is not a factor",
        ),
        ("  blocks: 10\n", "", "", "blocks", "this field is required"),
    ],
)
def test_a_plan_is_refused_with_the_place(
    planned: Path, old: str, new: str, at: str, path: str, what: str
) -> None:
    before = planned.read_text().replace(old, new, 1).partition(at)[0] if at else ""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    place = f"k.yaml:{line}:{column}: " if at else "k.yaml:"
    messages = wrong(planned, old, new)
    where = f": {'.'.join(filter(None, ('plan', path)))}: "
    assert any(p.startswith(place) and where in p and what in p for p in messages), (
        place,
        messages,
    )


def test_a_phrasing_plan_names_a_factor_of_the_study(study_file: Path) -> None:
    text = PLAN[: PLAN.index("  contrasts")] + "  blocks: 10\n"
    text = text.replace("of: broken", "of: phrasing, factor: orders")
    study_file.write_text(study_file.read_text() + text)
    (message,) = wrong(study_file, "kettles", "kettles")
    assert message.endswith(
        "plan.outcome.factor: 'orders' is not a factor (did you mean 'order'?)"
    ), message


def test_a_contrast_needs_a_condition_that_is_played(planned: Path) -> None:
    text = planned.read_text().replace("plus: {author: live}", "plus: {author: live, order: round}")
    planned.write_text(
        f"{text}cells: [{{author: live, order: silence}}, {{author: none, order: round}}]\n"
    )
    (message,) = wrong(planned, "kettles", "kettles")
    assert "plan.contrasts.0.plus: none of the conditions in 'cells' has" in message


def test_arm_is_no_name_for_a_factor_of_a_planned_study(planned: Path) -> None:
    text = planned.read_text().replace("  order:\n", "  arm:\n").replace("{order:", "{arm:")
    planned.write_text(
        text.replace("{arm: round-robin}", "{order: round-robin}").replace(
            "{arm: by-silence}", "{order: by-silence}"
        )
    )
    assert any("rename the factor 'arm'" in p for p in wrong(planned, "kettles", "kettles"))


def test_times_and_unpaired_scenes_take_one_mapping_a_side() -> None:
    two = [{"a": "x"}, {"a": "y"}]
    contrast = {"name": "c", "plus": two, "minus": two}
    assert made(contrasts=[contrast]).contrasts[0].plus == two
    same = {"name": "s", "equivalence": {"plus": two, "minus": two, "margin": 0.1}}
    for outcome in ({"of": "time"}, {"unit": "scene"}):
        with pytest.raises(ValidationError, match="one mapping a side"):
            made(contrasts=[contrast], outcome=outcome)
        with pytest.raises(ValidationError, match="one mapping a side"):
            made(controls=[same], outcome=outcome)
    with pytest.raises(ValidationError, match="'icc' goes with the outcome 'phrasing'"):
        made(controls=[{"name": "i", "icc": {"where": {}, "within": 0.1}}])


# --- the hash


def test_the_hash_is_of_the_content_and_not_of_its_layout(planned: Path) -> None:
    plan = load(planned).plan
    assert plan is not None
    data = plan.model_dump(mode="json", by_alias=True)
    upside_down = json.loads(json.dumps(dict(reversed(data.items()))))
    assert Plan.model_validate(upside_down).hash == plan.hash
    text = planned.read_text()
    listed = text.replace("plus: {author: live}", "plus: [{author:   'live'}]")
    planned.write_text(f"# a comment\n{listed}  alpha: 0.05\n")
    again = load(planned).plan
    assert again is not None and again.hash == plan.hash
    hashes = {plan.hash}
    for old, new in [
        ("The author matters.", "The author matters!"),
        ("of: broken", "of: broke"),
        ("margin: .1", "margin: .11"),
        ("blocks: 10", "blocks: 11"),
        ("{author: none}}", "{order: round}}"),
        ("  blocks: 10\n", "  blocks: 10\n  alpha: .01\n"),
        ("of_whom: Ana", "of_whom: Bo"),
        ("  blocks: 10\n", "  blocks: 10\n  exclude: {missing_above: .2}\n"),
        ("  blocks: 10\n", "  blocks: 10\n  stop: when we like it\n"),
    ]:
        assert old in text, old
        planned.write_text(text.replace(old, new))
        changed = load(planned).plan
        assert changed is not None
        hashes.add(changed.hash)
    assert len(hashes) == 10
    assert all(re.fullmatch("[0-9a-f]{32}", h) for h in hashes)


def test_the_hash_is_in_run_json_before_the_first_call(
    planned: Path, tmp_path: Path, httpserver: HTTPServer
) -> None:
    stored: list[str] = []

    def answer(_: Request) -> Response:
        (file,) = (tmp_path / "runs").glob("*/run.json")
        stored.append(json.loads(file.read_text())["plan_hash"])
        return Response('{"error": {"message": "no"}}', 400, content_type="application/json")

    httpserver.expect_request(re.compile("/v1/.*")).respond_with_handler(answer)
    url = httpserver.url_for("/v1")
    study = load(planned, {"model": {"model": "m", "base_url": url}})
    assert study.plan is not None
    run(study, runs=tmp_path / "runs", setup=Setup("off", limit=1))
    assert stored and set(stored) == {study.plan.hash}


def test_another_plan_is_exploratory_and_its_own_is_planned(planned: Path, tmp_path: Path) -> None:
    study = load(planned)
    folder = run(study, runs=tmp_path / "r", setup=OFF).folder
    own = read_material(folder).analysis
    assert own.planned and own.plan == study.plan
    planned.write_text(
        planned.read_text()
        .replace("{author: live}, minus", "{order: round}, minus")
        .replace("minus: {author: none}", "minus: {order: silence}")
    )
    other = read_material(folder, load(planned).plan).analysis
    assert not other.planned and len(other.findings) == 1
    # A plan that does not fit the study has contrasts without an estimate, and is no error.
    strange = made(
        contrasts=[{"name": "c", "plus": {"mood": "good"}, "minus": {"mood": "bad"}}],
        outcome={"measure": "habit"},
    )
    (finding,) = read_material(folder, strange).analysis.findings
    assert finding.estimate.why == "no condition is {mood: good}" and not finding.rejected


def test_a_run_whose_plan_was_changed_is_refused(planned: Path, tmp_path: Path) -> None:
    source: dict[str, Any] = {"file": str(planned), "patch": {}, "replicates": None, "planted": ""}
    few = Setup(ray="off", budget=Budget(calls=4))
    folder = run(load(planned), runs=tmp_path / "r", setup=few, source=source).folder
    before = planned.read_text()
    planned.write_text(before.replace("of: broken", "of: broke"))
    with pytest.raises(RunError, match=r"(?s)\+.*of: broke.*--anyway"):
        resume(folder, setup=OFF)
    planned.write_text(before)
    kept = Path(folder.path, "study.yaml")
    kept.write_text(kept.read_text().replace("The author matters.", "The author matters not."))
    with pytest.raises(RunError, match=r"(?s)matters not.*--anyway"):
        resume(folder, setup=OFF)
    # A run that goes on with --anyway has no planned analysis any more.
    assert resume(folder, setup=Setup(ray="off", anyway=True)).owed == 0
    assert not read_material(folder).analysis.planned


# --- blocks, and planted truths


def test_blocking_factors_make_scenes_within_which_conditions_are_compared(planned: Path) -> None:
    planned.write_text(
        planned.read_text()
        + """\
blocks:
  topic: {soup: {place: A soup kitchen}, law: {place: A court}}
  hour: {dawn: {time: dawn}, noon: {time: noon}, night: {time: night}}
"""
    )
    study = load(planned)
    slugs = [f"kettle/{t}/{h}" for t in ("soup", "law") for h in ("dawn", "noon", "night")]
    assert study.scenes == slugs
    assert {s: (sc.place, sc.time) for s, _, sc in study.cells}["kettle/law/noon"] == (
        "A court",
        "noon",
    )
    trials = trials_of(study)
    assert len(trials) == len({t.id for t in trials}) == 6 * 4 * 3
    blocks = {t.block for t in trials}
    assert blocks == {f"{slug}/{k}" for slug in slugs for k in range(3)}
    for block in blocks:
        mine = [t for t in trials if t.block == block]
        assert len({t.condition for t in mine}) == len(mine) == 4
        assert len({t.scene.place for t in mine}) == 1
    messages = wrong(planned, "soup: {place", "a/b: {place")
    assert messages == [
        "k.yaml:21:11: blocks.topic.a/b: the name of a blocking level cannot have a '/'"
    ]
    (message,) = wrong(planned, "{place: A court}", "{plce: A court}")
    assert "blocks.topic.law.plce: not a field (did you mean" in message


def test_a_planted_truth_is_laid_over_all_scenes_and_options_over_it(planned: Path) -> None:
    text = (
        planned.read_text()
        + """\
planted:
  effect: {turns: 4, model: {model: puppet, puppet: {alpha: .2}}}
  none: {model: {model: puppet, puppet: {alpha: .5, lpha: 1}}}
"""
    )
    planned.write_text(text)
    study = load(planned, {"turns": 3}, "effect")
    for _, _, scene in study.cells:
        assert scene.model.puppet is not None and scene.model.puppet.alpha == 0.2
        assert scene.turns == 3
    assert load(planned).cells[0][2].turns == 6
    assert {t.id for t in trials_of(load(planned, None, "effect"))}.isdisjoint(
        t.id for t in trials_of(load(planned))
    )
    with pytest.raises(
        StudyError, match=r"no planted truth is called 'efect'.*did you mean 'effect'"
    ):
        load(planned, None, "efect")
    with pytest.raises(StudyError) as caught:
        load(planned, None, "none")
    (message,) = {str(p) for p in caught.value.problems}
    assert f"{planned}:22:53: planted.none.model.puppet.lpha: not a field" in message
    with pytest.raises(StudyError, match="a scene plants no truth"):
        load(planned.with_name("kettle.yaml"), None, "effect")


def test_a_plan_comes_back_from_the_run_folder_as_it_was(planned: Path) -> None:
    planned.write_text(
        planned.read_text().replace(
            "  blocks: 10\n",
            """\
    - {name: guessed, chance: {measure: "probe:x", is: .25, margin: .1}}
    - {name: kept, bound: {where: {author: live}, at_most: .01}}
    - {name: flat, flat: {margin: .01}}
  blocks: 10
blocks: {topic: {soup: {place: A soup kitchen}}}
""",
        )
    )
    study = load(planned)
    again = read_study(write_study(study), "study.yaml")
    assert again == study and again.plan is not None and study.plan is not None
    assert again.plan.hash == study.plan.hash
    assert write_study(again) == write_study(study)
