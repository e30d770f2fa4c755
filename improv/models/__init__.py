"""One endpoint: the request, the client, its transport and limits, and models that need no address.

A draw goes in as an `Ask` and comes back as a `Call`, whatever the endpoint did. What is asked,
and what a reply means to a scene, is decided in stage.
"""

__all__ = [
    "budget",
    "client",
    "embedded",
    "endpoint",
    "gate",
    "puppet",
    "rate_limiter",
    "request",
]
