"""What models write that are asked for an author's JSON, and that no schema holds to it.

All of it means one thing: a note to Rufina Ortega, and that Bo speaks next.
"""

from __future__ import annotations

import json

NOTE = {"note_to": "Rufina Ortega", "note": "Look at the clock.", "next": "Bo"}
PLAIN = json.dumps(NOTE)
SHAPES = [
    PLAIN,
    json.dumps(NOTE, indent=2),
    f"```json\n{PLAIN}\n```",
    f"```\n{PLAIN}\n```",
    f"Here is my note:\n\n{PLAIN}",
    f"{PLAIN}\n\nI hope that this helps the scene!",
    f"Sure! Here you go:\n```json\n{PLAIN}\n```\nLet me know.",
    f"<think>Bo is too fast. {{hm}}</think>\n{PLAIN}",
    f"<thinking>Who is next?</thinking>\n```json\n{PLAIN}\n```",
    f"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>{PLAIN}",
    json.dumps(NOTE | {"reason": "She is late."}),
    json.dumps({"response": NOTE}),
    json.dumps([NOTE]),
    json.dumps(NOTE | {"note_to": "RUFINA", "next": "BO "}),
    json.dumps(NOTE | {"note_to": "rufina ortega"}),
    json.dumps({key.title(): value for key, value in NOTE.items()}),
    json.dumps({"note_to": ["Rufina Ortega"], "note": "Look at the clock.", "next": None}),
    PLAIN.replace("}", ",}"),
    PLAIN.replace('"', "'"),
    f"JSON:\n{PLAIN}",
]
"""What models write that were asked for JSON in words alone."""
