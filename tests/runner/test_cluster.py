"""A cluster of one head and two workers on this machine plays a run, and every node takes part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from improv.runner.launch import run
from improv.runner.session import Setup
from improv.study.design import with_replicates
from improv.study.loader import load


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            started.add_node(num_cpus=1)
        started.wait_for_nodes(timeout=120)
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


@pytest.mark.ray
def test_trials_are_played_on_every_node(
    cluster: Cluster, study_file: Path, tmp_path: Path
) -> None:
    # Latency, so that the first host to arrive does not play everything before the others do.
    slow = {"model": {"model": "puppet", "puppet": {"latency": 0.5}}}
    study = with_replicates(load(study_file, slow), 15)
    result = run(study, runs=tmp_path, setup=Setup(ray=cluster.address, hosts=3, stages=4))
    assert (result.done, result.failed, result.owed) == (60, 0, 0), result.stopped
    hosts = result.folder.meta()["hosts"]
    assert len(hosts) == 3 and len({h["node"] for h in hosts}) == 3
    assert all(h["trials"] for h in hosts) and sum(h["trials"] for h in hosts) == 60
