"""What one of the cast (or the author) was shown and what it said, as messages. Pure.

A call lists the blocks that it showed, so what a character heard, asides and absences and notes
included, is what its calls say, and nothing is worked out anew. Which of the blocks are its own
lines, its turns say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from improv.export.selection import PlayedScene
from improv.models.request import Message
from improv.records import Block, Call, Turn
from improv.stage import prompts
from improv.stage.rules import WITHHELD
from improv.text import one_line

_AUTHOR = "author"
NO_WORDS = "…"
"""What stands where nothing was said."""
_HEAD = ("task", "world", "cast", "frame", "card")
_SAMPLE = re.compile(r'[^a-z\n]+: \{"')
_SPOKEN = ("written", "line", "silence")


@dataclass(frozen=True, slots=True)
class AgentLine:
    """Something that an agent said: the turn (0 in a written opening), the block that records it,
    and its whole reply as its own thread keeps it."""

    turn: int
    block: Block
    reply: str


def agent_lines(played: PlayedScene, role: str, purpose: str = "line") -> list[AgentLine]:
    """Return what a character said in a scene, in order. The author has two threads: one in which
    it acts (`purpose` "author"), one in which it writes down what holds ("bible")."""
    if role == _AUTHOR:
        calls = (c for c in played.calls if (c.draw.role, c.draw.purpose) == (role, purpose))
        return [
            AgentLine(c.draw.turn, Block.of("author", _answer(c)), c.reply or NO_WORDS)
            for c in calls
            if not c.error
        ]
    return [
        AgentLine(t.turn, _spoken(t), _thread_reply(t))
        for t in played.turns
        if t.kind in _SPOKEN and t.speaker == role
    ]


def chat_messages(
    call: Call, book: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return a chat call's prompt as the messages that were sent."""
    head, rest = split_prompt(call, book)
    found = [{"role": "system", "content": "\n\n".join(b.text for b in head)}]
    for block, own in zip(rest, _own_lines(rest, call, said), strict=True):
        if own is not None:
            found.append({"role": "assistant", "content": own.reply})
        else:
            _add_user_text(found, block.text)
    return found


def script_prompt(call: Call, book: Mapping[str, Block]) -> str:
    """Return a script call's prompt as the text that was sent."""
    head, rest = split_prompt(call, book)
    return "\n".join(("\n\n".join(b.text for b in head), "", *(b.text for b in rest)))


def script_messages(
    call: Call, book: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return a script call's prompt as a conversation: a cue is no message there, but the
    beginning of the line that answers it."""
    head, rest = split_prompt(call, book)
    rest = rest[:-1] if rest and rest[-1].kind == "cue" else rest
    texts = [b.text for b in head if set(b.text) - set("* ")]
    found = [{"role": "system", "content": "\n\n".join(texts)}]
    for block, own in zip(rest, _own_lines(rest, call, said), strict=True):
        if own is not None:
            found.append({"role": "assistant", "content": line_words(block)})
        else:
            _add_user_text(found, block.text)
    return found


def line_words(block: Block) -> str:
    """Return what is said in a line's block, without the name before it."""
    return block.text.partition(": ")[2] or NO_WORDS


def split_prompt(call: Call, book: Mapping[str, Block]) -> tuple[list[Block], list[Block]]:
    """Return the blocks that stood before the scene, and those that came as it happened."""
    blocks = [book[b] for b in call.blocks]
    first = next((i for i, b in enumerate(blocks) if b.kind not in _HEAD), len(blocks))
    if call.draw.role == _AUTHOR:
        while first < len(blocks) and _before_the_scene(blocks[first]):
            first += 1
    return blocks[:first], blocks[first:]


def _before_the_scene(block: Block) -> bool:
    """Whether an author's block is of its head: what it knows, and its brief. Notes that it is
    shown as samples come after that, each as the reply that it would have been."""
    return block.kind in _HEAD or (block.kind == "author" and not _SAMPLE.match(block.text))


def _add_user_text(found: list[Message], text: str) -> None:
    """Append what somebody heard, as a thread does: what others say is one message."""
    if found[-1]["role"] == "user":
        found[-1] = {"role": "user", "content": f"{found[-1]['content']}\n{text}"}
    else:
        found.append({"role": "user", "content": text})


def _own_lines(
    rest: Sequence[Block], call: Call, said: Sequence[AgentLine]
) -> list[AgentLine | None]:
    """Return for each block what of it is the agent's own: the latest line goes with the latest
    block, since a thread that began anew holds the last ones alone."""
    before = [s for s in said if s.turn < max(call.draw.turn, 1)]
    found: list[AgentLine | None] = []
    for block in reversed(rest):
        at = len(before) - 1
        while at >= 0 and before[at].block.text != block.text:
            at -= 1
        found.append(before[at] if at >= 0 else None)
        before = before[:at] if at >= 0 else before
    return found[::-1]


def _spoken(turn: Turn) -> Block:
    to = ((turn.addressed,) if turn.addressed else ()) if turn.aside else None
    return prompts.line_block(turn.speaker, turn.text, to)


def _thread_reply(turn: Turn) -> str:
    return NO_WORDS if WITHHELD in turn.cuts else turn.raw or turn.text or NO_WORDS


def _answer(call: Call) -> str:
    """Return an author's reply as its own thread records it."""
    return (one_line(call.reply) if call.draw.purpose == "bible" else call.reply.strip())[:2000]
