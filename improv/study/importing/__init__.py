"""Files of other programs that become scenes: Fountain screenplays and character cards.

A file is read into plain data first and becomes a scene second. What improv writes for other
programs is in export.
"""

__all__ = [
    "cards",
    "fountain",
    "importer",
    "names",
    "screenplay",
]
