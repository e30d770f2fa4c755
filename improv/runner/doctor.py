"""Examines this machine: the packages, the embedded model, the folder of runs, and Ray."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from improv.errors import ImprovError
from improv.records import Draw
from improv.study.model_spec import Model


@dataclass(frozen=True)
class Finding:
    """One check: what was checked, whether it is good, its result, and the remedy if not good."""

    what: str
    good: bool
    result: str
    remedy: str = ""


def examine(runs: str, ray_at: str) -> Iterator[Finding]:
    """Check everything that a run needs, the cheapest checks first.

    `runs` is the folder of runs, and `ray_at` is Ray's address, or "off".
    """
    yield Finding("python", sys.version_info >= (3, 11), platform.python_version())
    for name in ("improv-theatre", "ray", "mesa", "openai", "pyarrow", "networkx", "streamlit"):
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed", "python -m pip install improv-theatre")
    yield _endpoint()
    yield _embedded()
    yield _writable(runs)
    if ray_at != "off":
        yield _ray(ray_at)


def _endpoint() -> Finding:
    url = os.environ.get("OPENAI_BASE_URL")
    key = "set" if os.environ.get("OPENAI_API_KEY") else "not set"
    where = "set" if url else "not set (calls go to OpenAI)"
    return Finding("endpoint", True, f"OPENAI_BASE_URL {where}, OPENAI_API_KEY {key}")


def _embedded() -> Finding:
    """Play one line with the embedded model, which a scene uses if it names no model."""
    from improv.models.client import Models
    from improv.models.embedded import embedded_server, weights_file
    from improv.models.request import Ask, Prompt

    async def ask() -> str:
        async def url(model: str) -> str:
            return embedded_server(model).url

        models = Models(url)
        prompt = Prompt("script", (), text="TWO CLOWNS\n\nANA: Knock, knock.\nBO:", stop=("\n",))
        try:
            model = Model(max_tokens=24)
            call = await models.complete(
                Ask(Draw("doctor", "main", 1, "Bo", "line"), model, prompt)
            )
        finally:
            await models.close()
        if call.error:
            raise ImprovError(call.error_line)
        return call.reply.strip()

    began = time.perf_counter()
    try:
        path = weights_file("embedded")
        reply = asyncio.run(ask())
    except ImprovError as e:
        text, _, remedy = str(e).partition("; run: ")
        return Finding("embedded model", False, text, remedy)
    seconds = time.perf_counter() - began
    return Finding("embedded model", True, f"{path.stem} answers in {seconds:.1f} s: “{reply}”")


def _writable(runs: str) -> Finding:
    from improv.storage.filesystem import local_folder
    from improv.storage.runs import runs_filesystem

    try:
        fs, path = runs_filesystem(runs)
        folder, probe = local_folder(fs, path), ".doctor"
        if folder is not None:
            folder.make()
            folder.write(probe, b"improv")
            folder.remove(probe)
        else:
            fs.create_dir(path)
            with fs.open_output_stream(f"{path}/{probe}") as sink:
                sink.write(b"improv")
            fs.delete_file(f"{path}/{probe}")
    except (OSError, ImprovError) as e:
        return Finding("runs folder", False, f"{runs}: {e}", "choose another with --runs")
    return Finding("runs folder", True, f"{path} can be written")


def _ray(address: str) -> Finding:
    import ray

    from improv.ray_cluster import start_ray

    began = time.perf_counter()
    try:
        ours = start_ray(address)
        nodes = len(ray.nodes())
        cpus = ray.cluster_resources().get("CPU", 0)
        if ours:
            ray.shutdown()
    except ImprovError as e:
        return Finding("ray", False, str(e), "play with --ray off meanwhile")
    seconds = time.perf_counter() - began
    return Finding("ray", True, f"{nodes} node(s), {cpus:g} CPUs, started in {seconds:.1f} s")
