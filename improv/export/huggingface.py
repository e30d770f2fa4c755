"""A run as a folder that Hugging Face's `datasets` reads: its tables as Parquet, and a card.

The tables are the run's own, row for row, in pieces, so that a large run needs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from improv.export.document import escape_markdown
from improv.export.selection import Selection
from improv.records import Json
from improv.storage.schemas import SCHEMAS, conform

TABLES = ("turns", "trials", "calls", "blocks", "scores", "verdicts")
"""The tables that go out, the first of them the one that is loaded when none is named."""
_ROW_GROUP = 10_000
_Progress = Callable[[int, int], None]

TABLE_DESCRIPTIONS = {
    "trials": "One row for each scene that was played, and for each branch of one.",
    "turns": "What was said and done, in order: `turn` 0 is the written opening.",
    "calls": "Every call to a model, with the ids of the blocks that its prompt was made of.",
    "blocks": "The pieces of prompts, each once, by a hash of its content.",
    "scores": "What each measure read from each line; an empty `value` is missing, not consistent.",
    "verdicts": "What judges said, models and people, with what they read.",
}
COLUMN_DESCRIPTIONS = {
    "trial": "id of the trial, a hash of its content",
    "branch": "`main`, or the id of a branch, whose rows are its own alone",
    "index": "place in the plan",
    "scene": "the scene's name",
    "title": "the scene's title",
    "condition": "the condition's name",
    "levels": "the level of each factor",
    "block": "what conditions are compared within: scene and replicate",
    "replicate": "which replicate, from 0",
    "origin": "`main`, `branch`, `regeneration` or `probe`",
    "parent": "the branch that it parted from",
    "fork": "the last turn that they share",
    "arm": "the arm of a planned branch",
    "edit": "what a branch changes, as JSON",
    "status": "`done` or `failed`",
    "failure": "why it failed",
    "failure_kind": "the same in a word",
    "failure_turn": "at which turn",
    "turn": "turn, from 1; in `scores` and `verdicts` empty for a whole scene",
    "seq": "order within a turn",
    "kind": "what kind of turn, or of block",
    "speaker": "who speaks; empty for a direction",
    "text": "what is said, cleaned; of a block, its text",
    "raw": "the model's reply as it was",
    "cuts": "the rules of cleaning that applied",
    "addressed": "whom the line speaks to",
    "by": "how that is known: `said`, `name` or `order`",
    "aside": "whether only some hear it",
    "heard_by": "who hears it",
    "acts": "what the author did before it",
    "role": "a character's name, or `author`",
    "purpose": "what was asked for: `line`, `author`, `probe`, `diary`, ...",
    "attempt": "which draw of several",
    "model": "the model that was asked for",
    "served": "the model that the endpoint says it was",
    "endpoint": "the address that was asked, which you may not want to publish",
    "mode": "`chat` or `script`",
    "params": "what was sent beside the prompt, as JSON",
    "blocks": "ids of the blocks that were shown, in order",
    "reply": "the raw reply",
    "finish_reason": "why it ended",
    "prompt_tokens": "tokens of the prompt",
    "completion_tokens": "tokens of the reply",
    "cached_tokens": "tokens of the prompt that were cached",
    "started": "when it was sent, seconds since the epoch",
    "latency": "seconds to the whole reply",
    "waited": "seconds for leave to send",
    "retries": "how often it was tried again",
    "retried": "why, each time",
    "error_kind": "what went wrong, in a word; empty where nothing did",
    "error": "what went wrong; empty where nothing did",
    "id": "hash of kind and text",
    "character": "whose line, or whose state",
    "measure": "what was measured",
    "version": "of the measure, or of the judge",
    "value": "the score; empty where it could not be read",
    "evidence": "what it was read from",
    "judge": "which judge; people are `human:NAME`, which you may not want to publish",
    "item": "what was judged, a hash",
    "prompt": "what the judge read",
    "options": "the options in the order shown",
    "answer": "the option that was read in the reply",
    "truth": "of planted lines, what is true",
    "cost": "in dollars, where the price is known",
    "turns": "lines and silences that were played",
    "calls": "calls that were made",
    "seconds": "how long it took",
}


def write_dataset(
    selection: Selection, folder: Path, run: Json, progress: _Progress
) -> dict[str, int]:
    """Write the tables and the card; return how many rows each table has.

    Tables without rows are left out, since nothing could be read from them.
    """
    rows: dict[str, int] = {}
    blocks = None if selection.whole else _shown_block_ids(selection)
    for number, name in enumerate(TABLES):
        progress(number, len(TABLES))
        target = folder / f"{name}.parquet"
        rows[name] = _copy(_pieces(selection, name, blocks), name, target)
        if not rows[name]:
            target.unlink()
    progress(len(TABLES), len(TABLES))
    rows = {name: n for name, n in rows.items() if n}
    temporary = folder / ".README.md.tmp"
    temporary.write_text(dataset_card(rows, run), encoding="utf-8")
    temporary.replace(folder / "README.md")
    return rows


def dataset_card(rows: Mapping[str, int], run: Json) -> str:
    """Return the dataset card: front matter that `datasets` reads, then what a reader needs."""
    said = escape_markdown
    size = next(iter(rows.values()))
    front = {
        "pretty_name": f"improv: {run['study']}",
        "tags": ["improv", "role-play", "dialogue", "multi-agent", "synthetic"],
        "task_categories": ["text-generation"],
        "size_categories": [_category(size)],
        "configs": [
            {"config_name": name, "data_files": f"{name}.parquet", "default": name == TABLES[0]}
            for name in rows
        ],
    }
    lines = ["---"]
    # JSON is YAML, and nothing in a name can be read as anything else.
    lines += [f"{key}: {orjson.dumps(value).decode()}" for key, value in front.items()]
    lines += ["---", "", f"# {said(run['study'])}", ""]
    if run["question"]:
        lines += [said(run["question"]), ""]
    lines += _warnings(run)
    lines += [
        "## What is in it",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'turns = load_dataset("path/to/this/folder", "{next(iter(rows))}", split="train")',
        "```",
        "",
    ]
    for name, count in rows.items():
        lines += [
            f"### {name}: {count:,} rows",
            "",
            TABLE_DESCRIPTIONS[name],
            "",
            "| column | type | what it is |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{f.name}` | {_type(f.type)} | {_column_description(name, f.name)} |"
            for f in SCHEMAS[name]
        ]
        lines.append("")
    lines += ["## How it was made", ""]
    told = {
        "Run": run["run"],
        "Played": run["created"],
        "Models": ", ".join(run["models"]),
        "Conditions": "; ".join(run["conditions"]),
        "Scenes": ", ".join(run["scenes"]),
        "Trials": run["counted"],
        "Made with": f"improv {run['version']}",
        "Plan": run["plan"],
    }
    lines += [f"- {what}: {said(str(value))}" for what, value in told.items() if value]
    lines += [
        "",
        "Every call was journaled before its reply was used; `turns` follow from `calls`. "
        "A trial that failed is a row of `trials` whose `status` says so.",
        "",
        "## Licence",
        "",
        "Not chosen. Whoever publishes this adds `license:` to the lines above, and minds what "
        "the licences of the scenes and the terms of the models ask.",
        "",
    ]
    return "\n".join(lines)


def _warnings(run: Json) -> list[str]:
    """Say what the texts are not."""
    lines = [
        "Every line was written by a program, none by a person, but for the written openings.",
        "",
    ]
    if run["puppets"]:
        lines = [
            "> **Planted.** Puppets played this: fake models with a declared process. What "
            "they say was written in advance, and no statistic of it is a finding about any "
            "language model.",
            "",
        ]
        if run["planted"]:
            lines[0] += f" What was planted: {escape_markdown(run['planted'])}."
    elif "embedded" in run["models"]:
        lines += [
            "> Played with the embedded model of 135M parameters: it shows that everything "
            "works, and nothing it says is a finding.",
            "",
        ]
    if run["owed"]:
        lines += [
            f"> Not complete: {run['owed']:,} planned trials were not played when this was "
            "written.",
            "",
        ]
    return lines


def _column_description(table: str, column: str) -> str:
    if (table, column) in {("verdicts", "prompt"), ("verdicts", "turn")}:
        return COLUMN_DESCRIPTIONS[column].partition(";")[0]
    return COLUMN_DESCRIPTIONS.get(column, "")


def _type(kind: pa.DataType) -> str:
    text = str(kind).replace("element: ", "").replace("item: ", "").replace("child 0, ", "")
    return f"`{text}`"


def _category(rows: int) -> str:
    """Return the size as the Hub has it: "1K<n<10K"."""
    names = ["1", "1K", "10K", "100K", "1M", "10M", "100M"]
    above = next((i for i in range(1, 7) if rows < 10 ** (i + 2)), 7)
    if above == 7:
        return "100M<n<1B"
    return "n<1K" if above == 1 else f"{names[above - 1]}<n<{names[above]}"


def _copy(pieces: Iterator[pa.Table], name: str, target: Path) -> int:
    """Write pieces of a table to a file that gets its name when it is whole."""
    temporary = target.with_name(f".{target.name}.tmp")
    rows = 0
    try:
        with pq.ParquetWriter(
            temporary, SCHEMAS[name], compression="zstd", write_page_checksum=True
        ) as sink:
            for piece in pieces:
                rows += len(piece)
                sink.write_table(conform(piece, name), row_group_size=_ROW_GROUP)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _pieces(selection: Selection, name: str, blocks: pa.Array | None) -> Iterator[pa.Table]:
    """Yield a table's rows that belong to the scenes that are wanted: branches with their trial."""
    column, wanted = "trial", pa.array(sorted(selection.trials), pa.string())
    if name == "blocks" and blocks is not None:
        column, wanted = "id", blocks
    for part in selection.folder.tables.read_batches(name, SCHEMAS[name].names):
        yield part if selection.whole else part.filter(pc.is_in(part[column], value_set=wanted))


def _shown_block_ids(selection: Selection) -> pa.Array:
    """Return the ids of the blocks that the calls of these scenes showed."""
    wanted = pa.array(sorted(selection.trials), pa.string())
    found = pa.array([], pa.string())
    for part in selection.folder.tables.read_batches("calls", ["trial", "blocks"]):
        part = part.filter(pc.is_in(part["trial"], value_set=wanted))
        ids = pc.list_flatten(part["blocks"]).cast(pa.string()).combine_chunks()
        found = pa.concat_arrays([found, *_chunks(ids)]).unique()
    return found


def _chunks(ids: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
