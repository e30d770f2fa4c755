"""People as judges: the questions that a rater gets, and the ratings that they give.

A rater is a judge with the name "human:NAME". Raters get the same questions as a model, in the same
words, with planted lines among the played ones, and they do not see the conditions. Each rater has
a file of their own in the run's folder. Lines are only appended to it, and each is on the disk
before the next question: two raters never write to one file, and none to the verdicts of models. A
reader of the table of verdicts gets the ratings with it.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence

import orjson

from improv.errors import RunError
from improv.records import MAIN, Json, Transcript, seed_of
from improv.scoring.measures.calibration import calibration_items
from improv.scoring.measures.judge_item import Item, read_answer
from improv.scoring.measures.judge_prompts import ANSWER, GLOSSES
from improv.scoring.measures.questions import QUESTIONS
from improv.scoring.planted_lines import planted_lines
from improv.storage.run_folder import RunFolder
from improv.storage.run_ratings import HUMAN_PREFIX
from improv.study.design import Study
from improv.study.measure_spec import CALIBRATED, JUDGED_SCORERS, measure_family
from improv.study.plan import PLAYED_LINES, Outcome
from improv.study.scene import EVERYBODY, Scene
from improv.text import visible

_PLANTED_SCENES = 12
"""Scenes of each condition into which lines are planted."""
RATED_PLANTS = 10
"""Planted lines of each truth in each condition. Fewer could not show whether a rater can judge."""
MAX_NAME = 40
CANNOT_TELL = "unreadable"
"""The option that is recorded for a rater who cannot tell."""

_PlayedScene = tuple[Transcript, Scene, str, str]
"""A played scene: its transcript, the scene, the name of its file, its condition."""


def judge_name(name: str) -> str:
    """Return the name of a person as a judge. Raises RunError if `name` is not a valid name."""
    name = " ".join(visible(name).split())
    if not name or len(name) > MAX_NAME or not re.fullmatch(r"[\w .'’-]+", name):
        raise RunError(f"a name has 1 to {MAX_NAME} letters, digits, spaces, dots or dashes")
    return HUMAN_PREFIX + name


def rated_measures(study: Study) -> list[str]:
    """Return the measures that a person can rate on a study's scenes."""
    scenes = [scene for _, _, scene in study.cells]
    applies = {
        "state": any(c.traits for s in scenes for c in s.cast),
        "p2l": bool(scenes),
        "l2l": bool(scenes),
        "attribution": any(len(s.cast) > 1 for s in scenes),
        "secret": any(c.secret for s in scenes for c in s.cast),
    }
    return [m for m in JUDGED_SCORERS if applies[m]]


def rating_items(folder: RunFolder, study: Study, measure: str) -> list[Item]:
    """Return the items that every rater of a run gets for a measure: lines of the same blocks in
    each condition, drawn at random by the study's seed, and plants. Raises RunError."""
    lines = planted_lines()
    items: list[Item] = []
    plan = study.plan
    most = plan.played_lines if plan is not None else PLAYED_LINES
    planned = plan is not None and measure == measure_family(plan.outcome.measure)
    outcome = plan.outcome if plan is not None and planned else Outcome(measure=measure)
    for places in _places(folder, study, most).values():
        by_scene = [
            _shuffled([i for i in QUESTIONS[measure](t, s) if _is_read(i, outcome)], study.seed)
            for t, s, _, _ in places
        ]
        # The first line of each scene, then the second: as many blocks as there are lines.
        turns = [i for row in itertools.zip_longest(*by_scene) for i in row if i is not None]
        items += turns[:most]
        if measure in CALIBRATED:
            grounds = [
                (t, scene, lines(slug, scene)) for t, scene, slug, _ in places[:_PLANTED_SCENES]
            ]
            items += calibration_items(grounds, [measure], RATED_PLANTS)
    return items


def _is_read(item: Item, outcome: Outcome) -> bool:
    """Whether an outcome reads the verdict on an item."""
    return (
        outcome.of_whom in (EVERYBODY, item.character)
        and (item.turn is None or item.turn >= outcome.first)
        and (outcome.measure in (item.measure, measure_family(outcome.measure)))
    )


def _shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    return sorted(items, key=lambda i: seed_of("rated", seed, i.id))


def rater_order(items: Sequence[Item], conditions: dict[str, str], judge: str) -> list[Item]:
    """Return the items in a rater's own order, in which each condition and the plants are spread
    evenly, so that a rater who stops early has rated equal shares. `conditions` is by trial."""
    groups: dict[tuple[str, float | None], list[Item]] = {}
    for item in sorted(items, key=lambda i: seed_of("order", judge, i.id)):
        groups.setdefault((conditions.get(item.trial, ""), item.truth), []).append(item)
    placed = [
        ((k + seed_of("place", judge, item.id) / 2**31) / len(group), item.id, item)
        for group in groups.values()
        for k, item in enumerate(group)
    ]
    return [item for _, _, item in sorted(placed, key=lambda p: p[:2])]


def question_parts(item: Item) -> tuple[str, list[tuple[str, str]]]:
    """Return an item's question without its options, and the options in order, each with its
    meaning. The option CANNOT_TELL is left out."""
    listed = [f"- {o}" + (f": {GLOSSES[o]}" if o in GLOSSES else "") for o in item.options]
    text = item.text.removesuffix(ANSWER).rstrip()
    text = text.removesuffix("\n".join(listed)).rstrip()
    options = [(o, GLOSSES.get(o, "")) for o in item.options if o != CANNOT_TELL]
    return text, options


def add_rating(folder: RunFolder, item: Item, judge: str, answer: str, seconds: float) -> None:
    """Record a rater's answer to an item, "" for "cannot tell". It replaces the rater's earlier
    answer. Raises OSError, and RunError if the folder is not on this machine."""
    answer = answer or (CANNOT_TELL if CANNOT_TELL in item.options else "")
    verdict = read_answer(item, orjson.dumps({"answer": answer}).decode())
    now = time.time()
    row = {
        "trial": item.trial,
        "branch": item.branch,
        "turn": item.turn,
        "character": item.character,
        "measure": item.measure,
        "version": item.version,
        "judge": judge,
        "endpoint": "",
        "item": item.id,
        "prompt": item.text,
        "options": list(item.options),
        "reply": verdict.reply,
        "answer": verdict.answer,
        "value": verdict.value,
        "truth": item.truth,
        "evidence": item.evidence,
        "error": "",
        "prompt_tokens": None,
        "completion_tokens": None,
        "cost": None,
        "started": now - seconds,
        "latency": seconds,
    }
    folder.ratings.add(judge, row)


def retract_rating(folder: RunFolder, item: str, judge: str) -> None:
    """Withdraw a rater's answer to an item. Raises the errors of `add_rating`."""
    folder.ratings.add(judge, {"item": item, "judge": judge, "retracted": True})


def ratings_of(folder: RunFolder, judge: str) -> dict[str, Json]:
    """Return item → the rater's answer, in the order of the ratings."""
    ratings: dict[str, Json] = {}
    for row in folder.ratings.read():
        if row["judge"] == judge:
            ratings.pop(row["item"], None)
            if not row.get("retracted"):
                ratings[row["item"]] = row
    return ratings


def _places(folder: RunFolder, study: Study, most: int) -> dict[str, list[_PlayedScene]]:
    """Return finished scenes of each condition, of blocks that are drawn by the study's seed.

    Blocks that are whole come first, so that all conditions have lines of the same ones.
    """
    scenes = {(slug, condition.name): scene for slug, condition, scene in study.cells}
    columns = ["trial", "branch", "scene", "condition", "block", "status"]
    table = folder.tables.read("trials", columns=columns)
    played: dict[str, dict[str, tuple[str, str]]] = {}
    for trial, branch, slug, condition, block, status in zip(
        *(table[c].to_pylist() for c in columns), strict=True
    ):
        if branch == MAIN and status == "done" and (slug, condition) in scenes:
            played.setdefault(condition, {})[block] = (trial, slug)
    drawn = sorted(
        {block for blocks in played.values() for block in blocks},
        key=lambda block: (
            -sum(block in blocks for blocks in played.values()),
            seed_of("block", study.seed, block),
        ),
    )
    places: dict[str, list[_PlayedScene]] = {}
    for condition, blocks in sorted(played.items()):
        chosen = [blocks[block] for block in drawn if block in blocks][:most]
        places[condition] = [
            (folder.transcripts.read(trial), scenes[slug, condition], slug, condition)
            for trial, slug in chosen
        ]
    return places
