"""A played run is put to measures, judges and people, and their scores are added to it.

What a measure is (its name, needs, unit, range) is in study.measure_spec; what scores mean for a
plan is found in analysis.
"""

__all__ = [
    "human_ratings",
    "measures",
    "scorer",
]
