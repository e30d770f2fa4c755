"""Character cards of the formats V1, V2 and V3, in JSON, PNG and CHARX.

A card comes from a stranger: its container is read within limits, and its instructions to a model
are shown to the person who imports it, not obeyed.
"""

__all__ = [
    "card",
    "card_file",
    "container",
    "convert",
    "macros",
]
