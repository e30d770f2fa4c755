"""How large a study may be. It is counted, in trial_count, before anything of it is built."""

from __future__ import annotations

MAX_TRIALS = 1_000_000
"""The most trials of a study, branches included, unless the user raises it."""
TRIALS_A_CELL = 100
"""There may be one cell for so many trials: to check a scene takes longer than to plan a trial."""
MAX_BRANCHES = 100_000
"""The most branches, regenerations and probes of one trial, which one process plays and holds."""
MAX_REPLICATES = 1_000_000_000
"""The most replicates or blocks that a file can name. Far fewer are within MAX_TRIALS."""
