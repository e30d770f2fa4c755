"""One scene: the Mesa model that steps the characters and the author, and the prompts they read.

A scene is determined by its trial and the replies to its draws: no clock, no network and no disk
here. Draws are made by whoever hosts the stage.
"""

__all__ = [
    "branch_stage",
    "prompts",
    "reply",
    "rules",
    "stage",
]
