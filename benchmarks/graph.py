"""A million turns as graphs: time and memory from the run's folder to files of every format.

Makes a run of 50,000 scenes of 20 turns under five conditions, a cast of four each, and then, in a
process of its own, what `improv graph --by condition` does: reads it, finds whom lines speak to,
answer and mention, sums them, draws, and writes. Then the figures with their null models, and two
conditions against each other. Prints `graphs <seconds> s <MiB> MiB` first. Then the same graphs,
with figures, by one process and by a Ray task for each condition: seconds, and the largest process.
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
    """Make the run: a finished one, as a run of that size leaves it."""
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
    made = RunFolder(fs, f"{base}/million", base)
    made.create(study, {"study": "ferry", "status": "done", "conditions": [a.name for a in arms]})
    chance = np.random.default_rng(1)
    trials = _trials()
    _write(made, "trials", trials)
    _write(made, "turns", _turns(trials["trial"].to_pylist(), chance))
    return made


def _trials() -> pa.Table:
    at = np.arange(SCENES)
    ids = [f"{i:012x}" for i in (at * 2_654_435_761 % 2**48).tolist()]
    columns: dict[str, object] = {
        name: pa.array([None] * SCENES, SCHEMAS["trials"].field(name).type)
        for name in SCHEMAS["trials"].names
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
    }
    return pa.table(columns, schema=SCHEMAS["trials"])


def _turns(ids: list[str], chance: np.random.Generator) -> pa.Table:
    many = SCENES * TURNS
    who = chance.integers(0, 4, many)
    to = (who + chance.integers(1, 4, many)) % 4
    open_ = chance.random(many) < 0.2
    by = chance.choice(["name", "order", "said"], many)
    words = chance.choice(WORDS, (many, 9))
    named = np.where(chance.random(many) < 0.2, chance.choice(CAST, many), "it")
    # "Mara, the boat is late ... for Bo": words, somebody's name now and then.
    text = [" ".join(row) + f" for {name}." for row, name in zip(words, named, strict=True)]
    acts = [
        [{"kind": "note", "to": CAST[i % 4], "text": "Slower."}] if i % 4 == 0 else []
        for i in range(many)
    ]
    return pa.table(
        {
            "trial": np.repeat(ids, TURNS),
            "branch": ["main"] * many,
            "turn": np.tile(np.arange(1, TURNS + 1), SCENES),
            "seq": np.zeros(many),
            "kind": ["line"] * many,
            "speaker": np.array(CAST)[who],
            "text": text,
            "raw": text,
            "cuts": [[]] * many,
            "addressed": np.where(open_, "", np.array(CAST)[to]),
            "by": np.where(open_, "none", by),
            "aside": np.zeros(many, dtype=bool),
            "heard_by": [list(CAST)] * many,
            "acts": acts,
        },
        schema=SCHEMAS["turns"],
    )


def _write(made: RunFolder, name: str, table: pa.Table) -> None:
    order = [(c, "ascending") for c in ("trial", "turn") if c in table.schema.names]
    pq.write_table(
        table.sort_by(order),
        made.local / f"{name}.parquet",
        compression="zstd",
        row_group_size=10_000,
    )


def measure(root: str) -> None:
    """Do the work, and say what it took."""
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
    read = open_run(root, "million")
    talk = load_conversation(read)
    reading = time.perf_counter() - began
    made = conversation_graphs(talk, GraphRequest(by="condition", null=False))
    for form in FORMATS:
        for name, data in graph_files(GraphResult("ferry", made), f"ferry.{form}"):
            (Path(root) / name).write_bytes(data)
    whole = time.perf_counter() - began
    print(f"graphs {whole:.1f} s {_peak():.0f} MiB")
    print(f"  {len(talk.lines):,} turns read in {reading:.1f} s; {len(made)} conditions")
    began = time.perf_counter()
    compare_with_null(talk, seed=1)
    print(f"figures with their null models {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    found = compare_conditions(talk, "arm 0", "arm 1")
    seconds = time.perf_counter() - began
    print(f"two conditions in {found.units:,} blocks {seconds:.1f} s, p {found.p:.3f}")
    print(f"peak {_peak():.0f} MiB")


def at_once(root: str, ray: str) -> None:
    """Read, measure and write conditions at once on Ray, or with "off" in this process."""
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
    found = parallel.build_graphs_with_ray(
        open_run(root, "million"), GraphRequest(by="condition"), ray
    )
    written = [
        data for name in ("x.gexf", "x.json", "x.svg") for _, data in graph_files(found, name)
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
        # What made the run must not count.
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
