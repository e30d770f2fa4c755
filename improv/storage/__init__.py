"""The folder of a run on disk: journal, lock, shards, Parquet tables and ratings.

Only this package knows the layout of the folder. The runner writes into it while it plays, and
analysis interprets the numbers in it.
"""

__all__ = [
    "batch_log",
    "filesystem",
    "history",
    "journal",
    "jsonl",
    "lock",
    "repair",
    "run_files",
    "run_folder",
    "run_ratings",
    "run_record",
    "run_tables",
    "runs",
    "schemas",
    "shards",
    "table_rules",
    "transcripts",
    "twins",
]
