"""A model that only a branch brings has the price that the run's command gave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from improv.errors import ErrorKind
from improv.models.budget import Budget
from improv.report.material import read_material
from improv.runner.branching import branch
from improv.runner.launch import run
from improv.study.edit import Edit
from improv.study.loader import load
from improv.study.model_spec import Price
from tests.support.run import OFF
from tests.support.weather import RawServer, Send, http, said

SCENE = """\
title: Two Chairs
premise: Ana and Bo wait.
cast:
  - {name: Ana, role: who waits}
  - {name: Bo, role: who hurries}
turns: 4
model: {model: odd, base_url: "%s"}
"""


def test_a_model_of_a_branch_has_the_price_of_the_run(tmp_path: Path) -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        model = "other" if b'"other"' in request else "odd"
        usage = {"prompt_tokens": 100 + n, "completion_tokens": 1000}
        return http(said("Then we wait.", usage=usage, model=model))

    with RawServer(reply) as server:
        file = tmp_path / "chairs.yaml"
        file.write_text(SCENE % server.url)
        setup = replace(OFF, price=Price(prompt=0, completion=1000))
        played = run(load(file), runs=tmp_path / "runs", setup=setup)
        edit = Edit(scene={"cast": {"Bo": {"model": {"model": "other", "base_url": server.url}}}})
        agreed = replace(OFF, trusted=(server.url,))
        fresh = branch(played.folder, "0", 2, edit=edit, setup=agreed)
        assert fresh.branches == 1 and not fresh.owed
        costs = read_material(played.folder).costs
        assert costs == {"odd": pytest.approx(5.0), "other": pytest.approx(1.0)}
        # What the branch's model costs counts for a budget in dollars too.
        poor = replace(agreed, budget=Budget(cost=6.5))
        stopped = branch(played.folder, "0", 2, edit=edit, draws=3, setup=poor)
        assert stopped.kind is ErrorKind.BUDGET and stopped.owed
