"""A million turns as graphs: time and memory from the run's folder to files of every format.

Makes a run of 50,000 scenes of 20 turns under five conditions, with a cast of four each. A process
of its own then does the work of `improv graph --by condition`: it reads the run, finds whom lines
address, answer and mention, sums the edges, draws, and writes. Then it computes the figures with
their null models, and compares two conditions. Prints `graphs <seconds> s <MiB> MiB` first. At last
one process, and then a Ray task for each condition, make the same graphs with figures; the
benchmark prints the seconds and the memory of the largest process.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from improv.storage.run_folder import RunFolder
from improv.storage.runs import runs_filesystem
from improv.storage.schemas import SCHEMAS
from improv.study.design import Condition, Study
from improv.study.scene import Scene

SCENES, TURNS, CONDITIONS = 50_000, 20, 5
CAST = ("Mara", "Bo", "Inès", "Dov")
WORDS = ("the", "boat", "is", "late", "and", "nobody", "told", "us", "what", "water", "wants")


def folder(root: str) -> RunFolder:
    """Make a finished run of this size."""
    scene = Scene.model_validate(
        {
            "title": "The Last Ferry",
            "premise": "Four people wait for a boat.",
            "cast": [{"name": name, "role": "who waits"} for name in CAST],
            "turns": TURNS,
            "model": "puppet",
        }
    )
    arms = tuple(Condition(f"arm {i}", (("arm", f"arm {i}"),)) for i in range(CONDITIONS))
    study = Study(name="ferry", conditions=arms, cells=tuple(("ferry", arm, scene) for arm in arms))
    fs, base = runs_filesystem(root)
    run = RunFolder(fs, f"{base}/million", base)
    run.create(study, {"study": "ferry", "status": "done", "conditions": [a.name for a in arms]})
    chance = np.random.default_rng(1)
    trials = _trials()
    _write(run, "trials", trials)
    _write(run, "turns", _turns(trials["trial"].to_pylist(), chance))
    return run


def _trials() -> pa.Table:
    at = np.arange(SCENES)
    ids = [f"{i:012x}" for i in (at * 2_654_435_761 % 2**48).tolist()]
    blanks = {pa.string(): "", pa.int32(): 0, pa.int64(): 0, pa.float64(): 0.0}
    columns: dict[str, object] = {
        field.name: pa.array([blanks.get(field.type, [])] * SCENES, field.type)
        for field in SCHEMAS["trials"]
    }
    columns |= {
        "trial": ids,
        "branch": ["main"] * SCENES,
        "index": at,
        "scene": ["ferry"] * SCENES,
        "condition": [f"arm {i}" for i in (at % CONDITIONS).tolist()],
        "block": [f"ferry/{i}" for i in (at // CONDITIONS).tolist()],
        "origin": ["main"] * SCENES,
        "status": ["done"] * SCENES,
        "turns": np.full(SCENES, TURNS),
    }
    return pa.table(columns, schema=SCHEMAS["trials"])


def _turns(ids: list[str], chance: np.random.Generator) -> pa.Table:
    count = SCENES * TURNS
    who = chance.integers(0, 4, count)
    to = (who + chance.integers(1, 4, count)) % 4
    open_ = chance.random(count) < 0.2
    by = chance.choice(["name", "order", "said"], count)
    words = chance.choice(WORDS, (count, 9))
    named = np.where(chance.random(count) < 0.2, chance.choice(CAST, count), "it")
    # A line is nine random words, and sometimes a name: "the boat is late ... for Bo."
    text = [" ".join(row) + f" for {name}." for row, name in zip(words, named, strict=True)]
    acts = [
        [{"kind": "note", "to": CAST[i % 4], "text": "Slower."}] if i % 4 == 0 else []
        for i in range(count)
    ]
    return pa.table(
        {
            "trial": np.repeat(ids, TURNS),
            "branch": ["main"] * count,
            "turn": np.tile(np.arange(1, TURNS + 1), SCENES),
            "seq": np.zeros(count),
            "kind": ["line"] * count,
            "speaker": np.array(CAST)[who],
            "text": text,
            "raw": text,
            "cuts": [[]] * count,
            "addressed": np.where(open_, "", np.array(CAST)[to]),
            "by": np.where(open_, "none", by),
            "aside": np.zeros(count, dtype=bool),
            "heard_by": [list(CAST)] * count,
            "acts": acts,
        },
        schema=SCHEMAS["turns"],
    )


def _write(run: RunFolder, name: str, table: pa.Table) -> None:
    order = [(c, "ascending") for c in ("trial", "turn") if c in table.schema.names]
    pq.write_table(
        table.sort_by(order),
        run.local / f"{name}.parquet",
        compression="zstd",
        row_group_size=10_000,
    )


def measure(root: str) -> None:
    """Do the work, and print its time and memory."""
    from improv.graph.build import (
        GraphRequest,
        GraphResult,
        conversation_graphs,
        graph_files,
        load_conversation,
    )
    from improv.graph.comparison import compare_conditions
    from improv.graph.file_formats import FORMATS
    from improv.graph.null_model import compare_with_null
    from improv.storage.runs import open_run

    began = time.perf_counter()
    talk = load_conversation(open_run(root, "million"))
    reading = time.perf_counter() - began
    graphs = conversation_graphs(talk, GraphRequest(by="condition", null=False))
    for form in FORMATS:
        for name, data in graph_files(GraphResult("ferry", graphs), f"ferry.{form}"):
            (Path(root) / name).write_bytes(data)
    whole = time.perf_counter() - began
    print(f"graphs {whole:.1f} s {_peak():.0f} MiB")
    print(f"  {len(talk.lines):,} turns read in {reading:.1f} s; {len(graphs)} conditions")
    began = time.perf_counter()
    compare_with_null(talk, seed=1)
    print(f"figures with their null models {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    comparison = compare_conditions(talk, "arm 0", "arm 1")
    seconds = time.perf_counter() - began
    print(f"two conditions in {comparison.units:,} blocks {seconds:.1f} s, p {comparison.p:.3f}")
    print(f"peak {_peak():.0f} MiB")


def at_once(root: str, ray: str) -> None:
    """Read, measure and write the conditions in parallel on Ray, or with "off" in this process."""
    from improv.graph import parallel
    from improv.graph.build import GraphRequest, graph_files
    from improv.ray_cluster import start_ray
    from improv.storage.runs import open_run

    began = time.perf_counter()
    largest, over = [0.0], threading.Event()
    watching = threading.Thread(target=_watch, args=(largest, over))
    watching.start()
    if ray != "off":
        start_ray(ray)
    started = time.perf_counter() - began
    result = parallel.build_graphs_with_ray(
        open_run(root, "million"), GraphRequest(by="condition"), ray
    )
    written = [
        data for name in ("x.gexf", "x.json", "x.svg") for _, data in graph_files(result, name)
    ]
    seconds = time.perf_counter() - began
    over.set()
    watching.join()
    print(
        f"--ray {ray}: {seconds:.1f} s, {started:.1f} of them to start; this process "
        f"{_peak():.0f} MiB, the largest task {largest[0]:.0f} MiB; "
        f"{len(written)} files, sum {zlib.crc32(b''.join(written)):08x}"
    )


def _watch(largest: list[float], over: threading.Event) -> None:
    while not over.wait(0.1):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.name().startswith("ray::build_condition"):
                    largest[0] = max(largest[0], child.memory_info().rss / 2**20)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        folder(root)
        # In processes of their own, so that the memory for making the run does not count.
        subprocess.run([sys.executable, __file__, "--measure", root], check=True)
        for ray in ("off", "local"):
            subprocess.run([sys.executable, __file__, "--at-once", root, ray], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    elif sys.argv[1:2] == ["--at-once"]:
        at_once(*sys.argv[2:4])
    else:
        main()
