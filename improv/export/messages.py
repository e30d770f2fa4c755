"""Rebuilds the prompt of a call, of a character or the author, as messages or as text. Pure.

A call lists the blocks of its prompt, so the calls show what a character heard, with asides,
absences and notes, and nothing is computed again. The turns show which blocks are its own lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from improv.export.selection import PlayedScene
from improv.models.manners import ADAPTED, in_manner
from improv.models.request import Message
from improv.records import Block, Call, Turn
from improv.stage import prompts
from improv.stage.rules import remembered_reply
from improv.text import one_line
from improv.wrapping import own_words

_AUTHOR = "author"
NO_WORDS = "…"
"""The text of a line in which nothing was said."""
_HEAD = ("task", "world", "cast", "frame", "card")
_SAMPLE = re.compile(r'[^a-z\n]+: \{"')
_SPOKEN = ("written", "line", "silence")


@dataclass(frozen=True, slots=True)
class AgentLine:
    """One reply of an agent: its turn (0 in a written opening) and the block that records it.

    `reply` is the whole reply, as the agent's own thread keeps it.
    """

    turn: int
    block: Block
    reply: str


def agent_lines(played: PlayedScene, role: str, purpose: str = "line") -> list[AgentLine]:
    """Return the replies of a character or of the author in a scene, in order.

    The author has two threads: its acts (`purpose` "author") and its record of facts ("bible").
    """
    if role == _AUTHOR:
        calls = (c for c in played.calls if (c.draw.role, c.draw.purpose) == (role, purpose))
        return [
            AgentLine(c.draw.turn, Block.of("author", _answer(c)), own_words(c.reply) or NO_WORDS)
            for c in calls
            if not c.error
        ]
    return [
        AgentLine(t.turn, _spoken(t), _thread_reply(t))
        for t in played.turns
        if t.kind in _SPOKEN and t.speaker == role
    ]


def chat_messages(
    call: Call, blocks: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return a chat call's prompt as the messages that were sent."""
    head, rest = split_prompt(call, blocks)
    messages = [{"role": "system", "content": "\n\n".join(b.text for b in head)}]
    for block, own in zip(rest, _own_lines(rest, call, said), strict=True):
        if own is not None:
            messages.append({"role": "assistant", "content": own.reply})
        else:
            _add_user_text(messages, block.text)
    return _as_sent(messages, call)


def _as_sent(messages: list[Message], call: Call) -> list[Message]:
    """Return messages as the manners of the call's model had them sent."""
    try:
        names = orjson.loads(call.params).get(ADAPTED, ())
    except (orjson.JSONDecodeError, AttributeError):
        return messages
    if not isinstance(names, list) or not names:
        return messages
    return [*in_manner(messages, names)]


def script_prompt(call: Call, blocks: Mapping[str, Block]) -> str:
    """Return a script call's prompt as the text that was sent."""
    head, rest = split_prompt(call, blocks)
    return "\n".join(("\n\n".join(b.text for b in head), "", *(b.text for b in rest)))


def script_messages(
    call: Call, blocks: Mapping[str, Block], said: Sequence[AgentLine]
) -> list[Message]:
    """Return a script call's prompt as a conversation.

    The cue is left out, since it is the beginning of the line that answers it.
    """
    head, rest = split_prompt(call, blocks)
    rest = rest[:-1] if rest and rest[-1].kind == "cue" else rest
    texts = [b.text for b in head if set(b.text) - set("* ")]
    messages = [{"role": "system", "content": "\n\n".join(texts)}]
    for block, own in zip(rest, _own_lines(rest, call, said), strict=True):
        if own is not None:
            messages.append({"role": "assistant", "content": line_words(block)})
        else:
            _add_user_text(messages, block.text)
    return messages


def line_words(block: Block) -> str:
    """Return the words of a line's block, without the name before them."""
    return block.text.partition(": ")[2] or NO_WORDS


def split_prompt(call: Call, blocks: Mapping[str, Block]) -> tuple[list[Block], list[Block]]:
    """Return the blocks before the scene, and those of the scene itself."""
    prompt = [blocks[b] for b in call.blocks]
    first = next((i for i, b in enumerate(prompt) if b.kind not in _HEAD), len(prompt))
    if call.draw.role == _AUTHOR:
        while first < len(prompt) and _before_the_scene(prompt[first]):
            first += 1
    return prompt[:first], prompt[first:]


def _before_the_scene(block: Block) -> bool:
    """Whether a block of the author's prompt is before the scene: its knowledge or its brief.

    Sample notes follow these blocks, each in the form of a reply, and are not part of them.
    """
    return block.kind in _HEAD or (block.kind == "author" and not _SAMPLE.match(block.text))


def _add_user_text(messages: list[Message], text: str) -> None:
    """Append a text that the agent heard; texts in sequence become one message, as in a thread."""
    if messages[-1]["role"] == "user":
        messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n{text}"}
    else:
        messages.append({"role": "user", "content": text})


def _own_lines(
    rest: Sequence[Block], call: Call, said: Sequence[AgentLine]
) -> list[AgentLine | None]:
    """Return for each block the agent's own line that it records, or None.

    The last line is matched with the last block first, since a thread that began again has only
    the last lines.
    """
    before = [s for s in said if s.turn < max(call.draw.turn, 1)]
    matched: list[AgentLine | None] = []
    for block in reversed(rest):
        at = len(before) - 1
        while at >= 0 and before[at].block.text != block.text:
            at -= 1
        matched.append(before[at] if at >= 0 else None)
        before = before[:at] if at >= 0 else before
    return matched[::-1]


def _spoken(turn: Turn) -> Block:
    to = ((turn.addressed,) if turn.addressed else ()) if turn.aside else None
    return prompts.line_block(turn.speaker, turn.text, to)


def _thread_reply(turn: Turn) -> str:
    return remembered_reply(turn.raw or turn.text, turn.cuts) or NO_WORDS


def _answer(call: Call) -> str:
    """Return an author's reply as its own thread records it."""
    own = own_words(call.reply)
    return (one_line(own) if call.draw.purpose == "bible" else own.strip())[:2000]
