"""Whether a placebo is as long as what it stands in for, as the playing model counts tokens.

A context that is longer than another changes more than whose context it is. Lengths are counted
by the tokenizer of the model that plays where that can be asked (an embedded model, llama.cpp,
vLLM), and by words and marks elsewhere, which a report says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from improv.errors import EndpointError, MachineError, Problem, StudyError, first_line
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.embedded import EmbeddedServer
from improv.models.endpoint import public_address, remote_address, secret_for
from improv.models.puppet.player import count_tokens
from improv.records import Json
from improv.stage import prompts
from improv.study.design import Study
from improv.study.edit import Edit
from improv.study.model_spec import Model
from improv.study.overrides import changed
from improv.study.scene import Scene

APART = 0.05
"""How far the lengths of two contexts may be apart in a study with a plan."""
_APART_BY_WORDS = 0.10
"""The same, where only words and marks could be counted."""
BY_WORDS = "words and marks"
_PATIENCE = 20.0

Count = Callable[[str], int]


def lengths(study: Study, agreed: Agreed = NOTHING_AGREED) -> list[Json]:
    """Return a row for each context in use that has to match another: how long both are. Nobody
    who is not `agreed` is asked.

    Keys: scene, context, tokens, matches, of (tokens of that), apart (relative), by. Raises
    StudyError for a study with a plan whose contexts are too far apart.
    """
    rows = []
    seen = set()
    counters: dict[tuple[str, str | None], tuple[Count, str]] = {}
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


def _row(scene: Scene, slug: str, used: str, count: Count, by: str) -> Json:
    other = scene.author.contexts[used].matches
    tokens, of = (count(_frame(scene, name)) for name in (used, other))
    # What has to match nothing at all is as far from it as a thing can be.
    apart = tokens / of - 1 if of else float(tokens > 0)
    return {
        "scene": slug,
        "context": used,
        "tokens": tokens,
        "matches": other,
        "of": of,
        "apart": apart,
        "by": by,
    }


def _frame(scene: Scene, context: str) -> str:
    """Return the block that a context puts into every prompt."""
    made = changed(scene, Edit(scene={"author": {"context": context, "shown": True}}))
    who = made.cast[0]
    head = prompts.character_head(made, who, made.model_of(who.name).plays_in)
    return "".join(block.text for block in head if block.kind == "frame")


def _refuse(study: Study, rows: list[Json]) -> None:
    problems = []
    for row in rows:
        limit = _APART_BY_WORDS if row["by"] == BY_WORDS else APART
        if abs(row["apart"]) > limit:
            what = (
                f"the context '{row['context']}' has {row['tokens']} tokens ({row['by']}) and "
                f"'{row['matches']}', which it has to match, {row['of']}: {row['apart']:+.1%}, and "
                f"a planned study allows {limit:.0%}"
            )
            problems.append(Problem(row["scene"], 1, 1, "author.contexts", what))
    if problems:
        raise StudyError(problems)


def _counter(model: Model, agreed: Agreed, stack: contextlib.ExitStack) -> tuple[Count, str]:
    """Return what counts tokens for a model, and what it is called."""
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
            return _asked(root, model, secret, text)
        except _UNABLE as e:
            what = f"{public_address(address)} counts tokens no more: {first_line(e)}"
            raise MachineError(what) from None

    try:
        if _asked(root, model, secret, "One, two.") < 1:
            return count_tokens, BY_WORDS
    except _UNABLE:
        return count_tokens, BY_WORDS
    return count, f"tokens of {model.model}"


_UNABLE = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the key is for the address that somebody vouched for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _asked(root: str, model: Model, secret: str, text: str) -> int:
    """Ask llama.cpp's or vLLM's own route. Raises one of _UNABLE."""
    body = {"content": text, "model": model.model, "prompt": text, "add_special": False}
    request = urllib.request.Request(
        f"{root}/tokenize",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
    )
    with urllib.request.build_opener(_Nowhere).open(request, timeout=_PATIENCE) as reply:
        found = json.loads(reply.read(4_000_000))
    return int(found["count"]) if "count" in found else len(found["tokens"])
