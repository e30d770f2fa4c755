"""A run as a dataset: read by Hugging Face's own package, with a card that names its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from improv.export import huggingface
from improv.export.exporter import export
from improv.export.selection import SceneFilter
from improv.records import Json
from improv.storage.run_folder import RunFolder
from tests.support.export import busy_run

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


@pytest.fixture(scope="module")
def folder(busy: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hf") / "kettles"
    export(busy, "hf", path=place)
    return place


def front(text: str) -> Json:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def loaded(folder: Path, name: str, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), name, split="train", cache_dir=str(cache))


def test_parquet_goes_through_datasets_and_comes_back_the_same(
    busy: RunFolder, folder: Path, tmp_path: Path
) -> None:
    for name in ("turns", "trials", "calls", "blocks", "scores"):
        read = loaded(folder, name, tmp_path / "cache")
        table = busy.tables.read(name)
        assert len(read) == len(table) > 0
        read.to_parquet(str(tmp_path / f"{name}.parquet"))
        back = pq.read_table(tmp_path / f"{name}.parquet")
        assert back.schema.remove_metadata().equals(table.schema), name
        assert back.to_pylist() == table.to_pylist(), name


def test_the_card_lists_every_table_and_the_first_is_the_default(
    folder: Path, tmp_path: Path
) -> None:
    from datasets import get_dataset_config_names, load_dataset

    text = (folder / "README.md").read_text()
    head = front(text)
    names = [c["config_name"] for c in head["configs"]]
    assert names == ["turns", "trials", "calls", "blocks", "scores"]
    assert get_dataset_config_names(str(folder)) == names
    assert [c["default"] for c in head["configs"]] == [True, False, False, False, False]
    assert "license" not in head and "## Licence\n\nNot chosen." in text
    unnamed = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert "speaker" in unnamed.column_names
    for name in names:
        section = text.split(f"### {name}: ")[1].split("\n### ")[0]
        for column in pq.read_schema(folder / f"{name}.parquet"):
            row = next(r for r in section.splitlines() if r.startswith(f"| `{column.name}` |"))
            assert not row.endswith("|  |"), f"{name}.{column.name} is explained"


def test_the_card_says_that_puppets_played_and_what_is_missing(busy: RunFolder) -> None:
    about = {
        "run": "r",
        "study": "s | x\n# y",
        "question": "![p](http://x/p.png)?",
        "created": "",
        "models": ["puppet"],
        "puppets": True,
        "planted": "effect",
        "plan": "",
        "version": "1",
        "conditions": ["<b>"],
        "scenes": ["k"],
        "counted": "1 done, 2 failed",
        "owed": 3,
    }
    text = huggingface.dataset_card({"turns": 5}, about)
    assert "**Planted.** Puppets played this" in text and "What was planted: effect." in text
    assert "3 planned trials were not played" in text
    assert "1 done, 2 failed" in text
    assert "\n# y" not in text and "![p]" not in text and "<b>" not in text
    assert front(text)["pretty_name"] == "improv: s | x\n# y"
    real = huggingface.dataset_card(
        {"turns": 5}, about | {"puppets": False, "models": ["gpt"], "owed": 0}
    )
    assert "Planted" not in real and "not played when" not in real
    small = huggingface.dataset_card(
        {"turns": 5}, about | {"puppets": False, "models": ["embedded"]}
    )
    assert "135M" in small
    assert huggingface.dataset_card({"turns": 5_000}, about).count("1K<n<10K") == 1


def test_one_condition_has_its_rows_and_the_blocks_that_they_showed(
    busy: RunFolder, tmp_path: Path
) -> None:
    exported = export(busy, "hf", SceneFilter(condition="as script"), tmp_path / "part")
    trials = pq.read_table(tmp_path / "part/trials.parquet").to_pylist()
    assert {t["condition"] for t in trials} == {"as script"}
    assert {t["branch"] for t in trials} > {"main"}, "branches are exported with their trial"
    calls = pq.read_table(tmp_path / "part/calls.parquet")
    assert set(calls["mode"].to_pylist()) == {"script"}
    shown = set(calls["blocks"].combine_chunks().flatten().to_pylist())
    assert set(pq.read_table(tmp_path / "part/blocks.parquet")["id"].to_pylist()) == shown
    assert exported.written["calls"] == len(calls) < len(busy.tables.read("calls"))


def test_failed_trials_stay_in_the_tables(busy: RunFolder, tmp_path: Path) -> None:
    table = busy.tables.read("trials")
    at = table.schema.get_field_index("status")
    mains = [branch == "main" for branch in table["branch"].to_pylist()]
    status = ["failed" if i == mains.index(True) else "done" for i in range(len(mains))]
    changed = table.set_column(at, "status", pa.array(status, pa.string()))
    place = tmp_path / "runs" / busy.id
    place.mkdir(parents=True)
    for file in Path(busy.path).glob("*.*"):
        (place / file.name).write_bytes(file.read_bytes())
    pq.write_table(changed, place / "trials.parquet")
    meta = orjson.loads((place / "run.json").read_bytes()) | {"status": "playing", "trials": 9}
    (place / "run.json").write_bytes(orjson.dumps(meta))
    other = RunFolder(busy.fs, str(place), str(place.parent))
    exported = export(other, "hf", path=tmp_path / "hf")
    assert (exported.failed, exported.playing, exported.owed) == (1, True, 5)
    assert pq.read_table(tmp_path / "hf/trials.parquet").equals(changed)
