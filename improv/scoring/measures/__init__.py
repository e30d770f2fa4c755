"""The measures: each module turns a transcript, or a judge's replies, into scores.

A measure sees lines, never a prompt or a condition. A reply that cannot be read is missing, never
consistent.
"""

__all__ = [
    "attribution",
    "calibration",
    "dispersion",
    "judge_item",
    "judge_prompts",
    "likelihood",
    "persona",
    "predicates",
    "probe",
    "questions",
    "secret",
    "stylometry",
    "trait_state",
]
