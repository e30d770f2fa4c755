"""The weights of the signs by which `addressee_guess` guesses.

Written by `python -m tools.addressees --write`; not to be edited.
"""

WEIGHTS: dict[str, float] = {
    "I spoke to them": 0.72,
    "echo": 0.49,
    "last": 1.23,
    "last: asked": 0.86,
    "last: asked me": 0.88,
    "last: long": -0.27,
    "last: order": -0.92,
    "last: reply": 0.68,
    "last: self went on": -0.56,
    "last: short": 0.41,
    "last: spoke to another": 0.48,
    "last: spoke to me": 0.79,
    "last: they": 0.67,
    "last: you": 0.26,
    "mentioned": -0.44,
    "nobody": 1.21,
    "nobody: asks": -0.81,
    "nobody: exclaims": 0.45,
    "nobody: last was to nobody": 0.62,
    "nobody: no line before": -0.4,
    "nobody: polite": -1.04,
    "nobody: they": 0.81,
    "nobody: you": -0.68,
    "spoke 2 to 4 ago": 0.1,
    "spoke longer ago": -0.15,
    "spoken to by last": 0.69,
    "they spoke to me": 0.67,
    "you, not last": 0.42,
}
