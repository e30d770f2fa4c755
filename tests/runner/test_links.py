"""Links in a run folder from a stranger: nothing is read or written at their targets."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from improv.analysis import cache
from improv.analysis.exposure_scan import cached_exposure
from improv.analysis.inference import Findings
from improv.analysis.loader import analyse_run
from improv.cli.options import app
from improv.errors import RunError
from improv.files import shipped
from improv.records import Json
from improv.storage.lock import RunLock, current_holder
from improv.storage.run_folder import RunFolder
from improv.storage.runs import list_runs, open_run

TABLES = ("trials", "turns", "calls", "blocks", "scores", "verdicts", "limits")
SHARD = [f"shards/h-000000.{name}.parquet" for name in TABLES[:5]]
FILES = ["run.json", "study.yaml", *(f"{name}.parquet" for name in TABLES), *SHARD]
FILES += ["journal/h.jsonl", "journal/limits.jsonl", "journal/verdicts.jsonl", "ratings/ann.jsonl"]
FILES += [
    "lock",
    "holder.json",
    "exposure.json",
    "findings.json",
    "history.jsonl",
    "redone.jsonl",
    "run.json.tmp",
    "journal/study.yaml",
]
FOLDERS = ["shards", "journal", "ratings", "aside"]
COMMANDS = ("show", "report", "score", "resume")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that may be written, in a folder of its own."""
    shutil.copytree(shipped("runs") / "sample", tmp_path / "runs" / "r")
    return open_run(tmp_path / "runs", "r")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "victim").write_text("precious")
    return tmp_path / "elsewhere" / "victim"


def command(run: RunFolder, word: str) -> tuple[int, str]:
    """Run a command on a run; return its exit code and whole output."""
    import improv.cli  # noqa: F401

    words = {
        "report": ["-o", str(Path(run.root).parent / "page.html")],
        "score": ["--measure", "marker"],
    }
    where = [run.id, *words.get(word, []), "--runs", run.root]
    if word == "resume":
        where += ["--ray", "off"]
    done = CliRunner().invoke(app, [word, *where])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.output.replace("\n", "")


def untouched(victim: Path) -> bool:
    return victim.read_text() == "precious" and [*victim.parent.iterdir()] == [victim]


@pytest.mark.parametrize("word", COMMANDS)
def test_no_command_follows_a_link(word: str, run: RunFolder, victim: Path) -> None:
    for name in [*FILES, *FOLDERS]:
        place, kept = Path(run.path, name), Path(run.root, "kept")
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            place.rename(kept)
        place.symlink_to(victim.parent if name in FOLDERS else victim)
        code, output = command(run, word)
        assert untouched(victim), name
        if word in ("score", "resume") or name == "run.json" or code:
            assert code == 2 and f"{name}: is a symbolic link" in output, (name, output)
        place.unlink()
        if kept.exists():
            kept.rename(place)
        for part in FOLDERS:
            shutil.rmtree(Path(run.path, part), ignore_errors=True)
    assert command(run, word)[0] == 0


@pytest.mark.parametrize("name", [*(f"{table}.parquet" for table in TABLES), *SHARD])
def test_a_table_is_read_through_no_link(name: str, run: RunFolder, tmp_path: Path) -> None:
    """The link leads to a whole table, which is not taken for the run's."""
    table = Path(name).stem.split(".")[-1]
    place = Path(run.path, name)
    away = tmp_path / "away.parquet"
    run.tables.write(table, run.tables.read(table))
    Path(run.path, f"{table}.parquet").rename(away)
    if name in SHARD:
        place.parent.mkdir()
        for file in SHARD:
            Path(run.path, file).touch()
        place.unlink()
    place.symlink_to(away)
    with pytest.raises(RunError, match=f"{place.name}: is a symbolic link"):
        run.tables.read(table)


@pytest.mark.parametrize("name", ["run.json", "study.yaml", "turns.parquet", "journal/h.jsonl"])
def test_a_pipe_is_not_waited_for(name: str, run: RunFolder) -> None:
    place = Path(run.path, name)
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    readers: dict[str, Callable[[], object]] = {
        "run.json": run.meta,
        "study.yaml": run.study,
        "turns.parquet": lambda: run.tables.read("turns"),
        "journal/h.jsonl": run.journaled,
    }
    with pytest.raises(RunError, match=f"{name}: is a named pipe"):
        readers[name]()
    code, output = command(run, "resume")
    assert code == 2 and f"{name}: is a named pipe" in output


def test_a_run_that_is_a_link_is_refused_and_the_folder_of_runs_may_be_one(
    run: RunFolder, tmp_path: Path
) -> None:
    home = Path(run.root)
    (tmp_path / "mine").symlink_to(home)
    assert open_run(tmp_path / "mine", "r").meta() == run.meta()
    Path(run.path).rename(tmp_path / "away")
    Path(run.path).symlink_to(tmp_path / "away")
    with pytest.raises(RunError, match="r: is a symbolic link"):
        open_run(home, "r")
    assert list_runs(home) == []
    with pytest.raises(RunError, match="r: is a symbolic link"):
        RunLock(run.path).__enter__()
    assert not (tmp_path / "away" / "lock").exists()


@pytest.mark.parametrize("ending", ["", ".tmp"])
def test_a_cache_is_kept_through_no_link(
    ending: str, run: RunFolder, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("exposure.json", "findings.json"):
        Path(run.path, name + ending).symlink_to(victim)
    study = run.study()
    exposure = cached_exposure(run, study, worth=-1)
    analysis = analyse_run(run)
    findings = Findings(analysis.whole(), analysis.judges)
    cache.write_findings(run, findings, cache.run_state(run))
    with caplog.at_level(logging.WARNING, "improv"):
        assert cached_exposure(run, study, worth=-1) == exposure
        kept = cache.read_findings(run, study)
    assert untouched(victim) and (kept is None) == (ending == "")
    said = [record.getMessage() for record in caplog.records]
    for name in ("exposure.json", "findings.json"):
        assert any(f"{name}: is a symbolic link" in line for line in said) == (ending == "")


def _rate(run: RunFolder) -> None:
    run.ratings.add("human:Ann", {"item": "x"})


def _limits(run: RunFolder) -> None:
    run.keep_limits([{"at": 1.0}])


APPENDS: dict[str, Callable[[RunFolder], None]] = {
    "ratings/ann": _rate,
    "journal/limits.jsonl": _limits,
}


@pytest.mark.parametrize("kind", ["link", "hard link"])
@pytest.mark.parametrize("name", APPENDS)
def test_nothing_is_appended_through_a_link(
    name: str, kind: str, run: RunFolder, victim: Path
) -> None:
    run.make_parts()
    APPENDS[name](run)
    (place,) = Path(run.path).glob(f"{name}*")
    place.unlink()
    place.symlink_to(victim) if kind == "link" else os.link(victim, place)
    with pytest.raises(RunError, match=rf"{place.name}: (is a symbolic link|has a second name)"):
        APPENDS[name](run)
    assert untouched(victim)
    place.unlink()
    APPENDS[name](run)
    assert place.read_bytes()


def test_a_second_name_of_a_whole_file_keeps_what_it_had(run: RunFolder, tmp_path: Path) -> None:
    """Copies of a run that share its files, as backups do, stay what they are."""
    names = ["run.json", "scores.parquet"]
    for name in names:
        os.link(Path(run.path, name), tmp_path / name)
    before: Json = {name: (tmp_path / name).read_bytes() for name in names}
    run.update({"status": "x"})
    run.tables.write("scores", run.tables.read("scores").slice(0, 1))
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    assert run.meta()["status"] == "x" and len(run.tables.read("scores")) == 1


@pytest.mark.parametrize("name", ["lock", "holder.json"])
def test_a_lock_is_taken_through_no_link(name: str, run: RunFolder, victim: Path) -> None:
    place = Path(run.path, name)
    place.symlink_to(victim)
    with pytest.raises(RunError, match=f"{name}: is a symbolic link"):
        RunLock(run.path).__enter__()
    assert current_holder(run.path) is None and untouched(victim)
    place.unlink()
    with RunLock(run.path):
        assert current_holder(run.path)


@pytest.mark.parametrize("to", ["jsonl", "otel", "hf", "markdown"])
def test_an_export_into_a_run_follows_no_link(
    to: str, run: RunFolder, victim: Path, tmp_path: Path
) -> None:
    import improv.cli  # noqa: F401

    def export(target: Path) -> tuple[int, str]:
        where = ["-o", str(target), "--force", "--runs", run.root]
        done = CliRunner().invoke(app, ["export", run.id, "--to", to, *where])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.output.replace("\n", "")

    assert export(tmp_path / "out")[0] == 0
    for file in sorted(p.relative_to(tmp_path) for p in (tmp_path / "out").rglob("*")) or ["out"]:
        place = Path(run.path, file)
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(victim)
        code, output = export(Path(run.path, "out"))
        assert code == 2 and "is a symbolic link" in output and untouched(victim), output
        place.unlink()
    shutil.rmtree(Path(run.path, "out"), ignore_errors=True)
    Path(run.path, "out").symlink_to(victim.parent)
    assert export(Path(run.path, "out", "deep"))[0] == 2 and untouched(victim)


def test_the_probe_of_the_doctor_follows_no_link(run: RunFolder, victim: Path) -> None:
    from improv.runner.doctor import _writable

    Path(run.root, ".doctor").symlink_to(victim)
    finding = _writable(run.root)
    assert not finding.good and "is a symbolic link" in finding.result and untouched(victim)
