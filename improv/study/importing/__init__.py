"""Files of other programs that become scenes: Fountain screenplays and character cards.

Each importer reads a file into plain data and then makes a scene of the data. What improv writes
for other programs is in export.
"""

__all__ = [
    "cards",
    "fountain",
    "importer",
    "names",
    "screenplay",
]
