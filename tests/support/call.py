"""A call as a model's client returns it. A test names only the fields that matter to it."""

from __future__ import annotations

from typing import Any

from improv.records import Call, Draw


def made_call(draw: Draw, **fields: Any) -> Call:
    """Return a successful call of `draw`, changed by these fields."""
    made: dict[str, Any] = {
        "model": "m",
        "endpoint": "e",
        "mode": "chat",
        "params": "{}",
        "blocks": (),
        "reply": "Aye.",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "cached_tokens": 0,
        "started": 0.0,
        "latency": 0.0,
        "retries": 0,
    }
    return Call(draw=draw, **made | fields)
