"""Conversations as chat JSONL: each has what one character saw and heard, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from improv.errors import RunError
from improv.export.block_store import BlockStore
from improv.export.exporter import export
from improv.export.messages import agent_lines, chat_messages, script_prompt
from improv.export.selection import SceneFilter, played_scenes, select_scenes
from improv.models.puppet.server import PuppetServer
from improv.records import Json
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.loader import load
from tests.support.export import busy_run, sent


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


def rows(path: Path) -> list[Json]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def heard(row: Json) -> str:
    return "\n".join(m["content"] for m in row["messages"] if m["role"] == "user")


def test_every_prompt_of_a_run_is_rebuilt_as_it_was_sent(busy: RunFolder) -> None:
    was = {(row["trial"], row["branch"]): prompts for row, prompts in sent(busy)}
    checked: Counter[str] = Counter()
    with BlockStore(busy) as book:
        for played in played_scenes(select_scenes(busy, SceneFilter(branches=True))):
            prompts = was[played.row["trial"], played.row["branch"]]
            shown = book.blocks_of(b for call in played.own for b in call.blocks)
            for call in played.own:
                draw = call.draw
                if played.row["origin"] == "regeneration":
                    draw = replace(draw, branch=played.row["parent"])
                prompt = prompts[draw]
                if call.mode == "chat":
                    said = agent_lines(played, draw.role, draw.purpose)
                    assert chat_messages(call, shown, said) == list(prompt.messages), draw.key
                else:
                    assert script_prompt(call, shown) == prompt.text, draw.key
                checked[f"{call.mode} {draw.purpose}"] += 1
                checked[played.row["origin"]] += 1
                checked["again"] += 0 < draw.attempt < 1000
            checked["withheld"] += any("withheld" in turn.cuts for turn in played.turns)
    for mode in ("chat", "script"):
        for purpose in ("line", "author", "diary", "envelope", "probe"):
            assert checked[f"{mode} {purpose}"], purpose
    assert all(checked[origin] for origin in ("main", "branch", "regeneration", "probe"))
    assert checked["again"] and checked["withheld"], "a rule had lines drawn again and withheld"


def test_a_conversation_is_one_characters_view(busy: RunFolder, tmp_path: Path) -> None:
    exported = export(busy, "jsonl", path=tmp_path / "chat.jsonl")
    views = rows(tmp_path / "chat.jsonl")
    assert exported.written == {"conversations": len(views)}
    for row in views:
        roles = [m["role"] for m in row["messages"]]
        assert roles[0] == "system" and "system" not in roles[1:]
        assert roles[-1] == "assistant"
        assert row["metadata"]["branch"] == "main"
        who = row["metadata"]["character"]
        others = {"Ana", "Bo", "Cy"} - {who}
        system = row["messages"][0]["content"]
        assert f"{who} has" in system or who == "Cy", "its own card"
        assert not any(f"{other} has" in system for other in others), "nobody else's"
        assert ("She has unplugged it." in system) == (who == "Ana")
        own = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert not any(line.startswith(f"{who.upper()}:") for line in own)
    aside = "(aside to Bo) Bo, it hums."
    hear = {r["metadata"]["character"] for r in views if aside in heard(r)}
    assert hear == {"Bo"}
    first = [r for r in views if r["metadata"]["session"] == 1]
    cy = [r for r in first if r["metadata"]["character"] == "Cy"]
    assert not any("The kettle hums" in heard(r) for r in cy), (
        "a character that came later did not hear it"
    )
    assert any("A note from the author to Ana" in heard(r) for r in views)
    assert not any(
        "A note from the author to Ana" in heard(r)
        for r in views
        if r["metadata"]["character"] != "Ana"
    )


def test_a_character_that_forgot_everything_begins_another_conversation(
    busy: RunFolder, tmp_path: Path
) -> None:
    export(busy, "jsonl", path=tmp_path / "chat.jsonl")
    later = [r for r in rows(tmp_path / "chat.jsonl") if r["metadata"]["session"] == 2]
    assert later
    for row in later:
        assert row["metadata"]["last_turn"] >= 4
        assert "A knock" not in heard(row)
        assert "(What " in heard(row), "the diary tells what it remembers"


def test_metadata_has_the_character_and_its_scores(busy: RunFolder, tmp_path: Path) -> None:
    export(busy, "jsonl", path=tmp_path / "chat.jsonl")
    views = rows(tmp_path / "chat.jsonl")
    metadata = next(r["metadata"] for r in views if r["metadata"]["character"] == "Bo")
    assert (
        metadata["run"] == busy.id
        and metadata["study"] == "busy kettles"
        and metadata["puppets"] is True
    )
    assert {"trial", "condition", "scene", "block", "levels", "model", "mode"} <= metadata.keys()
    (score,) = metadata["scores"]
    assert score["measure"] == "rule:short"
    kept = [
        s["value"]
        for s in busy.tables.read("scores", trial=metadata["trial"]).to_pylist()
        if s["branch"] == "main" and s["character"] == "Bo"
    ]
    read = [v for v in kept if v is not None]
    assert score["n"] == len(read) and score["missing"] == len(kept) - len(read)
    assert score["mean"] == pytest.approx(sum(read) / len(read))


def test_branches_are_exported_on_request_with_their_own_lines(
    busy: RunFolder, tmp_path: Path
) -> None:
    exported = export(busy, "jsonl", SceneFilter(branches=True), tmp_path / "all.jsonl")
    views = [r for r in rows(tmp_path / "all.jsonl") if r["metadata"]["branch"] != "main"]
    origins = Counter(r["metadata"]["origin"] for r in views)
    assert origins["regeneration"] == origins["probe"] == 4
    assert exported.scenes == 4 * 5
    louder = [r for r in views if "ANA, IT BOILS" in heard(r).upper()]
    assert louder, "an edited line is heard in its branch"
    probe = next(r for r in views if r["metadata"]["origin"] == "probe")
    assert "Does it boil?" in probe["messages"][-2]["content"]


def test_the_same_run_gives_the_same_bytes_also_trial_by_trial(
    busy: RunFolder, tmp_path: Path
) -> None:
    export(busy, "jsonl", path=tmp_path / "a.jsonl")
    export(busy, "jsonl", path=tmp_path / "b.jsonl")
    whole = (tmp_path / "a.jsonl").read_bytes()
    assert whole == (tmp_path / "b.jsonl").read_bytes()
    parts = b""
    for trial in sorted({r["metadata"]["trial"] for r in rows(tmp_path / "a.jsonl")}):
        export(busy, "jsonl", SceneFilter(trial), tmp_path / f"{trial}.jsonl")
        parts += (tmp_path / f"{trial}.jsonl").read_bytes()
    assert parts == whole
    only = export(busy, "jsonl", SceneFilter(condition="script"), tmp_path / "c.jsonl")
    assert only.scenes == 2
    assert {r["metadata"]["mode"] for r in rows(tmp_path / "c.jsonl")} == {"script"}


def test_datasets_reads_the_lines_too(busy: RunFolder, tmp_path: Path) -> None:
    from datasets import load_dataset

    export(busy, "jsonl", path=tmp_path / "chat.jsonl")
    read = load_dataset(
        "json",
        data_files=str(tmp_path / "chat.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    views = rows(tmp_path / "chat.jsonl")
    assert read["messages"][:] == [r["messages"] for r in views]


def test_failed_scenes_are_left_out_and_counted(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "r", setup=Setup(ray="off"))
    exported = export(result.folder, "jsonl", path=tmp_path / "x.jsonl")
    assert (exported.scenes, exported.failed) == (result.done, result.failed)
    table = result.folder.tables.read("trials").to_pylist()
    bad = {r["trial"] for r in table if r["status"] == "failed"}
    assert bad and not bad & {r["metadata"]["trial"] for r in rows(tmp_path / "x.jsonl")}
    with pytest.raises(RunError, match=r"no scene to export; all 1 failed: .*answered 400"):
        export(result.folder, "jsonl", SceneFilter(min(bad)), tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()
