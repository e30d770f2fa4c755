"""Plays a study: finds what is owed, starts hosts, gives them trials, and brings the run to an end.

Also what is decided before the first call (estimates, power, preflight) and what checks a played
run (replay, provenance). What a scene does is in stage; what is measured, in scoring.
"""

__all__ = [
    "branching",
    "doctor",
    "estimate",
    "launch",
    "power",
    "replay",
    "session",
]
