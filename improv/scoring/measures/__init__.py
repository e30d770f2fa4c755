"""The measures: each module turns a transcript, or a judge's replies, into scores.

A measure reads lines, never a prompt or a condition. The score of an unreadable reply is missing;
it does not count as consistent.
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
    "superposition",
    "trait_state",
]
