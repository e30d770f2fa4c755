"""Doors to the rest of the field: what comes in from other programs, and what goes out to them."""
