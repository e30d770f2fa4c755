"""improv from Python: runs, tables, transcripts and results as objects that a notebook shows.

`import improv` offers these names; docs/python.md has examples.
"""

__all__ = [
    "run",
    "table",
]
