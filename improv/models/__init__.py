"""Calls to models: the request, the client, transport and limits, the embedded model, the puppet.

The package takes a draw as an `Ask` and returns a `Call`, also if the endpoint failed. The stage
writes the prompts and interprets the replies.
"""

__all__ = [
    "agreed",
    "budget",
    "client",
    "embedded",
    "endpoint",
    "gate",
    "given_text",
    "manners",
    "manners_keeper",
    "puppet",
    "rate_limiter",
    "redaction",
    "request",
    "response",
]
