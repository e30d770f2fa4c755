"""Who speaks to whom: the networks of a run, their measures, their comparison, their pictures.

The input is the tables of a run; the output is graphs, drawings, and files in other programs'
formats.
"""

__all__ = [
    "build",
    "centrality",
    "comparison",
    "condition_graphs",
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
