"""A page on a run that a referee can read, as HTML and Markdown.

`material` reads a run; all other modules turn its analysis into words, tables and charts.
"""

__all__ = [
    "appendix",
    "comparison",
    "doubts",
    "history",
    "material",
    "numbers",
    "page",
    "run_report",
    "sections",
]
