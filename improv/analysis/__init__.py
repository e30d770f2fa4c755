"""Scores become units of replication, and units become estimates with intervals.

Only `loader`, `exposure_scan`, `cache` and `look_record` read or write files. The package scoring
makes the scores; the package report puts the results into words.
"""

__all__ = [
    "cache",
    "compare",
    "decision",
    "delivery",
    "exposure",
    "exposure_scan",
    "inference",
    "judge_error",
    "loader",
    "look_record",
    "stats",
    "trajectories",
    "units",
]
