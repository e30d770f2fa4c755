"""Scores become units of replication, and units become estimates with intervals.

Pure but for `loader` and `cache`, which read and keep a run. Where scores come from is scoring;
how results are worded is report.
"""

__all__ = [
    "cache",
    "compare",
    "exposure",
    "exposure_scan",
    "inference",
    "judge_error",
    "loader",
    "stats",
    "trajectories",
    "units",
]
