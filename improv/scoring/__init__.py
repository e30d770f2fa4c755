"""Scores a played run: measures, judges and people rate its lines, and the run keeps the scores.

study.measure_spec describes each measure (name, needs, unit, range); analysis says what the scores
mean for a plan.
"""

__all__ = [
    "human_ratings",
    "judge_models",
    "lost_scores",
    "measures",
    "scorer",
    "scores",
]
