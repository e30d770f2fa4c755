"""What an endpoint is sent to score a given text, and how its answers are read. Pure.

Three kinds of endpoints can say how probable a text is. llama.cpp gives the raw log-probability of
each token that it draws, so it is made to draw the given ones: by a grammar of token ids, or, if it
is older than such grammars, by a bias for one token at a time. vLLM and others repeat a prompt with
the log-probability of each of its tokens (`echo`, or `prompt_logprobs`). `given_scorer` finds out
which way an endpoint knows, and sends the requests.

The prompt and the text are tokenised together, because a model may put the end of the one and the
beginning of the other into one token. Such a token counts as the text's. Forcing the characters
instead of the tokens (`root ::= "text"`) would score odd ways to spell the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import orjson

from improv.errors import ErrorKind, ModelError
from improv.records import Json


class Way(StrEnum):
    """A way in which an endpoint scores a given text, by its name in run.json."""

    GRAMMAR = "scores by grammar"
    TOKENS = "scores token by token"
    ECHO = "scores by echo"
    PROMPT = "scores by prompt_logprobs"

    @property
    def forces(self) -> bool:
        """Whether the endpoint draws the text, which llama.cpp does."""
        return self in (Way.GRAMMAR, Way.TOKENS)


WAY_WORDS = {
    Way.GRAMMAR: "by grammars of its tokens, as llama.cpp has them",
    Way.TOKENS: "one token at a time, as an older llama.cpp does",
    Way.ECHO: "by repeating the prompt (echo and logprobs), as vLLM does",
    Way.PROMPT: "by the probabilities of the prompt (prompt_logprobs), as vLLM does",
}
UNSCORED = (
    "does not score a given text: that needs llama.cpp (the embedded model, or its server at an "
    "address that ends with /v1), or /v1/completions with echo and logprobs, or with "
    "prompt_logprobs, as vLLM has them"
)


@dataclass(frozen=True, slots=True)
class Scored:
    """The log-probability of a text, and of how many tokens it is the sum."""

    logprob: float
    tokens: int

    def as_text(self) -> str:
        """Return it as the reply of a call holds it."""
        return orjson.dumps({"logprob": self.logprob, "tokens": self.tokens}).decode()


def read_scored(reply: str) -> Scored | None:
    """Read the reply of a call; None if it holds no finite log-probability."""
    try:
        row = orjson.loads(reply)
        logprob, tokens = float(row["logprob"]), int(row["tokens"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return Scored(logprob, tokens) if math.isfinite(logprob) else None


# -- llama.cpp: the text is forced ----------------------------------------------------------------

_BIAS = 100.0
"""What is added to the logit of a token so that no other one is drawn. It is small enough that
32-bit logits keep five digits behind the point."""
GAPS = (15.0, 40.0, 65.0)
"""By how much another token is preferred to a hidden one, so that it is drawn; see `hidden_bodies`.
The next one is tried if the hidden token was drawn all the same."""
_MOST_FORCED = 256
"""Tokens in one grammar."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of llama.cpp: its id, and the bytes that it stands for."""

    id: int
    piece: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens that one request scores.

    "whole" tokens are whole characters. A "part" is a part of a character, and "hidden" if it
    leaves a character open: llama.cpp shows no probability of such a token.
    """

    kind: Literal["whole", "part", "hidden"]
    tokens: tuple[Token, ...]


def tokenize_body(text: str) -> Json:
    """Return the body for llama.cpp's /tokenize. What a model has written is text, so that no part
    of it becomes a token that ends a message, say."""
    return {"content": text, "add_special": True, "parse_special": False, "with_pieces": True}


def read_tokens(response: Json) -> tuple[Token, ...]:
    """Read the tokens of a text. Raises ModelError."""
    try:
        rows = response["tokens"]
        return tuple(Token(_id(row["id"]), _bytes(row["piece"])) for row in rows)
    except (KeyError, TypeError, ValueError):
        raise _unscored("its /tokenize lists no tokens with their pieces") from None


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError("no id of a token")
    return value


def _bytes(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def split_tokens(
    tokens: Sequence[Token], given: str
) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """Return the tokens of the prompt and those of the given text, which stand at the end.

    They are counted from the end, because a tokenizer may put a mark or a space at the beginning.
    Raises ModelError if the tokens do not spell the text.
    """
    wanted, at, size = given.encode(), len(tokens), 0
    while size < len(wanted) and at > 0:
        at -= 1
        size += len(tokens[at].piece)
    mine = tuple(tokens[at:])
    if not b"".join(token.piece for token in mine).endswith(wanted):
        raise ModelError(
            "the tokens of this model do not spell the text as it stands (its tokenizer changes "
            "what it reads), so that the text has no probability",
            kind=ErrorKind.UNREADABLE,
        )
    if at == 0:
        raise ModelError("a text is scored after a prompt, and there is none", kind=ErrorKind.MODEL)
    return tuple(tokens[:at]), mine


def steps(tokens: Sequence[Token], way: Way) -> list[Step]:
    """Return the requests that score these tokens: as few as the way allows."""
    most = _MOST_FORCED if way is Way.GRAMMAR else 1
    result: list[Step] = []
    for token in tokens:
        kind = _kind(token.piece)
        last = result[-1] if result else None
        if last is not None and kind == last.kind == "whole" and len(last.tokens) < most:
            result[-1] = Step(kind, (*last.tokens, token))
        else:
            result.append(Step(kind, (token,)))
    return result


def _kind(piece: bytes) -> Literal["whole", "part", "hidden"]:
    try:
        piece.decode()
        return "whole"
    except UnicodeDecodeError:
        pass
    # As llama.cpp looks at the end of what it has drawn: a first byte without those that follow it.
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        length = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 0
        length = 4 if byte & 0xF8 == 0xF0 else length
        if length > back:
            return "hidden"
    return "part"


def forced_body(before: Sequence[Token], step: Step, way: Way) -> Json:
    """Return the body of the request that draws the tokens of a step after those `before`.

    With the temperature alone there is no other sampler that could take a token away; the
    log-probabilities are those of the model, before any sampler (`post_sampling_probs`).
    """
    ids = [token.id for token in step.tokens]
    body = _drawing(before, len(ids))
    if way is Way.GRAMMAR and step.kind == "whole":
        return body | {"grammar": "root ::= " + " ".join(f"<[{i}]>" for i in ids)}
    return body | {"logit_bias": [[ids[0], _BIAS]]}


def hidden_bodies(before: Sequence[Token], hidden: Token, gap: float) -> tuple[Json, Token]:
    """Return the request that scores a hidden token beside another one, and this other one.

    Where a character is left open, llama.cpp shows nothing until it is closed. So another token is
    drawn, with the hidden one as the only alternative: the two log-probabilities after sampling
    differ as the raw ones do, and by `gap`.
    """
    other = next((t for t in reversed(before) if t.piece.isascii() and t.piece), None)
    if other is None or other.id == hidden.id:
        raise _unscored("there is no ASCII token before a character that has several tokens")
    body = _drawing(before, 1) | {
        "logit_bias": [[hidden.id, _BIAS], [other.id, _BIAS + gap]],
        "logprobs": 2,
        "post_sampling_probs": True,
    }
    return body, other


def _drawing(before: Sequence[Token], count: int) -> Json:
    return {
        "prompt": [token.id for token in before],
        "max_tokens": count,
        "samplers": ["temperature"],
        "temperature": 1.0,
        "logprobs": 1,
        "post_sampling_probs": False,
        "cache_prompt": True,
    }


def read_forced(response: Json, tokens: Sequence[Token]) -> list[float]:
    """Read the log-probabilities of forced tokens: of all, or of the first ones if the server draws
    fewer at once. Raises ModelError if it has drawn other ones."""
    try:
        entries = response["choices"][0]["logprobs"]["content"]
        values = [float(entry["logprob"]) for entry in entries]
        ids = [entry["id"] for entry in entries]
    except (KeyError, IndexError, TypeError, ValueError):
        raise _unscored("it returns no log-probabilities with the ids of their tokens") from None
    if not ids or ids != [token.id for token in tokens[: len(ids)]]:
        raise _unscored("it draws other tokens than those that its grammar or a bias allows")
    return _finite(values)


def read_beside(response: Json, hidden: Token, other: Token) -> float | None:
    """Read log P(hidden) − log P(other) after sampling; None if the hidden token was drawn."""
    try:
        scored = response["choices"][0]["logprobs"]
        if not scored or not scored["content"]:
            return None
        top = {row["id"]: float(row["prob"]) for row in scored["content"][0]["top_probs"]}
        return math.log(top[hidden.id]) - math.log(top[other.id])
    except (KeyError, IndexError, TypeError, ValueError):
        raise _unscored("it does not list the tokens that a bias prefers") from None


# -- vLLM and others: the prompt is repeated with its probabilities -------------------------------


def repeat_body(text: str, way: Way) -> Json:
    """Return the body of the request that has its own prompt scored. Some endpoints refuse to draw
    no token at all, so one is drawn."""
    body: Json = {"prompt": text, "max_tokens": 1, "temperature": 1.0}
    if way is Way.ECHO:
        return body | {"echo": True, "logprobs": 1}
    return body | {"prompt_logprobs": 1}


def read_repeated(response: Json, text: str, given: str, way: Way) -> Scored:
    """Read the log-probability of `given`, with which the prompt `text` ends. Raises ModelError."""
    rows = _echoed(response) if way is Way.ECHO else _prompt_logprobs(response)
    border = len(text) - len(given)
    ends = _ends(rows, text)
    mine = [row[1] for row, end in zip(rows, ends, strict=False) if end > border]
    if not mine or any(value is None for value in mine):
        raise _unscored("it scores no token of the text")
    for token, _ in rows[: len(ends)]:
        if token is not None and _SPECIAL.fullmatch(token) and token in text:
            raise ModelError(
                f"the text holds {token!r}, which this endpoint reads as a mark of its own and not "
                "as text; llama.cpp can be told that it is text",
                kind=ErrorKind.UNREADABLE,
            )
    values = _finite([value for value in mine if value is not None])
    return Scored(math.fsum(values), len(values))


_Row = tuple[str | None, float | None]
"""A token as text, None if it is not known, and its log-probability, None for the first."""
_SPECIAL = re.compile(r"<[|｜].*[|｜]>|</?[A-Za-z_]+>|\[/?[A-Z_]{3,}\]")
"""A token that no tokenizer makes of plain text, but of a mark such as <|im_end|>."""


def _echoed(response: Json) -> list[_Row]:
    try:
        scored = response["choices"][0]["logprobs"]
        rows = zip(scored["tokens"], scored["token_logprobs"], strict=True)
        return [(str(token), None if v is None else float(v)) for token, v in rows]
    except (KeyError, IndexError, TypeError, ValueError):
        raise _unscored("it does not repeat the prompt with log-probabilities") from None


def _prompt_logprobs(response: Json) -> list[_Row]:
    try:
        rows = response.get("prompt_logprobs") or response["choices"][0]["prompt_logprobs"]
        return [_actual(row) for row in rows]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise _unscored("it returns no prompt_logprobs") from None


def _actual(row: Json | None) -> _Row:
    """Return the prompt's own token of a position, at which a likelier one may be listed too."""
    if row is None:
        return None, None
    token = max(row.values(), key=lambda each: each.get("rank") or 0)
    text = token.get("decoded_token")
    return None if text is None else str(text), float(token["logprob"])


def _ends(rows: Sequence[_Row], text: str) -> list[int]:
    """Return where in the text each token ends, up to the last token of the text.

    A part of a character is shown as U+FFFD, of which nobody can say whether it ends the character.
    So all ends that are possible are kept until a whole token decides. The first token may be a
    mark of the beginning, which is no text. Raises ModelError if the tokens do not spell the text.
    """
    places, ends = {0}, []
    for number, (token, _) in enumerate(rows):
        if len(text) in places and len(places) == 1:
            break
        reached = {end for place in places for end in _reached(token, text, place)}
        if number == 0:
            reached |= places if token is not None else set(range(min(len(text), _FIRST) + 1))
        if not reached:
            raise _unscored("the tokens that it repeats are not those of the prompt")
        places = reached
        ends.append(0 if token is None else max(places))
    if len(text) not in places:
        raise _unscored("it repeats only a part of the prompt")
    return ends


_FIRST = 40
"""Characters of a first token that is not named, at most."""


def _reached(token: str | None, text: str, place: int) -> set[int]:
    if token is None:
        return set()
    places = {place}
    for part in re.split("(\ufffd)", token):
        if part == "\ufffd":
            places |= {p + 1 for p in places if p < len(text) and not text[p].isascii()}
        else:
            places = {p + len(part) for p in places if text.startswith(part, p)}
    return places


def _finite(values: list[float]) -> list[float]:
    if not all(map(math.isfinite, values)):
        raise _unscored("a log-probability that it returns is no finite number")
    return values


def _unscored(why: str) -> ModelError:
    return ModelError(f"this endpoint {UNSCORED}; here {why}", kind=ErrorKind.UNSCORED)
