"""Damages a played run in many ways: each command is right or says what is wrong."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from improv.errors import ImprovError, RunError
from improv.export.exporter import export
from improv.records import Json
from improv.report.doubts import undecided_reasons
from improv.report.material import read_material
from improv.runner.launch import resume
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.checksums import CHECKSUMS_FILE
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.storage.schemas import SCHEMAS, TRIAL_TABLES
from tests.support.export import busy_run
from tests.support.run import OFF
from tests.support.weather import command

TABLES = [*TRIAL_TABLES, "verdicts"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = busy_run(tmp_path_factory.mktemp("whole"))
    score(folder, judges=Judges("puppet"))
    return folder


@pytest.fixture
def copy(whole: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole.path, tmp_path / "runs" / "x")
    return open_run(tmp_path / "runs", "x")


def file_of(folder: RunFolder, name: str) -> Path:
    return folder.local / f"{name}.parquet"


def rewrite(folder: RunFolder, name: str, column: str, values: pa.Array) -> None:
    """Write a table anew with other values in a column, as another program would."""
    table = pq.read_table(file_of(folder, name))
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, values), file_of(folder, name))


def damages(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """Yield the content of a file with a bit flipped, cut off, or replaced by something else."""
    for place in [dice.randrange(len(data)), len(data) - 1 - dice.randrange(min(len(data), 900))]:
        yield data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
    yield data[: dice.randrange(len(data))]
    yield dice.choice([b"", b"null", b"[[]]", b"\xff\xfe\x00", b'{"a":' * 3000, b"PAR1PAR1"])


@pytest.mark.parametrize(
    "name",
    [*(f"{t}.parquet" for t in TABLES), "run.json", CHECKSUMS_FILE, "study.yaml"],
)
def test_a_damaged_file_is_harmless_or_named(name: str, copy: RunFolder) -> None:
    file, dice = copy.local / name, random.Random(name)
    data, runs = file.read_bytes(), ("--runs", copy.root)
    out = str(copy.local.parent.parent / "out.jsonl")
    for damaged in [*damages(data, dice), None]:
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        # `command` fails on any exception but the end of a command.
        command("list", *runs, code=0)
        command("show", "x/0", "--prompts", "--notes", *runs, code=None)
        command("export", "x", "--to", "jsonl", "-o", out, "--force", *runs, code=None)
        with contextlib.suppress(ImprovError):
            read_material(copy)
        file.write_bytes(data)


@pytest.mark.parametrize("name", TABLES)
def test_a_changed_byte_in_a_page_is_never_other_data(name: str, copy: RunFolder) -> None:
    before = copy.tables.read(name)
    file, dice = file_of(copy, name), random.Random(name)
    data = file.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for _ in range(20):
        place = dice.randrange(4, len(data) - footer)
        changed = data[place] ^ 1 << dice.randrange(8)
        file.write_bytes(data[:place] + bytes([changed]) + data[place + 1 :])
        with contextlib.suppress(RunError):
            assert copy.tables.read(name).equals(before)


@pytest.mark.parametrize(
    ("name", "column", "value", "why"),
    [
        ("trials", "trial", None, "column 'trial' has a value that is missing"),
        ("trials", "status", "odd", r"column 'status' has 'odd'; it holds done, failed"),
        ("trials", "fork", -1, "column 'fork' has -1; the least is 0"),
        ("trials", "edit", "[1]", "column 'edit' has '\\[1\\]', which is no JSON object"),
        ("trials", "edit", '{"x":' + "9" * 5000 + "}", "which is no JSON object"),
        ("trials", "edit", '{"x":' + "[" * 900 + "]" * 900 + "}", "nested more than 40 deep"),
        ("trials", "seconds", "long", "column 'seconds' holds string, not double"),
        ("turns", "turn", 2**31 - 1, "column 'turn' has 2147483647; the most is 10000000"),
        ("turns", "text", 7, "column 'text' holds int64, not string"),
        (
            "turns",
            "trial",
            "abc",
            "has rows of .*trial abc, which the table of trials does not have",
        ),
        ("calls", "latency", float("nan"), "column 'latency' has a value that is no number"),
        ("calls", "started", 1e300, "column 'started' has 1e\\+300; the most is"),
        ("scores", "value", float("inf"), "column 'value' has a value that is no number"),
    ],
)
def test_a_column_of_something_else_is_named(
    name: str, column: str, value: object, why: str, copy: RunFolder
) -> None:
    rows = len(copy.tables.read(name))
    kind = SCHEMAS[name].field(column).type if value is None else None
    rewrite(copy, name, column, pa.array([value] * rows, kind))
    with pytest.raises(RunError, match=rf"x/{name}\.parquet: .*{why}.*; .*improv resume x|copy"):
        copy.tables.read(name)


def test_texts_that_are_not_utf_8_are_named(copy: RunFolder) -> None:
    rows = len(copy.tables.read("turns"))
    odd = pa.array([b"\xff\xfe"] * rows, pa.binary())
    rewrite(copy, "turns", "text", pa.Array.from_buffers(pa.string(), rows, odd.buffers()))
    with pytest.raises(RunError, match=r"turns\.parquet: cannot be read"):
        copy.tables.read("turns")


def test_a_table_of_an_older_version_is_read(copy: RunFolder) -> None:
    """Older versions had no branches, and a call's error was one text."""
    table = pq.read_table(file_of(copy, "calls")).drop_columns(["served", "waited", "error_kind"])
    pq.write_table(table, file_of(copy, "calls"))
    assert set(copy.tables.read("calls", columns=["served"])["served"].to_pylist()) == {""}
    table = pq.read_table(file_of(copy, "turns")).drop_columns(["heard_by"])
    pq.write_table(table, file_of(copy, "turns"))
    with pytest.raises(RunError, match=r"turns\.parquet: has no column 'heard_by'"):
        copy.tables.read("turns")


def test_a_table_of_another_run_is_refused(copy: RunFolder) -> None:
    pq.write_table(pq.read_table(file_of(copy, "calls")).slice(3), file_of(copy, "calls"))
    with pytest.raises(RunError, match=r"calls.parquet: has [\d,]+ rows where its trials made"):
        list(copy.tables.read_batches("calls", ["role"]))
    pq.write_table(copy.tables.read("turns").slice(0, 0), file_of(copy, "turns"))
    with pytest.raises(RunError, match=r"turns.parquet: has 0 lines where its trials have"):
        copy.tables.read("turns")


def test_a_file_that_unpacks_to_too_much_is_not_read(copy: RunFolder) -> None:
    text = "x" * 2**20
    table = pa.table(
        {"id": [f"{i}" for i in range(1200)], "kind": "", "text": text}
        | {"kind": pa.array(["cue"] * 1200), "text": pa.array([text] * 1200)}
    )
    pq.write_table(table, file_of(copy, "blocks"), compression="zstd", use_dictionary=False)
    with pytest.raises(RunError, match=r"blocks.parquet: unpacks to [\d,]+ bytes"):
        copy.tables.read("blocks")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"models": 5}, "models"),
        ({"trials": -1}, "trials"),
        ({"created": [1]}, "created"),
        ({"scored": {"state": 3}}, "scored.state"),
        ({"lengths": [{"apart": "x"}]}, "lengths.0.apart"),
        ({"seconds": "long"}, "seconds"),
        ({"source": {"patch": 1}}, "source.file"),
    ],
)
def test_an_odd_run_json_spoils_no_list(changes: Json, key: str, copy: RunFolder) -> None:
    shutil.copytree(copy.path, Path(copy.root) / "good")
    file = copy.local / "run.json"
    file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | changes))
    with pytest.raises(RunError, match=rf"x/run\.json: '{key}' is "):
        copy.meta()
    listed = " ".join(command("list", "--runs", copy.root).output.split())
    assert "good done" in listed and f"run.json: '{key}' is" in listed
    assert open_run(copy.root, "last").id == "good"


def test_a_run_json_without_an_end_is_an_answer(copy: RunFolder) -> None:
    for content in (b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300, b"\xff", b'"x"', b""):
        (copy.local / "run.json").write_bytes(content)
        with pytest.raises(RunError, match=r"x/run\.json: "):
            copy.meta()


def test_branches_in_run_json_are_read_or_named(copy: RunFolder) -> None:
    row = {"trial": "t", "parent": "main", "fork": 1, "origin": "branch", "number": 0}
    for change, why in (
        ({"fork": "1"}, "'fork' is '1'"),
        ({"edit": "[]"}, "branches.0"),
        ({"edit": '{"scene":' * 60 + "1" + "}" * 60}, "branches.0"),
        ({"inherited": "5"}, "branches.0"),
        ({"more": 1}, "'more' is 1"),
    ):
        copy.update({"branches": [row | change]})
        with pytest.raises(RunError, match=why):
            copy.asked_branches()


def test_checksums_tell_of_what_still_reads(copy: RunFolder, tmp_path: Path) -> None:
    assert copy.checksums.differences() == []
    values = [1.0] * len(copy.tables.read("scores"))
    rewrite(copy, "scores", "value", pa.array(values))
    (difference,) = copy.checksums.differences()
    assert difference == "x/scores.parquet: is not as improv wrote it (another checksum)"
    assert any(difference in reason for reason in undecided_reasons(read_material(copy)))
    assert export(copy, "jsonl", path=tmp_path / "out.jsonl").differences == (difference,)
    assert difference in score(copy).notices
    assert copy.checksums.differences() == [], "the scores are improv's again"
    (copy.local / CHECKSUMS_FILE).unlink()  # as in a run of an older version
    rewrite(copy, "scores", "value", pa.array(values))
    assert copy.checksums.differences() == []
    (copy.local / CHECKSUMS_FILE).write_text(json.dumps({"files": 5}))
    assert "cannot be read" in copy.checksums.differences()[0]


def test_a_missing_table_is_said_and_made_again(copy: RunFolder) -> None:
    before = {name: copy.tables.read(name) for name in TRIAL_TABLES}
    runs = ("--runs", copy.root)
    file_of(copy, "turns").unlink()
    for words in (("show", "x/0"), ("report", "x"), ("score", "x"), ("graph", "x")):
        assert "turns.parquet: is missing" in command(*words, *runs, code=2).output
    replayed = command("replay", "x/0", *runs, code=1).output.replace("\n", "")
    assert "turns.parquet: is missing" in replayed
    result = resume(copy, setup=OFF)
    assert not result.idle and any("made again" in notice for notice in result.notices)
    for name, table in before.items():
        keys = ["trial", "branch"] if name != "blocks" else ["id"]
        assert copy.tables.read(name).select(keys).equals(table.select(keys))
    assert copy.tables.read("scores").equals(before["scores"]), "those of the judge too"
    assert copy.tables.read("turns").equals(before["turns"])


def test_without_the_calls_the_scenes_still_count(copy: RunFolder) -> None:
    file_of(copy, "calls").unlink()
    result = resume(copy, setup=OFF)
    assert result.idle and any("calls.parquet: is missing" in n for n in result.notices)
    assert copy.transcripts.read(copy.transcripts.trial("0")["trial"]).lines()
    with pytest.raises(RunError, match=r"calls.parquet: is missing.*copy the file again"):
        copy.tables.read("calls")


def test_a_journal_of_any_shape_costs_only_itself(copy: RunFolder) -> None:
    good = ["t", "main", 1, "Bo", "line", 0]
    rest = ["m", "e", "chat", "{}", "Hi.", "stop", 1, 1, 0, 1.0, 0.1, 0, "", 0.0, [], "", "", False]
    lines: list[object] = [
        [good, [0, ["b"]], rest],
        [good, ["x", []], rest],
        [good, [0, [5]], rest],
        [[[], "main", 1, "Bo", "line", 0], [0, []], rest],
        [["t", "main", 2**70 // 2**8, "Bo", "line", 0], [0, []], rest],
        *([good, [0, []], [*rest[:i], {"x": 1}, *rest[i + 1 :]]] for i in range(len(rest))),
    ]
    journal = copy.local / "journal" / "odd.jsonl"
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\xff[[\n")
    calls = list(copy.journaled().calls())
    assert [call.reply for call in calls] == ["Hi."]


def test_a_run_without_its_run_json_is_named(copy: RunFolder) -> None:
    (copy.local / "run.json").unlink()
    with pytest.raises(RunError, match=r"x/run\.json: is missing; copy the run again"):
        open_run(copy.root, "x")


def test_a_branch_whose_parent_is_not_there_is_named(copy: RunFolder) -> None:
    parents = copy.tables.read("trials")["parent"].to_pylist()
    rewrite(copy, "trials", "parent", pa.array([parent and "nobody" for parent in parents]))
    with pytest.raises(RunError, match=r"x/trials\.parquet: branch .* has the parent 'nobody'"):
        score(copy, ["dispersion"])


@pytest.mark.parametrize("part", ["shards", "journal", "ratings"])
def test_a_file_in_place_of_a_folder_is_named(part: str, copy: RunFolder) -> None:
    shutil.rmtree(copy.local / part, ignore_errors=True)
    (copy.local / part).write_text("not a folder")
    said = ""
    for words in (
        ["show", "x/0"],
        ["report", "x", "-o", str(copy.local.parent / "x.html")],
        ["score", "x"],
        ["resume", "x", "--ray", "off"],
    ):
        said += command(*words, "--runs", copy.root, code=None).output
    assert part != "shards" or said.count("x/shards: is a file, where a folder should be") == 4


def test_a_study_that_lost_a_trial_is_named(copy: RunFolder) -> None:
    file = copy.local / "study.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 1", 1))
    said = command("branch", "x/0@2", "--ray", "off", "--runs", copy.root, code=None)
    assert said.exit_code == 2 and "study.yaml" in "".join(said.output.split())
