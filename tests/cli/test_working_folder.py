"""The folder in which a command is given is no program: nothing in it is imported, by whomever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from improv.storage.runs import open_run
from tests.support.hostile import hostile_folder
from tests.support.places import TOP


def python(*words: str, cwd: Path, **variables: str) -> str:
    env = os.environ | {"PYTHONPATH": str(TOP), "NO_COLOR": "1"} | variables
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.ray
def test_no_worker_of_ray_imports_what_lies_there(kettle: Path, tmp_path: Path) -> None:
    imported = hostile_folder(tmp_path / "theirs")
    words = ("run", str(kettle), "--name", "one", "--model", "puppet")
    python("-P", "-m", "improv.cli", *words, cwd=tmp_path / "theirs")
    folder = open_run(tmp_path / "theirs" / "runs", "one")
    assert folder.meta()["status"] == "done"
    assert folder.meta()["hosts"][0]["process"] != os.getpid()
    assert not imported.exists()


def test_python_m_imports_nothing_there_either(tmp_path: Path) -> None:
    imported = hostile_folder(tmp_path)
    # Python finds the program itself there: an improv.py is taken for it.
    (tmp_path / "improv.py").unlink()
    assert "no runs in" in python("-m", "improv.cli", "list", cwd=tmp_path)
    assert not imported.exists()


CHILDREN = """
import json, multiprocessing, os, subprocess, sys
from improv.import_path import leave_working_folder

def path(): return sys.path

if __name__ == "__main__":
    leave_working_folder()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = pool.apply(path)
    code = "import json, sys; print(json.dumps(sys.path))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    print(json.dumps([sys.path, spawned, json.loads(child)]))
"""


def test_no_child_of_a_command_has_it_on_its_path(tmp_path: Path) -> None:
    (tmp_path / "children.py").write_text(CHILDREN)
    there = tmp_path / "theirs"
    there.mkdir()
    # The user's own path names the folder too: "" and "." stand for it wherever it is.
    own = os.pathsep.join(["", ".", str(TOP)])
    for path in json.loads(python(str(tmp_path / "children.py"), cwd=there, PYTHONPATH=own)):
        assert str(TOP) in path
        assert all(Path(place).is_absolute() for place in path)
        assert str(there) not in path
