"""Replay: stored replies are played again, and the first difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from improv.models.puppet.server import PuppetServer
from improv.records import MAIN
from improv.runner.launch import run
from improv.runner.replay import Check, replay
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS
from improv.study.loader import load
from tests.support.branch import OFF, alter, differences, grow_in, rows, setting


@dataclass
class Recorded:
    """A played run with a branch and a regeneration, whose tables can be changed and restored."""

    folder: RunFolder
    server: PuppetServer
    branch: str
    regeneration: str
    tables: dict[str, pa.Table]

    def restore(self) -> None:
        for name, table in self.tables.items():
            self.folder.tables.write(name, table)


@pytest.fixture
def recorded(served: tuple[RunFolder, PuppetServer]) -> Recorded:
    folder, server = served
    (branch,) = grow_in(folder, "0", 3)
    (regeneration,) = grow_in(folder, "0", 4, again=True)
    server.asked.clear()
    tables = {name: folder.tables.read(name) for name in SCHEMAS if name != "limits"}
    assert differences(folder) == []
    return Recorded(folder, server, branch, regeneration, tables)


def test_replay_shows_a_changed_reply_or_turn(recorded: Recorded) -> None:
    folder = recorded.folder
    # A reply
    spoken = next(r for r in rows(folder, "turns", branch=MAIN, turn=2) if r["speaker"])
    alter(folder, "calls", setting(reply="I said nothing."), branch=MAIN, turn=2, purpose="line")
    (first, *_) = differences(folder, "0")
    assert first == (
        f"turn 2.0: text was {json.dumps(spoken['text'], ensure_ascii=False)}, "
        'comes out as "I said nothing."'
    )
    # The branch has the parent's turns, and not the replies that they were made of.
    assert differences(folder, f"0~{recorded.branch}") == []
    recorded.restore()
    alter(folder, "calls", setting(reply="I said that."), branch=recorded.regeneration)
    assert "turn 4." in differences(folder, f"0~{recorded.regeneration}")[0]
    recorded.restore()
    note = '{"note_to": "Ana", "note": "Lie.", "next": "Ana"}'
    alter(folder, "calls", setting(reply=note), branch=MAIN, turn=3, purpose="author")
    assert "turn 3: Ana would be shown" in differences(folder, "0")[0]
    assert "author" in differences(folder, f"0~{recorded.branch}")[0]
    recorded.restore()
    # A turn's text: the branch that shares it was shown something else, too
    alter(folder, "turns", setting(text="Boo."), branch=MAIN, turn=2, kind="line")
    assert differences(folder, "0")[0].startswith('turn 2.0: text was "Boo.", comes out as ')
    (other,) = differences(folder, f"0~{recorded.branch}")
    assert "would be shown, as block" in other and "BOO" in other.upper()
    recorded.restore()
    alter(folder, "turns", setting(heard_by=["Cy"]), branch=recorded.branch, kind="line")
    assert "heard_by was" in differences(folder, f"0~{recorded.branch}")[0]
    assert differences(folder, "0") == []
    recorded.restore()
    alter(folder, "turns", lambda matching: [], branch=MAIN, turn=6, kind="line")
    assert "has 5 lines where its trials have 6 turns" in differences(folder, "0")[0]
    alter(folder, "trials", setting(turns=5), branch=MAIN)
    assert "rows were recorded" in differences(folder, "0")[0]
    assert not recorded.server.asked


def test_replay_shows_a_changed_block_or_call(recorded: Recorded) -> None:
    folder = recorded.folder
    # A block shown: the list of a call, and the text of a block
    ids = next(r["blocks"] for r in rows(folder, "calls", branch=MAIN, turn=3, purpose="line"))
    alter(folder, "calls", setting(blocks=ids[1:]), branch=MAIN, turn=3, purpose="line")
    (difference,) = differences(folder, "0")
    assert difference.startswith("turn 3: ") and "would be shown, as block 1, the " in difference
    recorded.restore()
    alter(folder, "blocks", setting(text="You always lie."), id=ids[-2])
    (difference,) = differences(folder, "0")
    assert f"as block {len(ids) - 1}, " in difference and "'You always lie.'" in difference
    recorded.restore()
    alter(folder, "blocks", lambda matching: [], id=ids[-2])
    assert "where it was shown nothing" in differences(folder, "0")[0]
    recorded.restore()
    # A call that is missing, and one that nobody made
    made = len(rows(folder, "calls", branch=MAIN))
    alter(folder, "calls", lambda matching: [], branch=MAIN, turn=5, purpose="line")
    alter(folder, "trials", setting(calls=made - 1), branch=MAIN)
    (difference,) = differences(folder, "0")
    assert difference.startswith("turn 5: asks for") and "is not recorded" in difference
    recorded.restore()
    alter(
        folder,
        "calls",
        lambda calls: [*calls, calls[0] | {"attempt": 7}],
        branch=MAIN,
        turn=5,
    )
    alter(folder, "trials", setting(calls=made + 1), branch=MAIN)
    assert "turn 5: nothing asks for" in differences(folder, "0")[0]
    recorded.restore()
    alter(folder, "trials", setting(status="failed", failure="gone"), branch=MAIN)
    assert differences(folder, "0") == ["it failed when it was played (gone) and does not fail now"]
    recorded.restore()
    folder.update({"branches": []})
    assert "says what this branch changes" in differences(folder, f"0~{recorded.regeneration}")[0]
    assert not recorded.server.asked


def test_replay_steps_failed_scenes_to_where_they_failed(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    folder = run(study, runs=tmp_path / "r", setup=OFF).folder
    assert folder.meta()["failed"]
    checks = list(replay(folder))
    assert len(checks) == 12 and [c for c in checks if c.difference] == []
    assert {c.turns for c in checks if c.turns < 6}
    assert isinstance(checks[0], Check)
