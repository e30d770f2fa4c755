"""Scenes and runs in other programs' formats: chat JSONL, Hugging Face, Inspect, OpenTelemetry,
Fountain and Markdown.

study.importing reads files of other programs; graph writes the formats of graphs.
"""

__all__ = [
    "document",
    "exporter",
    "selection",
]
