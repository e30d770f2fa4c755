"""The stage: a Mesa model of one scene being played. Who acts when, who hears what, what is kept.

No disk, no Ray, no clock but Mesa's: given the trial and the replies of its draws, the turns are
determined. `step` is synchronous and opens a turn; the acting in it is awaited by the host.
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
    Turn,
    TurnKind,
    seed_of,
)
from improv.stage import prompts
from improv.stage.addressee import find_addressee
from improv.stage.author import Author, author_hears, planned_move
from improv.stage.character import Character
from improv.stage.memory import Memory, starts_session
from improv.stage.reply import MAX_LINE, CleanLine, clean
from improv.stage.rules import WITHHELD, binding_rules
from improv.stage.turn_order import ORDERS
from improv.study.predicate import named
from improv.study.scene import Scene
from improv.study.trial import Trial
from improv.text import one_line

A = TypeVar("A")
B = TypeVar("B")


class Stage(mesa.Model):  # type: ignore[misc]
    """One scene of one trial. `turns` and `book` (blocks by id) grow as it is played.

    Its branches are played by `BranchStage`, which says what `called` the author was to the
    cast when the scene began, and with which turn it is the `last`.
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
        if self.scene.author.live:
            self.author = Author(self, self.scene, self.blocks, called)
        # Mesa counts agents by model in a dict of the class: it would keep every stage there was.
        mesa.Agent._ids.pop(self, None)
        self._last = self.scene.turns if last is None else last
        self.running: bool = self._last > 0
        self._known = tuple((c.who.name, tuple(c.who.aliases)) for c in self.cast)
        self._there: mesa.agent.AgentSet | None = None
        """The characters that are present, as Mesa's set of them; None when it must be asked."""
        self._cued = ""
        self._thought: tuple[Act, ...] = ()
        self._acts: list[Act] = []
        self.round: list[Character] = []
        self._seq = 0
        self.last_speaker = ""
        self.memory = Memory(self.scene, self.blocks)
        self._unopened = False
        self._written()

    @property
    def turn(self) -> int:
        """The improvised turn being played, from 1; 0 before the first."""
        return int(self.steps)

    @property
    def own_turns(self) -> list[Turn]:
        """The turns that are shared with no parent."""
        return list(self.turns)

    def dispose(self) -> None:
        """Take the set down, when all that it gave was taken from it: nothing of it is left.

        Model and agents know each other. Python would find such a circle only in a look through
        all that a host holds, a tenth of a second in which no other scene goes on.
        """
        self.__dict__.clear()

    async def play(self, draw: Drawer) -> None:
        """Play the scene to its end. Raises ModelError."""
        while self.running:
            self.step()
            await self.act(draw)

    def step(self) -> None:
        """Open the next turn: what was thought meanwhile takes effect, and events happen.

        Where something must be written down before, a diary or what goes into an envelope, the
        turn is opened when that has come.
        """
        self._seq = 0
        self._acts = []
        self._unopened = False
        if self._relives():
            return
        self._unopened = self._seals() or (
            starts_session(self.scene, self.turn) and self.scene.memory != "nothing"
        )
        if not self._unopened:
            self._open()

    def _open(self) -> None:
        """Let happen what comes before anybody speaks: a session's beginning before all else."""
        self._unopened = False
        if starts_session(self.scene, self.turn):
            self._wake(self.scene)
        thought, self._thought = self._thought, ()
        self._take_effect(thought)
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
                self.author.made.add(plan.move)

    async def act(self, draw: Drawer) -> None:
        """Let the author (where it is due) and then the speaker act. Raises ModelError."""
        await self._act(draw)
        self._close()

    def _relives(self) -> bool:
        """Whether this turn was played before, so that there is nothing to open."""
        return False

    def _close(self) -> None:
        if self.turn >= self._last:
            self.running = False

    async def _act(self, draw: Drawer) -> None:
        if self._unopened:
            await self._seal(draw)
            await self._write_down(draw)
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
            # The author is asked first, so that what it is shown never hangs on which of
            # the two answers sooner.
            self._thought, spoken = await _together(
                author.act(draw, self._draw("author", "author")),
                self._drawn(speaker, draw, self._draw(speaker.name, "line")),
            )
            self._speak(speaker, *spoken)
        else:
            drawn = await self._drawn(speaker, draw, self._draw(speaker.name, "line"))
            self._speak(speaker, *drawn)

    async def _drawn(
        self, speaker: Character, draw: Drawer, identity: Draw
    ) -> tuple[Call, CleanLine]:
        rules = binding_rules(self.scene, speaker.name, "filter", "sham")
        return await speaker.speak(draw, identity, rules, list(self.by_name))

    # -- what is written down --------------------------------------------------------------

    def _seals(self) -> bool:
        """Whether this is when somebody is asked what goes into an envelope."""
        envelope = self.scene.envelope
        first = self.turn == 1 and self.branch == MAIN
        return first and envelope is not None and envelope.kept != "none"

    async def _seal(self, draw: Drawer) -> None:
        envelope = self.scene.envelope
        if envelope is None or not self._seals():
            return
        holder = self.by_name[envelope.of]
        identity = Draw(self.trial.id, self.branch, 0, holder.name, "envelope")
        call = await holder.answer(prompts.envelope_question(envelope), draw, identity)
        line = clean(call.reply, holder.name, list(self.by_name))
        answer = named(envelope.options, line.text)
        knows = {"own": (holder.name,), "author": ("author",)}.get(envelope.kept, ())
        # It belongs to the time before the first turn, which every branch shares.
        seq = sum(t.turn == 0 for t in self.turns)
        row = Turn(
            self.trial.id,
            MAIN,
            0,
            seq,
            "envelope",
            holder.name,
            answer,
            raw=call.reply,
            cuts=line.cuts,
            heard_by=knows,
        )
        self._sealed(row)

    def _sealed(self, row: Turn) -> None:
        block = prompts.envelope_block(row.speaker, row.text)
        for name in row.heard_by if row.text else ():
            if name in self.by_name:
                self.by_name[name].thread.show(block)
            elif self.author is not None:
                self.author.thread.show(block)
        self.turns.append(row)

    async def _write_down(self, draw: Drawer) -> None:
        """Have written down what will be remembered of a session that is over."""
        if not starts_session(self.scene, self.turn) or self.scene.memory == "nothing":
            return
        keeper, there = self.memory.keeper, [c for c in self.cast if c.present]
        if keeper is not None:
            written = {"author": keeper.write(draw, self._draw("author", "bible"))}
        else:
            written = {c.name: c.write(draw, self._draw(c.name, "diary")) for c in there}
        calls = await asyncio.gather(*written.values(), return_exceptions=True)
        for call in calls:
            if isinstance(call, BaseException):
                raise call
        for name, call in zip(written, cast("list[Call]", calls), strict=True):
            entry = one_line(call.reply)[:MAX_LINE]
            readers = self.memory.readers(self.scene.memory, name)
            self._keep("memory", name, entry, raw=call.reply, heard_by=readers)
            self.memory.keep(self.turns[-1])

    def _wake(self, scene: Scene) -> None:
        """Begin a new session: everybody forgets, and remembers what the scene grants."""
        for character in self.cast:
            character.wake(self.memory.of(scene, character.name))

    # -- who acts --------------------------------------------------------------------------

    def speaker(self) -> Character | None:
        """Choose who speaks: the author's cue first, then the scene's order."""
        if self._there is None:
            self._there = self.agents_by_type[Character].select(lambda c: c.present)
        if not len(self._there):
            return None
        cued = self.by_name.get(self._cued)
        self._cued = ""
        if cued is not None and cued.present:
            return cued
        return ORDERS[self.scene.order](self, self._there)

    def dice(self, purpose: str) -> random.Random:
        """Return Mesa's random source, set by what it is for: nothing random is carried over."""
        self.random.seed(seed_of(purpose, self.trial.id, self.branch, self.turn))
        return self.random  # type: ignore[no-any-return]

    def _draw(self, role: str, purpose: Purpose) -> Draw:
        return Draw(self.trial.id, self.branch, self.turn, role, purpose)

    # -- what happens ----------------------------------------------------------------------

    def _come_and_go(self, enter: Iterable[str], leave: Iterable[str]) -> None:
        self._there = None
        for name in enter:
            self.by_name[name].present = True
        for name in leave:
            self.by_name[name].present = False

    def _written(self) -> None:
        for opening in self.scene.opening:
            if opening.direction is not None:
                self._direct(opening.direction)
            elif opening.who is not None and opening.line is not None:
                to = (opening.aside_to,) if opening.aside_to else None
                self._utter(self.by_name[opening.who], "written", opening.line, aside_to=to)

    def _speak(self, speaker: Character, call: Call, line: CleanLine) -> None:
        to = None
        if line.aside:
            heard = self.by_name.get(line.aside_to)
            to = (line.aside_to,) if heard is not None and heard.present else ()
        kind: TurnKind = "line" if line.text else "silence"
        self._utter(speaker, kind, line.text, raw=call.reply, cuts=line.cuts, aside_to=to)

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
        """Record a line and let everybody hear it who would."""
        present = [c for c in self.cast if c.present or c is speaker]
        hearers = [c for c in present if c is not speaker]
        to, by = "", "none"
        if aside_to is not None:
            hearers = [c for c in hearers if c.name in aside_to]
            to, by = (aside_to[0], "said") if aside_to else ("", "none")
        elif text:
            others = [c.name for c in present]
            to, by = find_addressee(text, speaker.name, self._known, self.last_speaker, others)
        block = prompts.line_block(speaker.name, text, aside_to)
        for c in hearers:
            c.thread.show(block)
        speaker.thread.said(block, remembered_reply(raw or text, cuts))
        self._overheard(block, aside=aside_to is not None)
        speaker.last_spoke = len(self.turns)
        self.last_speaker = speaker.name
        names = tuple(c.name for c in hearers)
        self._keep(kind, speaker.name, text, raw, cuts, to, by, aside_to is not None, names)  # type: ignore[arg-type]

    def _direct(self, text: str) -> None:
        """Play a stage direction, which everybody present takes in."""
        block = prompts.direction_block(text)
        present = [c for c in self.cast if c.present]
        for c in present:
            c.thread.show(block)
        self._overheard(block)
        self._keep("direction", "", text.strip(), heard_by=tuple(c.name for c in present))

    def _overheard(self, block: Block, *, aside: bool = False) -> None:
        """Let the author take in what is said on the stage, as far as its settings grant it."""
        if not author_hears(self.scene.author, aside=aside):
            return
        for listener in (self.author, self.memory.keeper):
            if listener is not None:
                listener.thread.show(block)

    def _remind(self) -> None:
        """Have the author repeat the rules that it is to repeat, to those whom they bind."""
        for character in self.cast if self.scene.rules else ():
            for _, rule in binding_rules(self.scene, character.name, "reminder"):
                if character.present and (self.turn - 1) % rule.every == 0:
                    self._take_effect([Act("note", character.name, rule.says)])

    def _take_effect(self, acts: Sequence[Act]) -> None:
        for act in acts:
            self._acts.append(act)
            if act.kind == "note":
                shown = prompts.note_block(self.scene.author, act.to, act.text)
                self.by_name[act.to].thread.show(shown)
            elif act.kind == "cue":
                self._cued = act.to
            elif act.kind == "move" and act.text:
                self._direct(act.text)
            elif act.kind == "end":
                self.running = False
                self._direct("The scene ends.")

    def _keep(
        self,
        kind: TurnKind,
        speaker: str,
        text: str,
        raw: str = "",
        cuts: tuple[str, ...] = (),
        to: str = "",
        by: AddressedBy = "none",
        aside: bool = False,
        heard_by: tuple[str, ...] = (),
    ) -> None:
        acts, self._acts = tuple(self._acts), []
        # The written opening is no branch's own.
        branch = self.branch if self.turn else MAIN
        self.turns.append(
            Turn(
                self.trial.id,
                branch,
                self.turn,
                self._seq,
                kind,
                speaker,
                text,
                raw,
                cuts,
                to,
                by,
                aside,
                heard_by,
                acts,
            )
        )
        self._seq += 1


async def _together(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Await both; when one fails the other is still waited for, so that its call is journaled."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for result in (first, second):
        if isinstance(result, BaseException):
            raise result
    return first, second


def remembered_reply(reply: str, cuts: tuple[str, ...]) -> str:
    """Return what a speaker remembers to have replied: nothing, where it was withheld."""
    return "" if WITHHELD in cuts else reply
