"""Plays a study: finds the trials that are owed, starts hosts, gives them trials, ends the run.

The package also estimates a study's cost and power, checks a session before its first call, and
checks played runs (replay, provenance). Scenes are played in stage, and measured in scoring.
"""

__all__ = [
    "branching",
    "doctor",
    "estimate",
    "launch",
    "power",
    "registration",
    "replay",
    "run_history",
    "session",
]
