"""Who speaks to whom: networks of a run, what they measure, how two compare, and pictures.

Tables go in; graphs, files in other programs' formats and drawings come out.
"""

__all__ = [
    "build",
    "centrality",
    "comparison",
    "conversation",
    "drawing",
    "edges",
    "figure",
    "file_formats",
    "graph",
    "layout",
    "metrics",
    "null_model",
    "parallel",
]
