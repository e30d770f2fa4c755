"""Writes a run as a folder that Hugging Face's `datasets` reads: Parquet tables and a dataset card.

The tables are copied from the run in pieces, so that a large run needs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from improv import files
from improv.export.document import escape_markdown
from improv.export.selection import Selection
from improv.records import Json
from improv.storage.schemas import SCHEMAS, conform

TABLES = ("turns", "trials", "calls", "blocks", "scores", "verdicts")
"""The tables of a dataset; `datasets` loads the first one if no name is given."""
_ROW_GROUP = 10_000
_Progress = Callable[[int, int], None]

TABLE_DESCRIPTIONS = {
    "trials": "One row for each scene that was played, and one for each of its branches.",
    "turns": "The lines and other acts of each scene, in order; `turn` 0 is the written opening.",
    "calls": "Every call to a model, with the ids of the blocks in its prompt.",
    "blocks": "The pieces of prompts; the id of each is a hash of its content.",
    "scores": "The score of each line by each measure; an empty `value` is missing.",
    "verdicts": "The answers of judges, models or people, and the texts that they judged.",
}
COLUMN_DESCRIPTIONS = {
    "trial": "id of the trial, a hash of its content",
    "branch": "`main`, or the id of a branch; rows that it shares are not repeated",
    "index": "index in the plan",
    "scene": "the scene's name",
    "title": "the scene's title",
    "condition": "the condition's name",
    "levels": "the level of each factor",
    "block": "scene and replicate, within which conditions are compared",
    "replicate": "number of the replicate, from 0",
    "origin": "`main`, `branch`, `regeneration` or `probe`",
    "parent": "the branch that it was made from",
    "fork": "the last turn that both share",
    "arm": "the arm of a planned branch",
    "edit": "the change that a branch makes, as JSON",
    "status": "`done` or `failed`",
    "failure": "message of the failure",
    "failure_kind": "kind of the failure",
    "failure_turn": "turn of the failure",
    "turn": "turn, from 1; in `scores` and `verdicts` empty for a whole scene",
    "seq": "order within a turn",
    "kind": "kind of the turn or block",
    "speaker": "the speaker; empty for a direction",
    "text": "the cleaned line, or the text of a block",
    "raw": "the reply before cleaning",
    "cuts": "the cleaning rules that changed the reply",
    "addressed": "the character that the line addresses",
    "by": "how the addressee is known: `said`, `name` or `order`",
    "aside": "whether only some characters hear it",
    "heard_by": "the characters that hear it",
    "acts": "the author's acts before it",
    "role": "a character's name, or `author`",
    "purpose": "purpose of the call: `line`, `author`, `probe`, `diary`, ...",
    "attempt": "number of the draw, if a line is drawn again",
    "model": "the requested model",
    "served": "the model that the endpoint names",
    "endpoint": "address of the endpoint, which you may not want to publish",
    "mode": "`chat` or `script`",
    "params": "parameters of the request, as JSON",
    "blocks": "ids of the blocks of the prompt, in order",
    "reply": "the raw reply",
    "finish_reason": "why the reply ended",
    "prompt_tokens": "tokens of the prompt",
    "completion_tokens": "tokens of the reply",
    "cached_tokens": "cached tokens of the prompt",
    "started": "time of sending, seconds since the epoch",
    "latency": "seconds to the whole reply",
    "waited": "seconds that it waited before it was sent",
    "retries": "number of retries",
    "retried": "reason of each retry",
    "error_kind": "kind of the error; empty if there is none",
    "estimated": "whether the tokens are estimated, because the endpoint gives no count",
    "reasoning": "what the model thought before the reply, where the endpoint says it",
    "reasoning_tokens": "tokens of the reply that were reasoning; empty if nobody says",
    "faults": "what is wrong with a call that succeeded, such as a reply without any text",
    "error": "message of the error; empty if there is none",
    "id": "hash of kind and text",
    "character": "the character of the line or of the state",
    "measure": "name of the measure",
    "version": "version of the measure or judge",
    "value": "the score; empty if it is missing",
    "evidence": "the text that the score is based on",
    "judge": "name of the judge; people are `human:NAME`, which you may not want to publish",
    "item": "hash of the text that was judged",
    "prompt": "the prompt of the judge",
    "options": "the options, in the order shown",
    "answer": "the option that the reply names",
    "truth": "the true answer, for planted lines",
    "cost": "cost in US dollars, if the price is known",
    "turns": "number of improvised lines and silences",
    "calls": "number of calls",
    "seconds": "duration in seconds",
}


def write_dataset(
    selection: Selection, folder: Path, run: Json, progress: _Progress
) -> dict[str, int]:
    """Write the tables and the card; return the number of rows of each table.

    Tables without rows are left out, since `datasets` cannot load them.
    """
    rows: dict[str, int] = {}
    blocks = None if selection.whole else _shown_block_ids(selection)
    for number, name in enumerate(TABLES):
        progress(number, len(TABLES))
        target = folder / f"{name}.parquet"
        rows[name] = _copy(_pieces(selection, name, blocks), name, target)
        if not rows[name]:
            files.remove_file(target)
    progress(len(TABLES), len(TABLES))
    rows = {name: n for name, n in rows.items() if n}
    files.write_file(folder / "README.md", dataset_card(rows, run))
    return rows


def dataset_card(rows: Mapping[str, int], run: Json) -> str:
    """Return the dataset card: front matter for `datasets`, then text for people."""
    lines = [*_front_matter(rows, run), f"# {escape_markdown(run['study'])}", ""]
    if run["question"]:
        lines += [escape_markdown(run["question"]), ""]
    lines += [*_warnings(run), *_contents(rows), *_origin(run)]
    lines += [
        "## Licence",
        "",
        "Not chosen. Before you publish this dataset, add `license:` to the front matter of this "
        "file, and check the licences of the scenes and the terms of the models.",
        "",
    ]
    return "\n".join(lines)


def _front_matter(rows: Mapping[str, int], run: Json) -> list[str]:
    """Return the YAML that `datasets` and the Hub read."""
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
    # JSON is valid YAML, and its quotes keep a name a text.
    pairs = [f"{key}: {orjson.dumps(value).decode()}" for key, value in front.items()]
    return ["---", *pairs, "---", ""]


def _contents(rows: Mapping[str, int]) -> list[str]:
    """Return the section with the columns of each table."""
    lines = [
        "## Contents",
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
            "| column | type | description |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{f.name}` | {_type(f.type)} | {_column_description(name, f.name)} |"
            for f in SCHEMAS[name]
        ]
        lines.append("")
    return lines


def _origin(run: Json) -> list[str]:
    """Return the section on how the run was made."""
    facts = {
        "Run": run["run"],
        "Played": run["created"],
        "Models": ", ".join(run["models"]),
        "Conditions": "; ".join(run["conditions"]),
        "Scenes": ", ".join(run["scenes"]),
        "Trials": run["counted"],
        "Made with": f"improv {run['version']}",
        "Plan": run["plan"],
    }
    listed = [f"- {what}: {escape_markdown(str(value))}" for what, value in facts.items() if value]
    return [
        "## Origin",
        "",
        *listed,
        "",
        "Every call was stored before its reply was used, and `turns` are computed from `calls`. "
        "A trial that failed has the `status` `failed` in `trials`.",
        "",
    ]


def _warnings(run: Json) -> list[str]:
    """Return warnings about the origin of the texts and about missing trials."""
    lines = [
        "Programs wrote all lines except the written openings.",
        "",
    ]
    if run["puppets"]:
        lines = [
            "> **Planted.** Puppets played this: fake models with a declared process. Their "
            "lines were written in advance, and no statistic of them is a finding about any "
            "language model.",
            "",
        ]
        if run["planted"]:
            lines[0] += f" What was planted: {escape_markdown(run['planted'])}."
    elif "embedded" in run["models"]:
        lines += [
            "> The embedded model of 135M parameters played this. It is for testing the program; "
            "nothing that it says is a finding.",
            "",
        ]
    if run["owed"]:
        lines += [
            f"> Not complete: {run['owed']:,} planned trials were not played when this dataset was "
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
    """Return the size category of the Hub, such as "1K<n<10K"."""
    names = ["1", "1K", "10K", "100K", "1M", "10M", "100M"]
    above = next((i for i in range(1, 7) if rows < 10 ** (i + 2)), 7)
    if above == 7:
        return "100M<n<1B"
    return "n<1K" if above == 1 else f"{names[above - 1]}<n<{names[above]}"


def _copy(pieces: Iterator[pa.Table], name: str, target: Path) -> int:
    """Write pieces of a table to a file; return the number of rows."""
    rows = 0
    with (
        files.open_for_writing(target) as whole,
        pq.ParquetWriter(
            whole, SCHEMAS[name], compression="zstd", write_page_checksum=True
        ) as sink,
    ):
        for piece in pieces:
            rows += len(piece)
            sink.write_table(conform(piece, name), row_group_size=_ROW_GROUP)
    return rows


def _pieces(selection: Selection, name: str, blocks: pa.Array | None) -> Iterator[pa.Table]:
    """Yield the rows of a table that belong to the selected trials, their branches included."""
    column, wanted = "trial", pa.array(sorted(selection.trials), pa.string())
    if name == "blocks" and blocks is not None:
        column, wanted = "id", blocks
    for part in selection.folder.tables.read_batches(name, SCHEMAS[name].names):
        yield part if selection.whole else part.filter(pc.is_in(part[column], value_set=wanted))


def _shown_block_ids(selection: Selection) -> pa.Array:
    """Return the ids of the blocks in the prompts of the selected trials."""
    wanted = pa.array(sorted(selection.trials), pa.string())
    shown = pa.array([], pa.string())
    for part in selection.folder.tables.read_batches("calls", ["trial", "blocks"]):
        part = part.filter(pc.is_in(part["trial"], value_set=wanted))
        ids = pc.list_flatten(part["blocks"]).cast(pa.string()).combine_chunks()
        shown = pa.concat_arrays([shown, *_chunks(ids)]).unique()
    return shown


def _chunks(ids: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
