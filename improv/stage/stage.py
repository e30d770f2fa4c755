"""The stage: a Mesa model of one scene. It decides who acts when, who hears what, what is recorded.

It uses no disk, no Ray and no clock but Mesa's: the trial and the replies to its draws determine
the turns. `step` is synchronous and opens a turn; the host then awaits `act`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar, cast

import mesa

from improv.models.request import Drawer
from improv.records import (
    MAIN,
    Act,
    AddressedBy,
    Block,
    Call,
    Draw,
    Purpose,
    ReplyFault,
    Turn,
    TurnKind,
    seed_of,
)
from improv.stage import prompts
from improv.stage.addressee import find_addressee
from improv.stage.addressee_guess import heard_lately
from improv.stage.author import Author, Readings, author_hears, planned_move
from improv.stage.character import Character
from improv.stage.memory import Memory, starts_session
from improv.stage.reply import MAX_LINE, UNKNOWN_MARKS, CleanLine, clean
from improv.stage.rules import binding_rules, remembered_reply
from improv.stage.turn_order import ORDERS
from improv.study.predicate import first_named
from improv.study.scene import Scene
from improv.study.trial import Trial
from improv.text import one_line
from improv.wrapping import plain_words

A = TypeVar("A")
B = TypeVar("B")

_NOBODY: tuple[str, AddressedBy] = ("", "none")
"""The addressee of a line that speaks to nobody in particular, and how that is known."""


class Stage(mesa.Model):  # type: ignore[misc]
    """One scene of one trial. `turns` and `blocks` (by id) grow while the scene is played.

    `BranchStage` plays a branch. It passes `called`, the author's title when the scene began, and
    `last`, the number of the last turn.
    """

    def __init__(
        self, trial: Trial, *, branch: str = MAIN, called: str = "", last: int | None = None
    ) -> None:
        self.branch = branch
        super().__init__(seed=seed_of("stage", trial.id, branch))
        self.trial = trial
        self.scene = trial.scene
        self.turns: list[Turn] = []
        self.blocks: dict[str, Block] = {}
        self.cast = [Character(self, self.scene, c, self.blocks) for c in self.scene.cast]
        self.by_name = {c.name: c for c in self.cast}
        self.author: Author | None = None
        self.readings: Readings = {}
        if self.scene.author.live:
            self.author = Author(self, self.scene, self.blocks, called)
            self.readings = self.author.readings
        # Mesa counts agents by model in a dict of the class, which would keep every stage alive.
        mesa.Agent._ids.pop(self, None)
        self._last = self.scene.turns if last is None else last
        self.running: bool = self._last > 0
        self.aliases = {c.name: tuple(c.spec.aliases) for c in self.cast}
        self.names = tuple(self.aliases.items())
        self._present: mesa.agent.AgentSet | None = None
        """The characters that are present. None after a change, until it is selected again."""
        self._cued = ""
        self._pending: tuple[Act, ...] = ()
        """Acts that the author decided during the turn before."""
        self._acts: list[Act] = []
        self.round: list[Character] = []
        self._seq = 0
        self.last_speaker = ""
        self.memory = Memory(self.scene, self.blocks)
        self._unopened = False
        self._play_opening()

    @property
    def turn(self) -> int:
        """The improvised turn being played, from 1; 0 before the first."""
        return int(self.steps)

    @property
    def own_turns(self) -> list[Turn]:
        """The turns that no parent shares: here all of them."""
        return list(self.turns)

    def dispose(self) -> None:
        """Drop all attributes, so that the memory is freed at once. The stage is unusable after it.

        The model and its agents refer to each other. Only Python's garbage collector finds such a
        cycle, and it scans everything that a host holds: a tenth of a second in which no other
        scene continues.
        """
        self.__dict__.clear()

    async def play(self, draw: Drawer) -> None:
        """Play the scene to its end. Raises ModelError."""
        while self.running:
            self.step()
            await self.act(draw)

    def step(self) -> None:
        """Open the next turn: the author's pending acts take effect, and events happen.

        If a diary or an envelope must be written first, `act` opens the turn after that reply.
        """
        self._seq = 0
        self._acts = []
        self._unopened = False
        if self._repeats():
            return
        self._unopened = self._envelope_due() or (
            starts_session(self.scene, self.turn) and self.scene.memory != "nothing"
        )
        if not self._unopened:
            self._open()

    def _open(self) -> None:
        """Play what happens before anybody speaks. The beginning of a session comes first."""
        self._unopened = False
        if starts_session(self.scene, self.turn):
            self._wake(self.scene)
        pending, self._pending = self._pending, ()
        self._take_effect(pending)
        for event in self.scene.events:
            if event.turn == self.turn:
                self._come_and_go(event.enter, ())
                if event.direction:
                    self._direct(event.direction)
                if event.audience:
                    self._direct(f"From the audience: {event.audience.strip()}")
                self._come_and_go((), event.exit)
        for beat in self.scene.beats if self.scene.structure == "beats" else ():
            if beat.turn == self.turn:
                self._direct(beat.text)
        plan = planned_move(self.scene, self.turns, self.turn)
        if plan is not None:
            self._take_effect([Act("move", plan.move, self.scene.author.moves.get(plan.move, ""))])
            if self.author is not None:
                self.author.moves_made.add(plan.move)

    async def act(self, draw: Drawer) -> None:
        """Let the author act if it is due, and then the speaker. Raises ModelError."""
        await self._act(draw)
        self._close()

    def _repeats(self) -> bool:
        """Whether this turn repeats one of the parent's, so that there is nothing to open."""
        return False

    def _close(self) -> None:
        if self.turn >= self._last:
            self.running = False

    async def _act(self, draw: Drawer) -> None:
        if self._unopened:
            await self._fill_envelope(draw)
            await self._write_memories(draw)
            self._open()
        author = self.author
        due = self.running and author is not None and author.due(self.turn)
        thinking = due and self.scene.author.when == "during"
        if author is not None and due and not thinking:
            self._take_effect(await author.act(draw, self._draw("author", "author")))
        if not self.running:
            return
        self._remind()
        speaker = self.speaker()
        if speaker is None:
            self._direct("Nobody is there.")
        elif author is not None and thinking:
            # The author is asked first, so that its prompt does not depend on which of the two
            # answers sooner.
            self._pending, drawn = await _together(
                author.act(draw, self._draw("author", "author")),
                self._draw_line(speaker, draw, self._draw(speaker.name, "line")),
            )
            self._speak(speaker, *drawn)
        else:
            drawn = await self._draw_line(speaker, draw, self._draw(speaker.name, "line"))
            self._speak(speaker, *drawn)

    async def _draw_line(
        self, speaker: Character, draw: Drawer, identity: Draw
    ) -> tuple[Call, CleanLine]:
        rules = binding_rules(self.scene, speaker.name, "filter", "sham")
        return await speaker.speak(draw, identity, rules, list(self.by_name), self.aliases)

    # -- envelopes and memories ------------------------------------------------------------

    def _envelope_due(self) -> bool:
        """Whether a character writes its envelope now: before the first turn of the main scene."""
        envelope = self.scene.envelope
        first = self.turn == 1 and self.branch == MAIN
        return first and envelope is not None and envelope.kept != "none"

    async def _fill_envelope(self, draw: Drawer) -> None:
        envelope = self.scene.envelope
        if envelope is None or not self._envelope_due():
            return
        holder = self.by_name[envelope.of]
        identity = Draw(self.trial.id, self.branch, 0, holder.name, "envelope")
        call = await holder.answer(prompts.envelope_question(envelope), draw, identity)
        line = clean(call.reply, holder.name, list(self.by_name), self.aliases)
        answer = first_named(envelope.options, line.text)
        readers = {"own": (holder.name,), "author": ("author",)}.get(envelope.kept, ())
        # An envelope comes before the first turn, so every branch shares it.
        seq = sum(t.turn == 0 for t in self.turns)
        row = Turn(
            trial=self.trial.id,
            branch=MAIN,
            turn=0,
            seq=seq,
            kind="envelope",
            speaker=holder.name,
            text=answer,
            raw=call.reply,
            cuts=line.cuts,
            heard_by=readers,
        )
        self._add_envelope(row)

    def _add_envelope(self, row: Turn) -> None:
        """Record an envelope, and show it to those who know its answer."""
        block = prompts.envelope_block(row.speaker, row.text)
        for name in row.heard_by if row.text else ():
            if name in self.by_name:
                self.by_name[name].thread.show(block)
            elif self.author is not None:
                self.author.thread.show(block)
        self.turns.append(row)

    async def _write_memories(self, draw: Drawer) -> None:
        """Ask for diaries, or the bible, of the session that is over, and record them."""
        if not starts_session(self.scene, self.turn) or self.scene.memory == "nothing":
            return
        keeper, present = self.memory.keeper, [c for c in self.cast if c.present]
        if keeper is not None:
            entries = {"author": keeper.write(draw, self._draw("author", "bible"))}
        else:
            entries = {c.name: c.write(draw, self._draw(c.name, "diary")) for c in present}
        calls = await asyncio.gather(*entries.values(), return_exceptions=True)
        for call in calls:
            if isinstance(call, BaseException):
                raise call
        for name, call in zip(entries, cast("list[Call]", calls), strict=True):
            words, cuts = plain_words(call.reply)
            text, readers = one_line(words)[:MAX_LINE], self.memory.readers(self.scene.memory, name)
            self._record("memory", name, text, raw=call.reply, cuts=cuts, heard_by=readers)
            self.memory.add(self.turns[-1])

    def _wake(self, scene: Scene) -> None:
        """Begin a new session: everybody forgets the scene, and remembers what it grants."""
        for character in self.cast:
            character.wake(self.memory.text(scene, character.name))

    # -- who acts --------------------------------------------------------------------------

    def speaker(self) -> Character | None:
        """Choose who speaks: the character that the author cued, or else by the scene's order."""
        if self._present is None:
            self._present = self.agents_by_type[Character].select(lambda c: c.present)
        if not len(self._present):
            return None
        cued = self.by_name.get(self._cued)
        self._cued = ""
        if cued is not None and cued.present:
            return cued
        return ORDERS[self.scene.order](self, self._present)

    def dice(self, purpose: str) -> random.Random:
        """Return Mesa's random generator with a seed of its own for `purpose` and this turn.

        So a choice does not depend on how many choices were made before it.
        """
        self.random.seed(seed_of(purpose, self.trial.id, self.branch, self.turn))
        return self.random  # type: ignore[no-any-return]

    def _draw(self, role: str, purpose: Purpose) -> Draw:
        return Draw(self.trial.id, self.branch, self.turn, role, purpose)

    # -- what happens ----------------------------------------------------------------------

    def _come_and_go(self, enter: Iterable[str], leave: Iterable[str]) -> None:
        self._present = None
        for name in enter:
            self.by_name[name].present = True
        for name in leave:
            self.by_name[name].present = False

    def _play_opening(self) -> None:
        for opening in self.scene.opening:
            if opening.direction is not None:
                self._direct(opening.direction)
            elif opening.who is not None and opening.line is not None:
                aside_to = (opening.aside_to,) if opening.aside_to else None
                speaker = self.by_name[opening.who]
                self._utter(speaker, "written", opening.line, aside_to=aside_to)

    def _speak(self, speaker: Character, call: Call, line: CleanLine) -> None:
        aside_to = None
        if line.aside:
            hearer = self.by_name.get(line.aside_to)
            aside_to = (line.aside_to,) if hearer is not None and hearer.present else ()
        if UNKNOWN_MARKS in line.cuts:
            self.readings[call.draw] = ((ReplyFault.MARKS,), ())
        kind: TurnKind = "line" if line.text else "silence"
        self._utter(speaker, kind, line.text, raw=call.reply, cuts=line.cuts, aside_to=aside_to)

    def _utter(
        self,
        speaker: Character,
        kind: TurnKind,
        text: str,
        *,
        raw: str = "",
        cuts: tuple[str, ...] = (),
        aside_to: tuple[str, ...] | None = None,
    ) -> None:
        """Record a line, and show it to those `aside_to`, or to everybody present if it is None."""
        present = [c for c in self.cast if c.present or c is speaker]
        hearers = [c for c in present if c is not speaker]
        addressee, by = _NOBODY
        if aside_to is not None:
            hearers = [c for c in hearers if c.name in aside_to]
            addressee, by = (aside_to[0], "said") if aside_to else _NOBODY
        elif text:
            names = [c.name for c in present]
            earlier = heard_lately(self.turns, speaker.name)
            addressee, by = find_addressee(text, speaker.name, self.names, earlier, names)
        block = prompts.line_block(speaker.name, text, aside_to)
        for c in hearers:
            c.thread.show(block)
        speaker.thread.said(block, remembered_reply(raw or text, cuts))
        self._overheard(block, aside=aside_to is not None)
        speaker.last_spoke = len(self.turns)
        self.last_speaker = speaker.name
        self._record(
            kind,
            speaker.name,
            text,
            raw=raw,
            cuts=cuts,
            addressed=addressee,
            by=by,
            aside=aside_to is not None,
            heard_by=tuple(c.name for c in hearers),
        )

    def _direct(self, text: str) -> None:
        """Play a stage direction, which everybody present is shown."""
        block = prompts.direction_block(text)
        present = [c for c in self.cast if c.present]
        for c in present:
            c.thread.show(block)
        self._overheard(block)
        self._record("direction", "", text.strip(), heard_by=tuple(c.name for c in present))

    def _overheard(self, block: Block, *, aside: bool = False) -> None:
        """Show the author what is said on the stage, as far as its settings grant it."""
        if not author_hears(self.scene.author, aside=aside):
            return
        for listener in (self.author, self.memory.keeper):
            if listener is not None:
                listener.thread.show(block)

    def _remind(self) -> None:
        """Repeat each rule that is enforced by reminders, as a note to those whom it binds."""
        for character in self.cast if self.scene.rules else ():
            for _, rule in binding_rules(self.scene, character.name, "reminder"):
                if character.present and (self.turn - 1) % rule.every == 0:
                    self._take_effect([Act("note", character.name, rule.says)])

    def _take_effect(self, acts: Sequence[Act]) -> None:
        for act in acts:
            self._acts.append(act)
            if act.kind == "note":
                note = prompts.note_block(self.scene.author, act.to, act.text)
                self.by_name[act.to].thread.show(note)
            elif act.kind == "cue":
                self._cued = act.to
            elif act.kind == "move" and act.text:
                self._direct(act.text)
            elif act.kind == "end":
                self.running = False
                self._direct("The scene ends.")

    def _record(
        self,
        kind: TurnKind,
        speaker: str,
        text: str,
        *,
        raw: str = "",
        cuts: tuple[str, ...] = (),
        addressed: str = "",
        by: AddressedBy = "none",
        aside: bool = False,
        heard_by: tuple[str, ...] = (),
    ) -> None:
        """Append a turn, with what the author did before it."""
        acts, self._acts = tuple(self._acts), []
        # Every branch shares the written opening.
        branch = self.branch if self.turn else MAIN
        self.turns.append(
            Turn(
                trial=self.trial.id,
                branch=branch,
                turn=self.turn,
                seq=self._seq,
                kind=kind,
                speaker=speaker,
                text=text,
                raw=raw,
                cuts=cuts,
                addressed=addressed,
                by=by,
                aside=aside,
                heard_by=heard_by,
                acts=acts,
            )
        )
        self._seq += 1


async def _together(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Await both. If one fails, the other is still awaited, so that its call is journaled."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for result in (first, second):
        if isinstance(result, BaseException):
            raise result
    return first, second
