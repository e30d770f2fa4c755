"""Conversations for chat formats: each scene from each character's view, one JSON a line.

The character is the assistant, and what it heard is the user. A character whose memory was wiped
begins another conversation, and what it heard after its last line is in none.
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


def conversations(played: PlayedScene, book: BlockStore, run: Json) -> Iterator[Json]:
    """Yield a scene's conversations: `messages` (role, content) and `metadata`.

    `run` is what the metadata says of the run. Of a branch come those conversations alone that
    end in a line of its own. Raises RunError where blocks are lost.
    """
    own = {id(call) for call in played.own}
    last = [
        (number, call)
        for calls in _calls_by_role(played.calls).values()
        for number, call in _last_of_each_thread(calls)
        if id(call) in own
    ]
    shown = book.blocks_of(b for _, call in last for b in call.blocks)
    for number, call in last:
        said = agent_lines(played, call.draw.role)
        yield {
            "messages": _conversation(call, shown, said),
            "metadata": run | _metadata(played, call, number),
        }


def _conversation(
    call: Call, shown: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return what a call showed, and what was said then."""
    reply = call.reply
    now = [s for s in said if s.turn == call.draw.turn] if call.draw.purpose == "line" else []
    if call.mode == "script":
        reply = line_words(now[-1].block) if now else reply.strip()
        found = script_messages(call, shown, said)
    else:
        # A line that was withheld is none that the character remembers.
        reply = now[-1].reply if now else reply
        found = chat_messages(call, shown, said)
    return [*found, {"role": "assistant", "content": reply}]


def _calls_by_role(calls: Sequence[Call]) -> dict[str, list[Call]]:
    """Return each character's calls for a line, of those that a rule had drawn again the last."""
    found: dict[str, dict[tuple[int, str], Call]] = {}
    for call in calls:
        if call.draw.purpose in _ANSWER_PURPOSES and not call.error:
            at = (call.draw.turn, call.draw.purpose)
            found.setdefault(call.draw.role, {})[at] = call
    return {role: [by[at] for at in sorted(by)] for role, by in sorted(found.items())}


def _last_of_each_thread(calls: Sequence[Call]) -> Iterator[tuple[int, Call]]:
    """Yield (number of the thread, from 1; its last call): prompts only grow, but where a session
    ended everything was forgotten."""
    number = 1
    for call, following in zip(calls, [*calls[1:], None], strict=True):
        if following is None:
            yield number, call
            return
        # A script's cue, its last block, is in no later prompt; nor is a question put aside.
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
    """Return each measure of a character over the scene: the mean of what could be read (None
    where nothing could), of how many, and how many were missing."""
    values: dict[str, list[float | None]] = {}
    for row in scores:
        if row["character"] == character:
            values.setdefault(row["measure"], []).append(row["value"])
    found = []
    for measure, all_of in sorted(values.items()):
        read = [v for v in all_of if v is not None]
        mean = fmean(read) if read else None
        found.append(
            {"measure": measure, "mean": mean, "n": len(read), "missing": len(all_of) - len(read)}
        )
    return found
