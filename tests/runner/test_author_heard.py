"""A live author at an endpoint that ignores schemas: what it means to say gets across."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks.author_replies import NOTE, SHAPES
from improv.runner.launch import run
from improv.study.loader import load
from tests.support.run import OFF
from tests.support.weather import RawServer, Send, http, said

SCENE = """\
title: Two Chairs
premise: Rufina Ortega and Bo wait.
cast:
  - {name: Rufina Ortega, role: who waits}
  - {name: Bo, role: who hurries}
turns: 10
"""
STUDY = """\
study: heard
replicates: 3
scenes: [chairs.yaml]
set:
  model: {model: odd, base_url: "%s"}
  author: {live: true, may: [note, cue], every: 1, knows: [transcript], samples: []}
"""


def test_nineteen_of_twenty_notes_of_the_author_get_across(tmp_path: Path) -> None:
    shapes = itertools.cycle(SHAPES)

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http(said(next(shapes) if b"Answer in JSON" in request else "Then we wait."))

    with RawServer(reply) as server:
        (tmp_path / "chairs.yaml").write_text(SCENE)
        (tmp_path / "study.yaml").write_text(STUDY % server.url)
        result = run(load(tmp_path / "study.yaml"), runs=tmp_path / "runs", setup=OFF)
    assert (result.done, result.undelivered) == (3, "")
    turns = result.folder.tables.read("turns").to_pylist()
    acts = [act for turn in turns for act in turn["acts"] or () if act["kind"] == "note"]
    heard = [a for a in acts if (a["to"], a["text"]) == (NOTE["note_to"], NOTE["note"])]
    calls = result.folder.transcripts.all_calls()
    replies = [call for call in calls if call.draw.purpose == "author"]
    assert len(replies) == 30
    assert len(heard) >= 0.95 * len(replies), [c.reply for c in replies if c.faults]
