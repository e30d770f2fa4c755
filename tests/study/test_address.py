"""Addresses: one spelling of each, and nothing that two programs would read differently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from improv.errors import StudyError
from improv.study.address import read_address
from improv.study.loader import load
from tests.support.run import chairs
from tests.support.weather import command


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("HTTP://LocalHost:80/v1/", "http://localhost/v1"),
        ("https://Models.Example:443", "https://models.example"),
        ("http://[0:0::1]:8/v1", "http://[::1]:8/v1"),
        ("http://my_gpu:11434/api/v1//", "http://my_gpu:11434/api/v1"),
        ("http://xn--e1afmkfd.xn--p1ai/v1", "http://xn--e1afmkfd.xn--p1ai/v1"),
    ],
)
def test_an_address_has_one_spelling(text: str, spelling: str) -> None:
    assert str(read_address(text)) == spelling == str(read_address(spelling))


ODD = [
    "",
    "localhost:8000",
    "ftp://models.example/v1",
    "http:///v1",
    "http://models.example:/v1",
    "http://models.example:0/v1",
    "http://models.example:99999/v1",
    "http://me@models.example/v1",
    "http://me:hunter2@models.example/v1",
    "http://127.0.0.1@models.example/v1",
    "http://127.0.0.1:80@models.example/v1",
    "http://models.example/v1?token=hunter2",
    "http://models.example?token=hunter2",
    "http://models.example/v1#hunter2",
    "http://127.0.0.1\\@models.example/v1",
    "http://127.0.0.1\\.models.example/v1",
    "http:\\\\models.example/v1",
    "http://models.example /v1",
    "http://models.example\n/v1",
    "http://models.example\t/v1",
    "http://models%2eexample/v1",
    "http://models.example/%76%31",
    "http://models.example/a/../v1",
    "http://models.example//v1",
    "http://models.example/./v1",
    "http://models.example/me@v1",
    "http://localhost./v1",
    "http://127.0.0.1./v1",
    "http://models..example/v1",
    "http://-models.example/v1",
    "http://127.1/v1",
    "http://2130706433/v1",
    "http://0x7f000001/v1",
    "http://0x7f.0.0.1/v1",
    "http://0177.0.0.1/v1",
    "http://127.0.0.01/v1",
    "http://127.0.0.256/v1",
    "http://1.2.3.4.5/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://[::ffff:7f00:1]/v1",
    "http://[fe80::1%25eth0]/v1",
    "http://[127.0.0.1]/v1",
    "http://[::1/v1",
    "http://\uff11\uff12\uff17.0.0.1/v1",
    "http://m\u043edels.example/v1",
    "http://127\u30020\u30020\u30021/v1",
    "http://" + "a" * 600,
]


@pytest.mark.parametrize("text", ODD)
def test_an_odd_address_is_refused_and_not_quoted(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|hides) ") as refused:
        read_address(text)
    assert "hunter2" not in str(refused.value) and "models" not in str(refused.value).lower()[:40]
    with pytest.raises(StudyError, match=r"base_url: the address (is|has|hides) ") as error:
        load(str(chairs(tmp_path, text or " ", 1)))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "secret", ["http://me:hunter2@127.0.0.1/v1", "http://127.0.0.1/v1?k=hunter2"]
)
def test_a_secret_in_an_address_is_stored_and_shown_nowhere(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = str(chairs(tmp_path, None, 1))
    named = tmp_path / "named.yaml"
    named.write_text(json.dumps({"study": "s", "scenes": ["chairs.yaml"]}))
    where = ("--runs", str(tmp_path / "r"), "--ray", "off")
    output = command("run", plain, *where, "--base-url", secret, code=2).output
    output += command("run", plain, *where, "--trust", secret, code=2).output
    command("run", plain, *where, "--name", "one")
    judged = ("score", "one", *where[:2], "--judge", "m")
    output += command(*judged, "--base-url", secret, code=2).output
    monkeypatch.setenv("IMPROV_TRUST", secret)
    output += command("run", plain, *where, code=2).output
    monkeypatch.delenv("IMPROV_TRUST")
    monkeypatch.setenv("OPENAI_BASE_URL", secret)
    output += command("run", str(named), *where, "--model", "m", code=2).output
    output += command(*judged, code=2).output
    assert output.count("a key belongs in the environment variable") == 6
    assert "hunter2" not in output
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if b"hunter2" in file.read_bytes()]


@pytest.mark.parametrize("name", ["messages", "Prompt", "MODEL", "stream", "tools", "n", "user"])
def test_further_fields_do_not_change_what_is_asked(name: str, tmp_path: Path) -> None:
    file = chairs(tmp_path, None, 1)
    study = json.loads(file.read_text())
    study["set"]["model"]["extra"] = {name: [], "min_p": 0.1}
    file.write_text(json.dumps(study))
    with pytest.raises(StudyError, match=f"extra: '{name}' is not for 'extra' to set") as error:
        load(str(file))
    assert "because it decides" in str(error.value)


@pytest.mark.parametrize("name", ["", "mes\u017fages", "messages ", "a b", "\u212aeep", "x\x00"])
def test_the_name_of_a_further_field_is_plain(name: str, tmp_path: Path) -> None:
    file = chairs(tmp_path, None, 1)
    study = json.loads(file.read_text())
    study["set"]["model"]["extra"] = {name: 1}
    file.write_text(json.dumps(study))
    with pytest.raises(StudyError, match="is not the name of a field"):
        load(str(file))


def test_an_address_of_runs_or_of_a_cluster_has_no_password(tmp_path: Path) -> None:
    scene = str(chairs(tmp_path, None, 1))
    output = ""
    for runs in ("s3://key:hunter2@bucket/runs", "abfs://:hunter2@account.example/runs"):
        for words in (("list",), ("run", scene, "--ray", "off"), ("show", "last")):
            output += command(*words, "--runs", runs, code=2).output
    assert output.count("a password belongs in the environment") == 6
    for cluster in ("ray://me:hunter2@127.0.0.1:10001", "me:hunter2@127.0.0.1:6379"):
        where = ("--runs", str(tmp_path / "r"), "--ray", cluster)
        output += command("run", scene, *where, code=3).output
    assert output.count("has a user or a password in it") == 2 and "hunter2" not in output
    assert not any(b"hunter2" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
