"""Checks that a placebo is as long as the context that it has to match, in the model's tokens.

If two contexts differ in length, their effects may come from the length. The tokenizer of the
playing model counts the tokens if it can be called (an embedded model, llama.cpp, vLLM). For other
models words and punctuation marks are counted; the report says which.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from improv.errors import EndpointError, MachineError, Problem, StudyError, first_line
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.embedded import EmbeddedServer
from improv.models.endpoint import public_address, remote_address, secret_for
from improv.models.puppet.player import count_tokens
from improv.models.redaction import Redactor, known_keys
from improv.records import Json
from improv.stage import prompts
from improv.study.design import Study
from improv.study.edit import Edit
from improv.study.model_spec import Model
from improv.study.overrides import changed
from improv.study.scene import Scene

APART = 0.05
"""Maximum relative difference of the lengths of two contexts in a study with a plan."""
_APART_BY_WORDS = 0.10
"""The same, if only words and marks could be counted."""
BY_WORDS = "words and marks"
_PATIENCE = 20.0
"""Timeout of a call to a tokenizer, in seconds."""

_Count = Callable[[str], int]


def lengths(study: Study, agreed: Agreed = NOTHING_AGREED) -> list[Json]:
    """Return a row with both lengths for each context in use that has to match another.

    No request goes to an address that is not `agreed`.

    Keys: `scene`, `context`, `tokens`, `matches` (the other context), `of` (its tokens), `apart`
    (the relative difference) and `by` (what counted the tokens). Raises StudyError if the study has
    a plan and the lengths of two contexts differ too much.
    """
    rows = []
    seen = set()
    counters: dict[tuple[str, str | None], tuple[_Count, str]] = {}
    with contextlib.ExitStack() as stack:
        for slug, _, scene in study.cells:
            name = slug.partition("/")[0]
            model = scene.model_of(scene.cast[0].name)
            key = (model.model, model.base_url)
            for used in _in_use(scene):
                if (name, used, key) in seen:
                    continue
                seen.add((name, used, key))
                if key not in counters:
                    counters[key] = _counter(model, agreed, stack)
                rows.append(_row(scene, name, used, *counters[key]))
    if study.plan is not None:
        _refuse(study, rows)
    return rows


def _in_use(scene: Scene) -> Iterator[str]:
    """Yield the contexts that the scene is played with and that have to match another."""
    author = scene.author
    for name, context in author.contexts.items():
        same = (context.frame, context.brief) == (author.frame, author.brief)
        if same and context.matches and context.matches in author.contexts:
            yield name


def _row(scene: Scene, slug: str, used: str, count: _Count, by: str) -> Json:
    other = scene.author.contexts[used].matches
    tokens, other_tokens = (count(_frame(scene, name)) for name in (used, other))
    # A text that has to match an empty one differs from it by 100%.
    apart = tokens / other_tokens - 1 if other_tokens else float(tokens > 0)
    return {
        "scene": slug,
        "context": used,
        "tokens": tokens,
        "matches": other,
        "of": other_tokens,
        "apart": apart,
        "by": by,
    }


def _frame(scene: Scene, context: str) -> str:
    """Return the block that a context puts into every prompt."""
    with_context = changed(scene, Edit(scene={"author": {"context": context, "shown": True}}))
    who = with_context.cast[0]
    mode = with_context.model_of(who.name).plays_in
    head = prompts.character_head(with_context, who, mode)
    return "".join(block.text for block in head if block.kind == "frame")


def _refuse(study: Study, rows: list[Json]) -> None:
    problems = []
    for row in rows:
        limit = _APART_BY_WORDS if row["by"] == BY_WORDS else APART
        if abs(row["apart"]) > limit:
            message = (
                f"the context '{row['context']}' has {row['tokens']} tokens ({row['by']}) and "
                f"'{row['matches']}', which it has to match, {row['of']}: {row['apart']:+.1%}, and "
                f"a planned study allows {limit:.0%}"
            )
            problems.append(Problem(row["scene"], 1, 1, "author.contexts", message))
    if problems:
        raise StudyError(problems)


def _counter(model: Model, agreed: Agreed, stack: contextlib.ExitStack) -> tuple[_Count, str]:
    """Return a function that counts a model's tokens, and the name of what it counts."""
    if model.in_process:
        return count_tokens, BY_WORDS
    if model.embedded:
        served = EmbeddedServer(model.model, slots=1)
        stack.callback(served.close)
        address = served.url
    else:
        address = str(agreed.admit(remote_address(model), model.api_key_env))
    root = address.rstrip("/").removesuffix("/v1")
    try:
        secret = secret_for(address, model)
    except EndpointError:
        return count_tokens, BY_WORDS  # Another machine, which plays, may have the key.

    def count(text: str) -> int:
        try:
            return _count_remotely(root, model, secret, text)
        except _UNABLE as e:
            why = Redactor(known_keys(agreed))(first_line(e))
            message = f"{public_address(address)} no longer counts tokens: {why}"
            raise MachineError(message) from None

    try:
        if _count_remotely(root, model, secret, "One, two.") < 1:
            return count_tokens, BY_WORDS
    except _UNABLE:
        return count_tokens, BY_WORDS
    return count, f"tokens of {model.model}"


_UNABLE = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, because the key may go only to the address that the user trusts."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _count_remotely(root: str, model: Model, secret: str, text: str) -> int:
    """Count tokens by the route /tokenize of llama.cpp and vLLM. Raises one of _UNABLE."""
    body = {"content": text, "model": model.model, "prompt": text, "add_special": False}
    request = urllib.request.Request(
        f"{root}/tokenize",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
    )
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=_PATIENCE) as reply:
        # orjson refuses what json reads as infinity, and what is nested too deep for it.
        answer = orjson.loads(reply.read(4_000_000))
    return int(answer["count"]) if "count" in answer else len(answer["tokens"])
