"""Inspect logs, written with Inspect's writer, read with its reader and listed for its viewer."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from improv.errors import RunError
from improv.export.exporter import export, inspect_logs
from improv.export.inspect_log import eval_log
from improv.export.selection import SceneFilter, played_scenes, select_scenes
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from tests.support.export import busy_run
from tests.support.places import TOP


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


def test_a_condition_is_a_log_and_a_scene_a_sample(busy: RunFolder, tmp_path: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    exported = export(busy, "inspect", path=tmp_path / "logs")
    assert exported.written == {"logs": 2, "samples": 4}
    assert len(list_eval_logs(str(tmp_path / "logs"))) == 2, "what `inspect view` lists"
    log = read_eval_log(str(tmp_path / "logs/00-in-chat.eval"))
    assert (log.status, log.eval.task, log.eval.model) == ("success", "busy kettles", "puppet")
    assert log.eval.task_args == {"condition": "in chat", "heard": "in chat"}
    assert log.eval.metadata is not None and log.eval.metadata["played"] == "puppets"
    assert log.samples is not None
    assert [(s.id, s.epoch) for s in log.samples] == [("kettle", 1), ("kettle", 2)]
    sample = log.samples[0]
    row = busy.transcripts.trial(sample.metadata["trial"])
    assert row["condition"] == "in chat" and row["replicate"] == 0
    assert str(sample.input).startswith("Ana and Bo wait for a kettle")
    turns = busy.transcripts.read(row["trial"]).turns
    texts = [m.text for m in sample.messages]
    for turn in turns:
        assert any((turn.text or "…") in text for text in texts)
    kinds = Counter(m.role for m in sample.messages)
    assert kinds["assistant"] == sum(t.turn > 0 and t.kind in ("line", "silence") for t in turns)
    assert "BO: Ana, does it boil?" in texts and "(The kettle hums.)" in texts
    assert "ANA (aside to Bo): Bo, it hums." in texts
    note = next(a for t in turns for a in t.acts if a.kind == "note")
    assert f"(The author: note {note.to}: {note.text})" in texts


def test_the_input_of_a_sample_is_the_premise_of_its_scene(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    folder = open_run(TOP / "runs", "sample")
    export(folder, "inspect", SceneFilter(condition="no author"), tmp_path / "logs")
    (file,) = (tmp_path / "logs").iterdir()
    samples = read_eval_log(str(file)).samples
    assert samples is not None
    assert {s.id for s in samples} == {"cold-pass", "parlour"}
    for sample in samples:
        scene = folder.scene(sample.metadata["scene"], "no author")
        assert scene is not None and sample.input == scene.premise


def test_scores_and_tokens_are_the_runs_own(busy: RunFolder, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    export(busy, "inspect", path=tmp_path / "logs")
    log = read_eval_log(str(tmp_path / "logs/01-as-script.eval"))
    assert log.samples is not None and log.results is not None
    means = []
    for sample in log.samples:
        trial = sample.metadata["trial"]
        scores = busy.tables.read("scores", trial=trial).to_pylist()
        own = [
            s["value"]
            for s in scores
            if s["branch"] == "main" and s["measure"] == "habit:never_asks"
        ]
        read = [v for v in own if v is not None]
        assert sample.scores is not None
        assert sample.scores["habit:never_asks"].value == pytest.approx(sum(read) / len(read))
        means.append(sum(read) / len(read))
        calls = [c for c in busy.transcripts.calls(trial) if c.draw.branch == "main"]
        usage = sample.model_usage["puppet"]
        cached = usage.input_tokens_cache_read or 0
        assert usage.input_tokens + cached == sum(c.prompt_tokens or 0 for c in calls)
        assert usage.output_tokens == sum(c.completion_tokens or 0 for c in calls)
    (score,) = [s for s in log.results.scores if s.name == "habit:never_asks"]
    assert score.metrics["mean"].value == pytest.approx(sum(means) / 2)
    error = abs(means[0] - means[1]) / 2
    assert score.metrics["stderr"].value == pytest.approx(error)


def test_missing_scores_are_left_out_of_inspects_means(busy: RunFolder) -> None:
    first, second = played_scenes(select_scenes(busy, SceneFilter(condition="in chat")))
    row = {"measure": "m", "character": "Ana", "turn": 1, "evidence": ""}
    played = [
        replace(first, scores=[row | {"value": None}]),
        replace(second, scores=[row | {"value": 1.0}, row | {"value": None}]),
    ]
    about = {"run": "r", "study": "s", "created": "", "version": "1", "played": "puppets"}
    log = eval_log(played, about, {})
    nothing, half = log.samples
    assert math.isnan(nothing.scores["m"].value)
    assert nothing.scores["m"].explanation == "the mean of 0 of 1 scores, the others missing"
    assert half.scores["m"].value == 1.0
    (score,) = log.results.scores
    assert (score.scored_samples, score.unscored_samples) == (1, 1)
    assert {name: m.value for name, m in score.metrics.items()} == {"mean": 1.0}


def test_many_scenes_are_a_log_for_each_scene(busy: RunFolder) -> None:
    chosen = select_scenes(busy, SceneFilter())
    assert [(name, part.count) for name, part in inspect_logs(chosen)] == [
        ("00-in-chat", 2),
        ("01-as-script", 2),
    ]
    split = list(inspect_logs(chosen, most=1))
    assert [name for name, _ in split] == ["00-in-chat-kettle", "01-as-script-kettle"]
    assert sum(part.count for _, part in split) == chosen.count


def test_branches_are_samples_of_their_own(busy: RunFolder, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    export(busy, "inspect", SceneFilter(condition="in chat", branches=True), tmp_path / "logs")
    log = read_eval_log(str(tmp_path / "logs/00-in-chat.eval"))
    assert log.samples is not None
    assert len({(s.id, s.epoch) for s in log.samples}) == len(log.samples) == 10
    assert Counter(s.metadata["origin"] for s in log.samples)["regeneration"] == 2


def test_without_inspect_the_message_names_what_to_install(
    busy: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("inspect_ai", "inspect_ai.log"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match=r"pip install 'improv-theatre\[inspect\]'"):
        export(busy, "inspect", path=tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
