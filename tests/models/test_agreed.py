"""Which addresses are agreed to: by the command, by the environment, and by nobody else."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from improv.errors import EndpointError, ErrorKind, RunError
from improv.models.agreed import NOTHING_AGREED, Agreed, agreed_at
from improv.study.address import read_address


def may(agreed: Agreed, url: str) -> bool:
    return not agreed.refusal(read_address(url))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "IMPROV_TRUST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost", True),
        ("https://[::1]:1/api/v1", True),
        ("https://api.openai.com/v1", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com:8443/v1", False),
        ("https://api.openai.com/files", False),
        ("https://api.openai.com.example/v1", False),
        ("http://127.0.0.2/v1", False),
        ("http://0.0.0.0:8000/v1", False),
        ("http://[::]:8000/v1", False),
        ("http://169.254.169.254/v1", False),
        ("http://localhost.example/v1", False),
        ("http://127.0.0.1:2375/containers/create", False),
    ],
)
def test_without_agreement_there_are_this_machine_and_openai(url: str, asked: bool) -> None:
    assert may(NOTHING_AGREED, url) == may(agreed_at(), url) == asked


@pytest.mark.parametrize(
    ("word", "yes", "no"),
    [
        ("models.example", "http://models.example:9/x", "https://a.models.example/v1"),
        ("Models.Example", "https://models.example/v1", "https://models.example.com/v1"),
        ("models.example:9", "https://models.example:9/v1", "https://models.example/v1"),
        ("https://models.example", "https://models.example/x", "http://models.example/x"),
        ("https://models.example/v1", "https://models.example/v2", "https://models.example:9/v1"),
        ("http://127.0.0.1:9/odd", "http://127.0.0.1:9/odd", "http://127.0.0.1:9/other"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/odd", "http://127.0.0.1:8/odd"),
        ("[2001:db8::1]:9", "http://[2001:db8:0::1]:9/v1", "http://[2001:db8::2]:9/v1"),
        ("127.0.0.2", "http://127.0.0.2:1/v1", "http://127.0.0.3:1/v1"),
    ],
)
def test_a_word_agrees_to_what_it_says_and_no_more(
    word: str, yes: str, no: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert may(agreed_at([word]), yes) and not may(agreed_at([word]), no)
    monkeypatch.setenv("IMPROV_TRUST", f" other.example ,, {word}")
    assert may(agreed_at(), yes) and not may(agreed_at(), no)
    if "://" in word:
        monkeypatch.delenv("IMPROV_TRUST")
        monkeypatch.setenv("OPENAI_BASE_URL", word)
        assert may(agreed_at(), yes) and not may(agreed_at(), no)


@pytest.mark.parametrize("word", ["a@b", "http://me:hunter2@b/v1", "b/v1", "127.1", "b:x", "http:"])
def test_a_word_that_cannot_be_read_is_an_error_and_is_not_quoted(word: str) -> None:
    with pytest.raises(RunError, match="--trust or --base-url: what is said there") as error:
        agreed_at([word])
    assert "hunter2" not in str(error.value)


def test_an_agreement_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = agreed_at(["models.example", "env:ODD"])
    monkeypatch.setenv("IMPROV_TRUST", "evil.example")
    there = pickle.loads(pickle.dumps(made))  # as it travels to a host
    assert there == made and not may(there, "http://evil.example")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.grants = frozenset()  # type: ignore[misc]


def test_who_is_not_agreed_to_is_not_admitted() -> None:
    for url, variable in (
        ("http://evil.example/v1", ""),
        ("http://a@127.0.0.1/v1", ""),
        ("http://127.0.0.1/v1", "AWS_SECRET_ACCESS_KEY"),
    ):
        with pytest.raises(EndpointError) as refused:
            NOTHING_AGREED.admit(url, variable)
        assert refused.value.kind == ErrorKind.UNTRUSTED
    assert str(NOTHING_AGREED.admit("HTTP://LOCALHOST:80/v1/", "OPENAI_API_KEY")) == (
        "http://localhost/v1"
    )
    assert agreed_at(["env:ODD"]).admit("http://127.0.0.1/v1", "ODD")
