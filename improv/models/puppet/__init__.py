"""The puppet: a fake model that plays and judges from a declared process.

It answers in process or as an OpenAI-compatible server. How a process is declared is in
study.puppet_spec.
"""

__all__ = [
    "choices",
    "judge",
    "logprobs",
    "player",
    "schema_filler",
    "server",
]
