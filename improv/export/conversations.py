"""Conversations for chat formats: each scene from the view of each character.

The character is the assistant, and what it heard is the user. A character whose memory was wiped
begins another conversation. What it heard after its last line is in no conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from improv.export.block_store import BlockStore
from improv.export.messages import (
    AgentLine,
    agent_lines,
    chat_messages,
    line_words,
    script_messages,
)
from improv.export.selection import PlayedScene
from improv.models.request import Message
from improv.records import Block, Call, Json

_ANSWER_PURPOSES = ("line", "probe")


def conversations(played: PlayedScene, store: BlockStore, run: Json) -> Iterator[Json]:
    """Yield a scene's conversations: `messages` (role, content) and `metadata`.

    `run` is the part of the metadata that is about the run. A branch yields only the conversations
    whose last line it does not share. Raises RunError where blocks are missing.
    """
    own = {id(call) for call in played.own}
    last = [
        (number, call)
        for calls in _calls_by_role(played.calls).values()
        for number, call in _last_of_each_thread(calls)
        if id(call) in own
    ]
    shown = store.blocks_of(b for _, call in last for b in call.blocks)
    for number, call in last:
        said = agent_lines(played, call.draw.role)
        yield {
            "messages": _conversation(call, shown, said),
            "metadata": run | _metadata(played, call, number),
        }


def _conversation(
    call: Call, shown: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return the prompt of a call as messages, and the line that answered it."""
    reply = call.reply
    now = [s for s in said if s.turn == call.draw.turn] if call.draw.purpose == "line" else []
    if call.mode == "script":
        reply = line_words(now[-1].block) if now else reply.strip()
        messages = script_messages(call, shown, said)
    else:
        # The character does not remember a line that was withheld.
        reply = now[-1].reply if now else reply
        messages = chat_messages(call, shown, said)
    return [*messages, {"role": "assistant", "content": reply}]


def _calls_by_role(calls: Sequence[Call]) -> dict[str, list[Call]]:
    """Return each character's calls for lines and probes; of several draws, only the last."""
    latest: dict[str, dict[tuple[int, str], Call]] = {}
    for call in calls:
        if call.draw.purpose in _ANSWER_PURPOSES and not call.error:
            at = (call.draw.turn, call.draw.purpose)
            latest.setdefault(call.draw.role, {})[at] = call
    return {role: [draws[at] for at in sorted(draws)] for role, draws in sorted(latest.items())}


def _last_of_each_thread(calls: Sequence[Call]) -> Iterator[tuple[int, Call]]:
    """Yield the number of each thread, from 1, and its last call.

    A prompt contains the one before it, except where a session ended and everything was forgotten.
    """
    number = 1
    for call, following in zip(calls, [*calls[1:], None], strict=True):
        if following is None:
            yield number, call
            return
        # The cue of a script, its last block, is in no later prompt.
        kept = call.blocks[:-1] if call.mode == "script" else call.blocks
        if following.blocks[: len(kept)] != kept:
            yield number, call
            number += 1


def _metadata(played: PlayedScene, call: Call, session: int) -> Json:
    row = played.row
    return {
        "trial": row["trial"],
        "branch": row["branch"],
        "origin": row["origin"],
        "scene": row["scene"],
        "condition": row["condition"],
        "levels": row["levels"],
        "block": row["block"],
        "replicate": row["replicate"],
        "character": call.draw.role,
        "session": session,
        "last_turn": call.draw.turn,
        "model": call.model,
        "served": call.served,
        "mode": call.mode,
        "scores": _scores(played.scores, call.draw.role),
    }


def _scores(scores: Sequence[Json], character: str) -> list[Json]:
    """Return each measure of a character: its mean, `n` and the number of missing values.

    The mean is over the `n` values that are not missing, and None if all are missing.
    """
    values: dict[str, list[float | None]] = {}
    for row in scores:
        if row["character"] == character:
            values.setdefault(row["measure"], []).append(row["value"])
    means = []
    for measure, column in sorted(values.items()):
        read = [v for v in column if v is not None]
        mean = fmean(read) if read else None
        means.append(
            {"measure": measure, "mean": mean, "n": len(read), "missing": len(column) - len(read)}
        )
    return means
