"""A puppet's log-probabilities, as chat completions and as completions return them."""

from __future__ import annotations

import re

from improv.records import Json

TOKEN_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")
_RIVALS = ("well", "no", "yes", "but", "and", "so", "then", "oh", "why", "here", "now", "if") * 2


def _logprobs(text: str, likelihood: float) -> list[tuple[str, float]]:
    """Return the tokens with their log-probabilities. The first token has that of the whole reply;
    the tokens after it are certain."""
    return [(piece, 0.0 if i else likelihood) for i, piece in enumerate(TOKEN_PIECE.findall(text))]


def _rivals(chosen: tuple[str, float], wanted: int) -> list[tuple[str, float]]:
    """Return the chosen token and unlikely alternatives, `wanted` pairs in all."""
    return [chosen, *((f" {word}", -10.0 - k) for k, word in enumerate(_RIVALS))][:wanted]


def chat_logprobs(text: str, likelihood: float, wanted: int) -> Json:
    def entry(token: str, logprob: float) -> Json:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    content = [
        entry(*chosen) | {"top_logprobs": [entry(*each) for each in _rivals(chosen, wanted)]}
        for chosen in _logprobs(text, likelihood)
    ]
    return {"content": content, "refusal": None}


def text_logprobs(text: str, likelihood: float, wanted: int) -> Json:
    pairs = _logprobs(text, likelihood)
    offsets, at = [], 0
    for piece, _ in pairs:
        offsets.append(at)
        at += len(piece)
    return {
        "tokens": [piece for piece, _ in pairs],
        "token_logprobs": [logprob for _, logprob in pairs],
        "top_logprobs": [dict(_rivals(pair, wanted)) for pair in pairs] if wanted else None,
        "text_offset": offsets,
    }
