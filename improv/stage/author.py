"""The live author: a Mesa agent of its own that knows what its settings grant and may act.

What it may do is data: whisper a note, cue the next speaker, make a move, end the scene. Its
replies are structured and checked; one that cannot be read is recorded as unread and does
nothing, because model text never steers the program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import mesa

from improv.models.request import Ask, Drawer
from improv.records import Act, Block, Draw, Json, Turn
from improv.stage import prompts
from improv.study import author_spec
from improv.study.predicate import keeps
from improv.study.scene import Scene, breakable
from improv.text import one_line

_MAX_NOTE = 160
_MIN_TOKENS = 200
_NOBODY = "nobody"
_ANYBODY = "anybody"
_NONE = "none"


class Author(mesa.Agent):  # type: ignore[misc]
    """The author while a scene is played."""

    def __init__(
        self, stage: mesa.Model, whole: Scene, blocks: dict[str, Block], called: str = ""
    ) -> None:
        """`called` is what its thread calls it, where it began under another name."""
        super().__init__(stage)
        self._called = called or whole.author.called
        self.settings = whole.author
        given = whole.model_of("author")
        # A note and its JSON need more room than a line of dialogue.
        self.plays = given.model_copy(update={"max_tokens": max(given.max_tokens, _MIN_TOKENS)})
        self.turns = whole.turns
        self.names = [c.name for c in whole.cast]
        self.made: set[str] = set()
        self.mode = self.plays.plays_in
        self.thread = prompts.Thread.begin(self.mode, prompts.author_head(whole), blocks)
        for sample in self.settings.samples if "note" in self.settings.may else ():
            self.thread.show(prompts.author_answer(self._called, "script", self._as_reply(sample)))

    def _said(self, reply: str) -> None:
        said = prompts.author_answer(self._called, self.mode, reply.strip()[:2000])
        self.thread.said(said, reply)

    def due(self, turn: int) -> bool:
        """Whether the author acts before `turn` (its first chance is the first turn)."""
        return (turn - 1) % self.settings.every == 0

    def _as_reply(self, sample: author_spec.NoteSample) -> str:
        """Return a sample note as the reply it would have been."""
        found: Json = {"note_to": sample.to, "note": sample.note}
        idle = {"cue": ("next", _ANYBODY), "move": ("move", _NONE), "end": ("end", False)}
        found |= dict(idle[p] for p in self.powers(1) if p in idle)
        return json.dumps(found, ensure_ascii=False)

    def powers(self, turn: int) -> tuple[author_spec.Power, ...]:
        """Return what the author may do before `turn`."""
        return allowed_powers(self.settings, turn, self.turns)

    def recall(self, turn: int, reply: str) -> None:
        """Take in again what was asked and answered before a turn that is not played anew."""
        self.thread.show(prompts.author_question(turn, self.turns))
        self._said(reply)

    def read(self, turn: int, reply: str) -> tuple[Act, ...]:
        """Read what the author does before a turn from its reply."""
        may = self.powers(turn)
        acts = read_acts(reply, may, self.names, self.settings.moves, self.made)
        self.made.update(a.to for a in acts if a.kind == "move")
        return acts

    async def act(self, draw: Drawer, identity: Draw) -> tuple[Act, ...]:
        """Ask what the author does before a turn. Raises ModelError."""
        asked = prompts.author_question(identity.turn, self.turns)
        if self.mode == "script":
            self.thread.show(asked)
            shown = self.thread.ask(prompts.author_cue(self._called))
        else:
            shown = self.thread.ask(asked)
        may = self.powers(identity.turn)
        schema = reply_schema(may, self.names, tuple(self.settings.moves))
        call = await draw(Ask(identity, self.plays, shown, schema))
        acts = self.read(identity.turn, call.reply)
        self._said(call.reply)
        return acts


def author_hears(author: author_spec.Author, *, aside: bool) -> bool:
    """Whether an author's settings let it hear what is said on the stage."""
    return "transcript" in author.knows and (not aside or "asides" in author.knows)


def planned_move(whole: Scene, turns: Sequence[Turn], turn: int) -> author_spec.Planned | None:
    """Return the move that is planned for `turn`, where `turns` were played before it."""
    plan = whole.author.planned
    if plan is None or plan.turn is not None:
        return plan if plan is not None and plan.turn == turn else None
    if plan.within is not None and turn > plan.within:
        return None
    breaks = breakable(whole.character(plan.on_break_of))
    own = [t for t in turns if t.kind == "line" and t.speaker == plan.on_break_of]
    # The last line is looked at first: a break before it is looked for only where it broke.
    if breaks is None or not own or own[-1].turn != turn - 1 or keeps(breaks, own[-1].text):
        return None
    return plan if all(keeps(breaks, t.text) for t in own[:-1]) else None


def allowed_powers(
    author: author_spec.Author, turn: int, turns: int
) -> tuple[author_spec.Power, ...]:
    """Return what an author may do before `turn` of `turns`: to end a scene, not in its first
    half."""
    return tuple(p for p in author.may if not (p == "end" and 2 * turn <= turns))


def reply_schema(
    powers: Sequence[author_spec.Power], names: Sequence[str], moves: Sequence[str]
) -> Json:
    """Return the JSON Schema of the author's reply: flat, so that a small model can fill it."""
    fields: dict[str, Any] = {}
    if "note" in powers:
        fields["note_to"] = {"type": "string", "enum": [*names, _NOBODY]}
        fields["note"] = {"type": "string", "maxLength": _MAX_NOTE}
    if "cue" in powers:
        fields["next"] = {"type": "string", "enum": [*names, _ANYBODY]}
    if "move" in powers:
        fields["move"] = {"type": "string", "enum": [*moves, _NONE]}
    if "end" in powers:
        fields["end"] = {"type": "boolean"}
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def read_acts(
    reply: str,
    powers: Sequence[author_spec.Power],
    names: Sequence[str],
    moves: Mapping[str, str],
    made: set[str],
) -> tuple[Act, ...]:
    """Read what the author does from its reply; one `unread` act where it cannot be read.

    A reply is read whole or not at all: half-understood instructions are worse than none.
    """
    found = _object(reply)
    if found is None:
        return (Act("unread", text=one_line(reply)[:500]),)
    acts: list[Act] = []
    try:
        if "note" in powers:
            to, text = _word(found, "note_to"), one_line(_word(found, "note"))[:_MAX_NOTE].strip()
            _one_of(to, [*names, _NOBODY])
            if to != _NOBODY and text:
                acts.append(Act("note", to, text))
        if "cue" in powers:
            following = _word(found, "next")
            _one_of(following, [*names, _ANYBODY])
            if following != _ANYBODY:
                acts.append(Act("cue", following))
        if "move" in powers:
            move = _word(found, "move")
            _one_of(move, [*moves, _NONE])
            if move != _NONE and move not in made:
                acts.append(Act("move", move, moves[move]))
        if "end" in powers:
            end = found.get("end", False)
            if not isinstance(end, bool):
                raise ValueError
            if end:
                acts.append(Act("end"))
    except ValueError:
        return (Act("unread", text=one_line(reply)[:500]),)
    return tuple(acts) or (Act("nothing"),)


_JSON = json.JSONDecoder()


def _object(reply: str) -> Json | None:
    start = reply.find("{")
    if start < 0:
        return None
    try:
        found, _ = _JSON.raw_decode(reply, start)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _word(found: Json, field: str) -> str:
    value = found.get(field)
    if not isinstance(value, str):
        raise ValueError
    return value


def _one_of(word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise ValueError
