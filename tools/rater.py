"""A simulated person, who rates the lines that the Rate room draws and knows puppets' sentences."""

from __future__ import annotations

import re

from improv.models.puppet.player import puppet_sentences
from improv.scoring.human_ratings import add_rating, judge_name, rating_items
from improv.scoring.measures.judge_item import Item
from improv.storage.run_folder import RunFolder
from improv.study.puppet_spec import Puppet

PERSON = judge_name("A puppet's friend")


def rate_lines(folder: RunFolder, measure: str) -> int:
    """Rate all lines that a person gets for a measure of a puppets' run; return how many."""
    items = rating_items(folder, folder.study(), measure)
    for item in items:
        add_rating(folder, item, PERSON, _answer(item), seconds=1.0)
    return len(items)


def _answer(item: Item) -> str:
    """Return the option that is true of a line, "" where no sentence of a puppet shows it."""
    truth = item.truth
    if truth is None:
        pole, opposite = puppet_sentences(Puppet())
        (line,) = re.findall(r"<line>\n(.*?)\n</line>", item.text, re.S)[-1:]
        shown = [v for v, side in ((0.0, opposite), (1.0, pole)) if any(s in line for s in side)]
        truth = shown[0] if shown else None
    return item.options[item.values.index(truth)] if truth is not None else ""
