"""Writes docs/limits.md: how large files, studies and replies may be, from the code's constants."""

from __future__ import annotations

from improv.models.reply_body import MAX_REPLY_BYTES
from improv.stage.reply import MAX_LINE
from improv.storage import journal, run_record, table_file
from improv.study import limits, plain_data
from improv.study.importing.cards import card, container
from improv.study.yaml_source import KEPT_LIMITS, WRITTEN_LIMITS, Limits
from improv.text import REPLY_LIMIT

_HEAD = """
# Limits

A file may come from anybody, so its size is known before anything is built from it. Whatever is
beyond a limit is refused with a sentence that names the place, the value and the limit; nothing is
cut, except a line of a model that is too long: it ends after the last sentence that fits.
The limits of single fields are in [scenes.md](scenes.md) and
[studies-reference.md](studies-reference.md). `make reference` writes this page.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _HEAD.lstrip(),
            _table("Scenes, studies, edits and YAML cards", _yaml(WRITTEN_LIMITS)),
            _table(
                "Studies, counted before they are built",
                [
                    (
                        "trials, branches included",
                        f"{limits.MAX_TRIALS:,}; `--max-trials` raises it",
                    ),
                    (
                        "conditions × scenes",
                        f"{limits.MAX_TRIALS // limits.TRIALS_A_CELL:,}: one for "
                        f"{limits.TRIALS_A_CELL} trials of the limit",
                    ),
                    ("branches, regenerations and probes of a trial", f"{limits.MAX_BRANCHES:,}"),
                ],
            ),
            _table(
                "Cards and archives",
                [
                    ("a card's file", _size(container.MAX_FILE)),
                    ("characters of its JSON, unpacked", f"{card.MAX_TEXT:,}"),
                    ("levels of its JSON", f"{card.MAX_JSON_DEPTH}"),
                    ("chunks of a PNG", f"{container.MAX_CHUNKS:,}"),
                    ("the list of an archive's files", _size(container.MAX_LISTING)),
                ],
            ),
            _table("The study that a run folder keeps", _yaml(KEPT_LIMITS)),
            _table(
                "Other files of a run",
                [
                    ("`run.json`", _size(run_record.LARGEST)),
                    ("a line of a journal", _size(journal.LONGEST_LINE)),
                    ("rows of a table", f"{table_file.MOST_ROWS:,}"),
                ],
            ),
            _table(
                "Replies of an endpoint",
                [
                    ("a whole answer", _size(MAX_REPLY_BYTES)),
                    ("characters of the text that is read", f"{REPLY_LIMIT:,}"),
                    ("characters of a line", f"{MAX_LINE:,}"),
                ],
            ),
        ]
    )


def _yaml(limits: Limits) -> list[tuple[str, str]]:
    return [
        ("the file", _size(limits.bytes)),
        ("keys and values, with aliases unfolded", f"{limits.nodes:,}"),
        ("characters of one key or value", f"{limits.text:,}"),
        ("lists and mappings inside each other", f"{plain_data.MAX_DEPTH}"),
        ("numbers", f"finite; integers of {plain_data.MAX_BITS:,} bits"),
        ("text", "whole characters: no half of a surrogate pair"),
    ]


def _size(count: int) -> str:
    unit = 2**20 if count % 2**20 == 0 else 10**6
    return f"{count // unit} {'MiB' if unit == 2**20 else 'MB'}"


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"## {title}\n", "| what | at most |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {most} |" for what, most in rows), ""])
