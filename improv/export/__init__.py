"""Scenes and runs in other programs' formats: chat JSONL, Hugging Face, Inspect, OpenTelemetry,
Fountain and Markdown.

What comes in from other programs is in study.importing; graphs have formats of their own.
"""

__all__ = [
    "document",
    "exporter",
    "selection",
]
