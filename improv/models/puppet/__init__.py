"""The puppet: a fake model that plays and judges from a declared random process.

It answers in this process or as an OpenAI-compatible server. `study.puppet_spec` declares the
process.
"""

__all__ = [
    "choices",
    "judge",
    "logprobs",
    "player",
    "schema_filler",
    "server",
]
