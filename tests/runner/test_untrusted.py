"""Studies, run folders and files from strangers: none sends a key, runs code, follows a link or
prints a secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from improv.errors import EndpointError, ErrorKind, RunError, StudyError
from improv.models.endpoint import check_endpoint
from improv.runner.branching import branch
from improv.runner.context_lengths import lengths
from improv.runner.host import STOPS_THE_RUN, Host, HostTerms
from improv.runner.launch import resume, run
from improv.runner.session import Work
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.model_spec import Model
from improv.study.overrides import read_edit
from improv.study.trial import plan
from tests.support.run import KEY, OFF, chairs, change
from tests.support.weather import RawServer, Send, command, http, said


@pytest.fixture
def stranger() -> Iterator[Any]:
    """A machine that nobody vouched for; `met` becomes true where anything connects to it."""
    with socket.create_server(("127.0.0.2", 0)) as listening:
        met = threading.Event()

        def listen() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                met.set()
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        url = f"http://127.0.0.2:{listening.getsockname()[1]}/v1"
        yield url, met
        listening.shutdown(socket.SHUT_RDWR)


def everywhere(url: str) -> dict[str, dict[str, Any]]:
    """Return all the places of a study that may name an address."""
    model = {"model": "puppet", "base_url": url}
    evil = {"scene": {"model": model}}
    fork, wake = {"name": "b", "at": [1]}, [{"turn": 2, "wake": True}]
    return {
        "scene": {"set": {"model": model}},
        "cast": {"set": {"cast": {"Bo": {"model": model}}}},
        "author": {"set": {"author": {"live": True, "model": model}}},
        "keeper": {"set": {"memory": "bible", "author": {"model": model}, "events": wake}},
        "level": {"factors": {"f": {"good": {}, "bad": {"model": model}}}},
        "branch": {"branches": [fork | {"arms": {"a": {}, "b": evil}}]},
    }


@pytest.mark.parametrize("where", everywhere(""))
def test_a_study_sends_nothing_to_an_untrusted_address(
    where: str, stranger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, met = stranger
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = chairs(tmp_path, None, 2, **everywhere(url)[where])
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    output = command("run", str(file), *runs, code=2).output
    assert f"to {url}" in output and "--trust 127.0.0.2" in output and KEY not in output
    assert not (tmp_path / "r").exists() and not met.is_set()
    command("validate", str(file))
    command("run", str(file), "--dry-run")
    assert not met.is_set()


def test_a_trusted_address_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http(said("Here."))

    with RawServer(reply, host="127.0.0.2") as server:
        file = chairs(tmp_path, server.url, 1)
        runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
        done = command("run", str(file), *runs, "--trust", "127.0.0.2", "--max-calls", "2", code=4)
        # A folder's word is no more than a study's: whoever goes on says it again.
        assert "--trust 127.0.0.2" in done.output
        assert "--trust 127.0.0.2" in command("resume", *runs, code=2).output
        assert len(server.seen) == 2
        command("resume", *runs, "--trust", server.url)
        monkeypatch.setenv("IMPROV_TRUST", "somebody.example, 127.0.0.2")
        command("run", str(file), *runs)
        monkeypatch.delenv("IMPROV_TRUST")
        command("run", str(chairs(tmp_path, None)), *runs, "--base-url", server.url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://[::1/v1",
        "http://localhost:99999/v1",
        "http://127.0.0.1\\.evil.example/v1",
        "https://api.openai.com.evil.example/v1",
        "http://evil.example#127.0.0.1/v1",
    ],
)
def test_an_address_that_only_looks_known_is_refused(url: str, tmp_path: Path) -> None:
    file = chairs(tmp_path, url, 1)
    with pytest.raises((RunError, StudyError)):
        run(load(file), runs=tmp_path / "r", setup=OFF)
    assert not (tmp_path / "r").exists()


def test_an_invalid_address_of_the_user_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    file = chairs(tmp_path, None, 1)
    file.write_text(file.read_text().replace('"puppet"', '"tiny"'))
    with pytest.raises(RunError, match="write it like http://"):
        run(load(file), runs=tmp_path / "r", setup=OFF)


def test_a_strangers_run_folder_sends_nothing_either(begun: RunFolder, stranger: Any) -> None:
    url, met = stranger
    model = {"model": "puppet", "base_url": url}
    edit = json.dumps({"scene": {"model": model}})
    some = {"parent": "main", "fork": 1, "origin": "branch", "number": 0, "edit": edit}
    planned = plan(begun.study())[3].id
    plain = some | {"trial": planned, "edit": "{}"}
    heir = {"number": 1, "inherited": json.dumps([[1, json.loads(edit)]])}
    again = {"origin": "regeneration", "fork": 0}
    for branches in (
        [some | {"trial": planned}],
        [plain, plain | heir],  # alike but for what their ancestors changed
        [plain | again, plain | again | heir],
    ):
        change(begun, branches=branches)
        with pytest.raises(RunError, match=r"--trust 127\.0\.0\.2"):
            resume(begun, setup=OFF)
    change(begun, branches=[])
    resume(begun, setup=OFF)
    words = read_edit(["model.model=puppet", f"model.base_url={url}"])
    with pytest.raises(RunError, match=r"--trust 127\.0\.0\.2"):
        branch(begun, "0", 2, edit=words, setup=OFF)
    assert not met.is_set()


def test_a_condition_that_is_not_played_is_checked_too(stranger: Any, tmp_path: Path) -> None:
    """Lengths of contexts are counted for every condition, whatever is played of them."""
    url, met = stranger
    factors = {"f": {"good": {}, "bad": {"model": {"model": "m", "base_url": url}}}}
    file = chairs(tmp_path, None, 1, factors=factors)
    with pytest.raises(RunError, match="If you trust that"):
        run(load(file), runs=tmp_path / "r", setup=replace(OFF, limit=1))
    assert not met.is_set()


def test_the_transport_refuses_what_the_first_check_missed(begun: RunFolder, stranger: Any) -> None:
    """A model that only a host comes to know of: nothing is sent, and the run stops with why."""
    url, met = stranger
    study = begun.study()
    trial = plan(study)[9]
    evil = Model(model="m", base_url=url)
    scene = trial.scene.model_copy(update={"model": evil})
    host = Host(begun.root, begun.id, HostTerms())

    async def play() -> Any:
        (outcome,) = await host.play(Work(replace(trial, scene=scene), main=True), ())
        await host.close()
        return outcome

    failure = asyncio.run(play()).failure
    assert failure.kind == ErrorKind.UNTRUSTED in STOPS_THE_RUN and "--trust" in failure.message
    with pytest.raises(EndpointError, match="--trust"):
        lengths(load("author-context", {"model": {"model": "m", "base_url": url}}))
    with pytest.raises(EndpointError, match="--trust"):
        check_endpoint(url)
    assert not met.is_set()


def test_this_machine_is_asked_only_where_models_are_served(tmp_path: Path) -> None:
    """What else listens on loopback may do anything with a request of a stranger's."""
    with RawServer(lambda n, request, send: http(said("Here."))) as server:
        root = server.url.removesuffix("/v1")
        runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
        for odd in ("/containers/create", "/v1/x", "/v1beta", "/a/b/c/d/v1", "/.x/v1"):
            file = str(chairs(tmp_path, f"{root}{odd}", 1))
            output = command("run", file, *runs, code=2).output.replace("\n", " ")
            assert f"--trust {root}{odd}" in output and not server.seen
        # Whoever knows better says which path; that is the only odd one then.
        command("run", file, *runs, "--trust", f"{root}/.y/v1", code=2)
        assert not server.seen
        command("run", file, *runs, "--trust", f"{root}/.x/v1")
        for plain in ("", "/v1", "/v1/", "/engines/llama.cpp/v1"):
            command("run", str(chairs(tmp_path, f"{root}{plain}", 1)), *runs)


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PATH", "api_key_x"])
def test_a_study_does_not_choose_which_secret_is_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    with RawServer(lambda n, request, send: http(said("Here."))) as server:
        file = chairs(tmp_path, server.url, 1)
        study = json.loads(file.read_text())
        study["set"]["model"]["api_key_env"] = name
        file.write_text(json.dumps(study))
        runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
        output = command("run", str(file), *runs, code=2).output
        assert f"--trust env:{name}" in output and not server.seen and SECRET not in output
        command("run", str(file), *runs, "--trust", f"env:{name}")
        assert all(SECRET.encode() in request for request in server.seen)
        study["set"]["model"]["api_key_env"] = "SOME_VENDORS_API_KEY"
        file.write_text(json.dumps(study))
        command("run", str(file), *runs)
        assert SECRET.encode() not in server.seen[-1]


EVIL = {
    "a tag on a list": 'study: !!python/object/apply:os.system ["touch {mark}"]\n',
    "a tag on a mapping": "cells: !!python/object:os.stat_result {{}}\n",
    "a tag on a text": "question: !!python/name:os.system ''\n",
    "a tag of its own": "cells: !evil [1]\n",
}


@pytest.mark.parametrize("what", EVIL)
def test_yaml_of_a_stranger_runs_nothing(what: str, begun: RunFolder, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = EVIL[what].format(mark=mark)
    file = Path(begun.path, "study.yaml")
    key = evil.partition(":")[0]
    kept = [line for line in file.read_text().splitlines() if not line.startswith(f"{key}:")]
    whole = evil + ("\n".join(kept) if key != "cells" else "study: x\n")
    file.write_text(whole)
    output = command("resume", "--runs", begun.root, "--ray", "off", code=2).output
    assert "unknown tag" in output and not mark.exists()
    (tmp_path / "evil.yaml").write_text(evil)
    assert "unknown tag" in command("validate", str(tmp_path / "evil.yaml"), code=2).output
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../x", "..", "/etc", "a/../../x", "a\\b", "", "-x", "x" * 101])
def test_no_name_leads_out_of_its_folder(name: str, begun: RunFolder, tmp_path: Path) -> None:
    for use in (
        lambda: open_run(begun.root, name),
        lambda: run(load(tmp_path / "study.yaml"), runs=tmp_path / "new", name=name, setup=OFF),
        lambda: begun.transcripts.trial(f"{name}/x"),
        lambda: branch(begun, f"0~{name}/x", 1, setup=OFF),
    ):
        with pytest.raises(RunError):
            use()
    assert not (tmp_path / "x").exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "link",
    [
        "shards",
        "journal",
        "journal/limits.jsonl",
        "run.json",
        "turns.parquet",
        "aside",
        "lock",
        "study.yaml.tmp",
        "journal/study.yaml",
    ],
)
def test_links_in_a_strangers_folder_lead_nowhere(
    link: str, begun: RunFolder, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.jsonl").write_text("precious")
    place = Path(begun.path, link)
    target = victim
    if place.is_file():
        target = victim / "copy"
        target.write_bytes(place.read_bytes())
        place.unlink()
    elif place.is_dir():
        for file in place.iterdir():
            file.rename(victim / file.name)
        place.rmdir()
    elif "." in link:
        target = victim / "precious.jsonl"
    place.symlink_to(target)
    before = {f: f.read_bytes() for f in victim.iterdir()}
    with pytest.raises(RunError, match="is a symbolic link"):
        resume(begun, setup=OFF)
    assert {f: f.read_bytes() for f in victim.iterdir()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": "many"},
        {"trials": None},
        {"session": []},
        {"branches": [{"evil": 1}]},
        {"branches": 7},
        {"served": 3},
        {"versions": []},
        {"source": {"file": 3, "patch": [1]}},
        {"source": {"file": "/dev/zero"}},
        {"source": 5},
        {"trials_hash": {}},
        {"seconds": "long"},
        {
            "branches": [
                {
                    "trial": "t",
                    "parent": "main",
                    "fork": 1,
                    "origin": "branch",
                    "number": 0,
                    "edit": "no JSON",
                }
            ]
        },
    ],
)
def test_nonsense_in_run_json_is_refused_or_ignored(
    changes: dict[str, Any], begun: RunFolder
) -> None:
    change(begun, **changes)
    done = command("resume", "--runs", begun.root, "--ray", "off", code=None)
    assert done.exit_code in (0, 2)
    answers = ("10 trials done", "run.json", "has changed since")
    assert any(words in done.output for words in answers)


SECRET = "hunter2-correct-horse"
PRIVATE = {
    "text": SECRET,
    "settings": f"token: {SECRET}\nuser: {SECRET}\n",
    "a list": f"- {SECRET}\n- {SECRET}\n",
    "an ini": f"[default]\naws_secret_access_key = {SECRET}\n",
    "shadow": f"root:{SECRET}:19000:0:99999:7:::\nme:{SECRET}:1:0:1:7:::\n",
    "bytes": f"\x00\x01{SECRET}",
    "broken": f"a: [{SECRET}\n  b: {{{SECRET}",
    "a key": f"-----BEGIN KEY-----\n{SECRET}\n-----END KEY-----\n",
    "nested": f"title: {{password: {SECRET}}}\ncast: {{password: {SECRET}}}\n",
}


@pytest.mark.parametrize("what", PRIVATE)
def test_a_file_that_is_no_scene_is_not_quoted(what: str, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text(PRIVATE[what])
    inner = tmp_path / "given" / "study"
    inner.mkdir(parents=True)
    for i, path in enumerate([str(private), "../../private"]):
        file = inner / f"{i}.yaml"
        file.write_text(json.dumps({"study": "s", "scenes": [path]}))
        for words in (("validate", str(file)), ("run", str(file), "--runs", str(tmp_path / "r"))):
            assert SECRET not in command(*words, code=2).output
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("scene", ["/dev/zero", "/proc/self/environ", "..", "/", "/dev/stdin"])
def test_only_a_file_is_read_as_a_scene(
    scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"study": "s", "scenes": [scene]}))
    assert KEY not in command("validate", str(file), code=2).output


def test_an_invalid_model_file_stops_the_run_with_a_message(tmp_path: Path) -> None:
    fake = tmp_path / "fake.gguf"
    fake.write_text(SECRET * 100)
    file = chairs(tmp_path, None, 3)
    file.write_text(file.read_text().replace('"puppet"', json.dumps(str(fake))))
    output = command("run", str(file), "--runs", str(tmp_path / "r"), "--ray", "off", code=1).output
    assert "fake.gguf: llama.cpp cannot serve it" in output and SECRET not in output
    assert "0 trials done, 0 failed, 3 still owed" in output
    meta = orjson.loads(Path(open_run(tmp_path / "r", "last").path, "run.json").read_bytes())
    assert meta["status"] == "stopped"
