"""Measures: a transcript in, scores out. Never the prompts, never the condition."""
