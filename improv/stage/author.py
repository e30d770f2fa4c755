"""The live author: a Mesa agent that knows what its settings grant it, and acts between turns.

Its acts are data: whisper a note, cue the next speaker, make a move, end the scene. Its reply is
JSON and is checked. A reply that cannot be read is recorded as unread and does nothing, because a
model's text never controls the program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import mesa

from improv.models.request import Ask, Drawer
from improv.records import Act, Block, Draw, Json, ReplyFault, Turn
from improv.stage import prompts
from improv.stage.names import Cast, owners
from improv.study import author_spec
from improv.study.predicate import satisfies
from improv.study.scene import Scene, breakable
from improv.text import one_line
from improv.wrapping import Fields, own_words, read_fields

_MIN_TOKENS = 200

Readings = dict[Draw, tuple[tuple[ReplyFault, ...], tuple[str, ...]]]
"""For each draw whose reply was not simply read: what was wrong, and the steps of reading it."""


class Author(mesa.Agent):  # type: ignore[misc]
    """The author while a scene is played."""

    def __init__(
        self, stage: mesa.Model, whole: Scene, blocks: dict[str, Block], called: str = ""
    ) -> None:
        """`called` is the title that its thread uses, if the scene began with another one."""
        super().__init__(stage)
        self._called = called or whole.author.called
        self.settings = whole.author
        model = whole.model_of("author")
        # A note and its JSON need more room than a line of dialogue.
        self.model_spec = model.model_copy(
            update={"max_tokens": max(model.max_tokens, _MIN_TOKENS)}
        )
        self.turns = whole.turns
        self.cast: Cast = tuple((c.name, tuple(c.aliases)) for c in whole.cast)
        self.readings: Readings = {}
        self.moves_made: set[str] = set()
        self.mode = self.model_spec.plays_in
        self.thread = prompts.Thread.begin(self.mode, prompts.author_head(whole), blocks)
        for sample in self.settings.samples if "note" in self.settings.may else ():
            self.thread.show(prompts.author_answer(self._called, "script", self._as_reply(sample)))

    def _add_answer(self, reply: str) -> None:
        own = own_words(reply)
        answer = prompts.author_answer(self._called, self.mode, own.strip()[:2000])
        self.thread.said(answer, own)

    def due(self, turn: int) -> bool:
        """Whether the author acts before `turn` (its first chance is the first turn)."""
        return (turn - 1) % self.settings.every == 0

    def _as_reply(self, sample: author_spec.NoteSample) -> str:
        """Return a sample note as the JSON reply that would give it."""
        fields: Json = {"note_to": sample.to, "note": sample.note}
        idle = {
            "cue": ("next", prompts.ANYBODY),
            "move": ("move", prompts.NO_MOVE),
            "end": ("end", False),
        }
        fields |= dict(idle[p] for p in self.powers(1) if p in idle)
        return json.dumps(fields, ensure_ascii=False)

    def powers(self, turn: int) -> tuple[author_spec.Power, ...]:
        """Return what the author may do before `turn`."""
        return allowed_powers(self.settings, turn, self.turns)

    def recall(self, turn: int, reply: str) -> None:
        """Add the question and the reply of a turn that is not played anew."""
        self.thread.show(prompts.author_question(turn, self.turns))
        self._add_answer(reply)

    def read(self, identity: Draw, reply: str) -> tuple[Act, ...]:
        """Read from its reply what the author does before a turn."""
        may, moves = self.powers(identity.turn), self.settings.moves
        fields = read_fields_of(reply, may, self.cast, tuple(moves)) if may else Fields({})
        acts = _acts(fields, reply, moves, self.moves_made)
        unread = (ReplyFault.UNREAD,) if acts[0].kind == "unread" else ()
        if unread or fields.steps:
            self.readings[identity] = (unread, fields.steps)
        self.moves_made.update(a.to for a in acts if a.kind == "move")
        return acts

    async def act(self, draw: Drawer, identity: Draw) -> tuple[Act, ...]:
        """Ask the author's model what the author does before a turn. Raises ModelError."""
        question = prompts.author_question(identity.turn, self.turns)
        if self.mode == "script":
            self.thread.show(question)
            prompt = self.thread.ask(prompts.author_cue(self._called))
        else:
            prompt = self.thread.ask(question)
        may = self.powers(identity.turn)
        schema = reply_schema(may, [name for name, _ in self.cast], tuple(self.settings.moves))
        call = await draw(Ask(identity, self.model_spec, prompt, schema))
        acts = self.read(identity, call.reply)
        self._add_answer(call.reply)
        return acts


def author_hears(author: author_spec.AuthorSpec, *, aside: bool) -> bool:
    """Whether an author's settings let it hear what is said on the stage."""
    return "transcript" in author.knows and (not aside or "asides" in author.knows)


def planned_move(whole: Scene, turns: Sequence[Turn], turn: int) -> author_spec.Planned | None:
    """Return the move that is planned for `turn`; `turns` are those played before it."""
    plan = whole.author.planned
    if plan is None or plan.turn is not None:
        return plan if plan is not None and plan.turn == turn else None
    if plan.within is not None and turn > plan.within:
        return None
    breaks = breakable(whole.character(plan.on_break_of))
    own = [t for t in turns if t.kind == "line" and t.speaker == plan.on_break_of]
    # The last line is checked first, because most turns end here. Only the first break counts, so
    # the earlier lines must all keep the rule.
    if breaks is None or not own or own[-1].turn != turn - 1 or satisfies(breaks, own[-1].text):
        return None
    return plan if all(satisfies(breaks, t.text) for t in own[:-1]) else None


def allowed_powers(
    author: author_spec.AuthorSpec, turn: int, turns: int
) -> tuple[author_spec.Power, ...]:
    """Return what an author may do before `turn` of `turns`. It may not end the scene in the first
    half."""
    return tuple(p for p in author.may if not (p == "end" and 2 * turn <= turns))


def reply_schema(
    powers: Sequence[author_spec.Power], names: Sequence[str], moves: Sequence[str]
) -> Json:
    """Return the JSON Schema of the author's reply: flat, so that a small model can fill it."""
    fields: dict[str, Any] = {}
    if "note" in powers:
        fields["note_to"] = {"type": "string", "enum": [*names, prompts.NOBODY]}
        fields["note"] = {"type": "string", "maxLength": prompts.MAX_NOTE}
    if "cue" in powers:
        fields["next"] = {"type": "string", "enum": [*names, prompts.ANYBODY]}
    if "move" in powers:
        fields["move"] = {"type": "string", "enum": [*moves, prompts.NO_MOVE]}
    if "end" in powers:
        fields["end"] = {"type": "boolean"}
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


_NO_CHOICE = ("", "none", "no one", "no-one", "noone", "null", "n/a", "nothing", "nobody", "anyone")
"""What models write where they choose nobody or nothing."""


def read_fields_of(
    reply: str, powers: Sequence[author_spec.Power], cast: Cast, moves: Sequence[str]
) -> Fields:
    """Read the fields of the author's reply: its JSON, with names as people write them."""
    schema = reply_schema(powers, [name for name, _ in cast], moves)
    called = owners(cast)
    others = {
        "note_to": dict.fromkeys(_NO_CHOICE, prompts.NOBODY) | called,
        "next": dict.fromkeys(_NO_CHOICE, prompts.ANYBODY) | called,
        "move": dict.fromkeys(_NO_CHOICE, prompts.NO_MOVE),
    }
    return read_fields(reply, schema, others)


def read_acts(
    reply: str,
    powers: Sequence[author_spec.Power],
    cast: Cast,
    moves: Mapping[str, str],
    moves_made: set[str],
) -> tuple[Act, ...]:
    """Read from its reply what the author does; one `unread` act if the reply cannot be read."""
    if not powers:
        return (Act("nothing"),)
    fields = read_fields_of(reply, powers, cast, tuple(moves))
    return _acts(fields, reply, moves, moves_made)


def _acts(
    fields: Fields, reply: str, moves: Mapping[str, str], moves_made: set[str]
) -> tuple[Act, ...]:
    """Return the acts of the fields of a reply.

    A reply is read whole or not at all: half an instruction is worse than none. A field that it
    leaves out asks for nothing, but a note must say to whom.
    """
    values = fields.values
    text = one_line(values.get("note", ""))[: prompts.MAX_NOTE].strip() if values else ""
    if values is None or (text and "note_to" not in values):
        return (Act("unread", text=one_line(reply)[:500]),)
    acts: list[Act] = []
    to, cued = values.get("note_to", prompts.NOBODY), values.get("next", prompts.ANYBODY)
    move = values.get("move", prompts.NO_MOVE)
    if to != prompts.NOBODY and text:
        acts.append(Act("note", to, text))
    if cued != prompts.ANYBODY:
        acts.append(Act("cue", cued))
    if move != prompts.NO_MOVE and move not in moves_made:
        acts.append(Act("move", move, moves[move]))
    if values.get("end"):
        acts.append(Act("end"))
    return tuple(acts) or (Act("nothing"),)
