"""What people write: scenes, studies, plans, model and puppet specs, character cards, screenplays.

Files become frozen data here, or an error that names line and column, and a study unfolds into
trials and branches. Nothing here plays a scene, asks a model or touches a run's folder.
"""

__all__ = [
    "address",
    "author_spec",
    "branch",
    "design",
    "edit",
    "edit_summary",
    "importing",
    "loader",
    "measure_spec",
    "model_spec",
    "named_models",
    "overrides",
    "plan",
    "predicate",
    "puppet_spec",
    "scene",
    "snapshot",
    "trial",
    "yaml_source",
]
