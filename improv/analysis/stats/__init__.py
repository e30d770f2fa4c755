"""The statistics: each module takes numbers and returns estimates with intervals.

Nothing here knows scenes, studies or runs. A docstring names the source of each formula.
"""

__all__ = [
    "calibration",
    "chain",
    "contrast",
    "drift",
    "interval",
    "permutation",
    "phrasing",
    "power",
    "superposition",
    "survival",
]
