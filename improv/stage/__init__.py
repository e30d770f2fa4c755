"""One scene: the Mesa model that steps the characters and the author, and the prompts they read.

The trial and the replies to its draws determine a scene: there is no clock, no network and no disk
here. The host of a stage makes the draws.
"""

__all__ = [
    "author",
    "branch_stage",
    "prompts",
    "reply",
    "rules",
    "stage",
]
