"""improv from Python: runs, tables, transcripts and results as objects that a notebook shows.

`import improv` offers these names; docs/python.md shows them at work.
"""

__all__ = [
    "run",
    "table",
]
