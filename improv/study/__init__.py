"""What people write: scenes, studies, plans, model and puppet specs, character cards, screenplays.

This package reads files into frozen data, or reports errors with line and column, and it unfolds a
study into trials and branches. It plays no scene, calls no model and touches no run folder.
"""

__all__ = [
    "address",
    "author_spec",
    "branch",
    "design",
    "edit",
    "edit_summary",
    "importing",
    "limits",
    "loader",
    "measure_spec",
    "model_spec",
    "named_models",
    "overrides",
    "plain_data",
    "plan",
    "predicate",
    "puppet_spec",
    "scene",
    "snapshot",
    "trial",
    "trial_count",
    "yaml_source",
]
