"""A run's folder: its journal, lock, shards, Parquet tables, ratings, and how they are read.

Only this package knows how a run lies on disk. What is played into the folder comes from runner;
what its numbers mean is found in analysis.
"""

__all__ = [
    "journal",
    "jsonl",
    "lock",
    "repair",
    "run_files",
    "run_folder",
    "run_ratings",
    "run_tables",
    "runs",
    "schemas",
    "shards",
    "transcripts",
]
