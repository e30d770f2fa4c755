"""The stage: a Mesa model of one scene being played. Who acts when, who hears what, what is kept.

No disk, no Ray, no clock but Mesa's: given the trial and the replies of its draws, the turns are
determined. `step` is synchronous and opens a turn; the acting in it is awaited by the host.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import mesa

from improv import prompt
from improv.author import Author, powers, read_acts
from improv.branch import Past, last_turn
from improv.character import Character
from improv.edit import EVERYBODY
from improv.hearing import addressed
from improv.line import clean
from improv.model import Drawer
from improv.record import MAIN, Act, Block, Call, Draw, Hearing, Purpose, Turn, TurnKind, seed_of
from improv.scene import Scene
from improv.trial import Trial


class Stage(mesa.Model):  # type: ignore[misc]
    """One scene of one trial. `turns` and `book` (blocks by id) grow as it is played.

    With a `past` it is a branch: the shared turns are relived, not drawn, whatever the edited
    scene would make of them, and then the branch's own are played.
    """

    def __init__(self, trial: Trial, past: Past | None = None) -> None:
        self.branch = past.branch.id if past is not None else MAIN
        super().__init__(seed=seed_of("stage", trial.id, self.branch))
        self.trial = trial
        self.scene = trial.scene
        self.turns: list[Turn] = []
        self.book: dict[str, Block] = {}
        self.cast = [Character(self, self.scene, c, self.book) for c in self.scene.cast]
        self.by_name = {c.name: c for c in self.cast}
        self.author = Author(self, self.scene, self.book) if self.scene.author.live else None
        self._past = past
        self._fork = past.branch.fork if past is not None else 0
        self._last = last_turn(self.scene, past.branch) if past is not None else self.scene.turns
        self.running: bool = self._last > 0
        self._kept: Turn | None = None
        self._known = tuple((c.who.name, tuple(c.who.aliases)) for c in self.cast)
        self._cued = ""
        self._thought: tuple[Act, ...] = ()
        self._acts: list[Act] = []
        self._round: list[Character] = []
        self._seq = 0
        self._last_speaker = ""
        self._written()

    @property
    def turn(self) -> int:
        """The improvised turn being played, from 1; 0 before the first."""
        return int(self.steps)

    @property
    def own(self) -> list[Turn]:
        """The turns that are this branch's own: all of them but those it shares."""
        return [t for t in self.turns if t.turn > self._fork or self._past is None]

    async def play(self, draw: Drawer) -> None:
        """Play the scene to its end. Raises ModelError."""
        while self.running:
            self.step()
            await self.act(draw)
        if self._past is not None and self._past.branch.origin == "probe":
            await self._probe(draw, self._past)

    def step(self) -> None:
        """Open the next turn: what was thought meanwhile takes effect, and events happen."""
        self._seq = 0
        self._acts = []
        self._kept = None
        if self._past is not None and self._relives(self._past):
            return
        thought, self._thought = self._thought, ()
        self._take_effect(thought)
        for event in self.scene.events:
            if event.turn == self.turn:
                self._come_and_go(event.enter, ())
                if event.direction:
                    self._direct(event.direction)
                self._come_and_go((), event.exit)

    async def act(self, draw: Drawer) -> None:
        """Let the author (where it is due) and then the speaker act. Raises ModelError."""
        if self._past is not None and self._kept is not None:
            await self._again(draw, self._past, self._kept)
        elif self._past is None or self.turn > self._fork:
            await self._act(draw)
        if self.turn >= self._last:
            self.running = False

    async def _act(self, draw: Drawer) -> None:
        author = self.author
        due = self.running and author is not None and author.due(self.turn)
        thinking = due and self.scene.author.when == "during"
        if author is not None and due and not thinking:
            self._take_effect(await author.act(draw, self._draw("author", "author")))
        if self.running:
            speaker = self.speaker()
            if speaker is None:
                self._direct("Nobody is there.")
            elif author is not None and thinking:
                # The author is asked first, so that what it is shown never hangs on which of
                # the two answers sooner.
                self._thought, call = await _together(
                    author.act(draw, self._draw("author", "author")),
                    speaker.act(draw, self._draw(speaker.name, "line")),
                )
                self._speak(speaker, call)
            else:
                self._speak(speaker, await speaker.act(draw, self._draw(speaker.name, "line")))

    # -- what was played before ------------------------------------------------------------

    def _relives(self, past: Past) -> bool:
        """Relive this turn, or what of it a branch keeps; whether there is nothing more to open."""
        begins = past.branch.begins
        for first, edit in past.branch.changes:
            if first == self.turn:
                for character in self.cast:
                    memory = edit.memory.get(character.name, edit.memory.get(EVERYBODY))
                    if memory is not None:
                        character.wake(memory)
        if self.turn < begins:
            self._relive(past, past.scene(self.turn))
            return True
        if self.turn == begins:
            self._begin(past, past.scene(self.turn - 1))
        return False

    def _relive(self, past: Past, scene: Scene) -> None:
        """Take everybody through a turn as it was: who heard what, and what the author did.

        Of a turn after the fork, all but the line and who hears it.
        """
        for event in scene.events:
            if event.turn == self.turn:
                self._come_and_go(event.enter, event.exit)
        thought = past.thoughts.get(self.turn) if self.author is not None else None
        before = scene.author.when == "before"
        # An edit's move was made before the author was asked.
        moved = any(t == self.turn and e.move is not None for t, e in past.branch.changes)
        for i, row in enumerate(past.of(self.turn)):
            spoken = row.kind in ("line", "silence")
            asked = spoken or (before and bool(row.acts) and not (moved and i == 0))
            if self.author and thought is not None and asked:
                self.author.recall(self.turn, thought)
                thought = None
            for act in row.acts:
                self._recall(act, scene)
            if spoken:
                self._chosen(self.by_name[row.speaker])
            if self.turn <= self._fork:
                self._hear_again(row)
            elif spoken:
                self._kept, self._acts = row, list(row.acts)
                return
            else:
                self._hear_again(replace(row, branch=self.branch))

    def _chosen(self, speaker: Character) -> None:
        """Let the order remember who spoke, as it would if it had chosen."""
        cued, self._cued = self._cued, ""
        if cued == speaker.name or self.scene.order != "shuffled":
            return
        left = [c for c in self._round if c.present] or [c for c in self.cast if c.present]
        self._round = [c for c in left if c is not speaker]

    def _recall(self, act: Act, scene: Scene) -> None:
        if act.kind == "note" and act.to in self.by_name:
            self.by_name[act.to].thread.show(prompt.note(scene.author, act.to, act.text))
        elif act.kind == "cue":
            self._cued = act.to
        elif act.kind == "move" and self.author is not None:
            self.author.made.add(act.to)

    def _hear_again(self, row: Turn) -> None:
        spoken = bool(row.speaker)
        block = prompt.direction(row.text)
        if spoken:
            block = prompt.spoken(row.speaker, row.text, _to_whom(row))
        for name in row.heard_by:
            self.by_name[name].thread.show(block)
        if self.author is not None and self.author.hears(row.aside):
            self.author.thread.show(block)
        if spoken:
            speaker = self.by_name[row.speaker]
            speaker.recall(block, row.raw or row.text)
            speaker.last_spoke = len(self.turns)
            self._last_speaker = row.speaker
        self.turns.append(row)
        self._seq = row.seq + 1

    def _begin(self, past: Past, before: Scene) -> None:
        """Begin the branch's own play: what was still pending, and what the edit changes."""
        if self._round:
            # How a round that was begun goes on is drawn anew, like all that follows.
            self.dice("rest of the round").shuffle(self._round)
        made = {a.to for t in self.turns for a in t.acts if a.kind == "move"}
        pending = past.thoughts.get(self.turn - 1)
        if pending is not None and before.author.when == "during":
            may = powers(before.author, self.turn - 1, before.turns)
            self._thought = read_acts(pending, may, list(self.by_name), before.author.moves, made)
        for first, edit in past.branch.changes:
            if first == self.turn and edit.move is not None:
                text = self.scene.author.moves.get(edit.move, edit.move)
                self._take_effect([Act("move", edit.move, text)])
                made.add(edit.move)
        if self.author is not None:
            self.author.made |= made | {a.to for a in self._thought if a.kind == "move"}

    async def _again(self, draw: Drawer, past: Past, kept: Turn) -> None:
        """Say one kept turn's line otherwise: as it was edited, or drawn once more."""
        speaker = self.by_name[kept.speaker]
        edit = past.branch.change
        if past.branch.origin == "regeneration":
            identity = Draw(
                self.trial.id, kept.branch, self.turn, speaker.name, "line", past.branch.attempt
            )
            self._speak(speaker, await speaker.act(draw, identity))
        else:
            speaker.cue()
            line = " ".join((edit.line or "").split())
            self._utter(speaker, "line", line, cuts=("edited",), aside_to=_to_whom(kept))

    async def _probe(self, draw: Drawer, past: Past) -> None:
        """Ask a character something that neither it nor anybody else will remember."""
        character = self.by_name[past.branch.of]
        identity = Draw(
            self.trial.id, self.branch, self.turn + 1, character.name, "probe", past.branch.attempt
        )
        call = await character.answer(past.branch.ask, draw, identity)
        line = clean(call.reply, character.name, list(self.by_name))
        self.turns.append(
            Turn(
                self.trial.id, self.branch, self.turn + 1, 0, "probe", character.name, line.text,
                raw=call.reply, cuts=line.cuts,
            )
        )  # fmt: skip

    # -- who acts --------------------------------------------------------------------------

    def speaker(self) -> Character | None:
        """Choose who speaks: the author's cue first, then the scene's order."""
        present = self.agents_by_type[Character].select(lambda c: c.present)
        if not len(present):
            return None
        cued = self.by_name.get(self._cued)
        self._cued = ""
        if cued is not None and cued.present:
            return cued
        return _ORDERS[self.scene.order](self, present)

    def dice(self, purpose: str) -> random.Random:
        """Return Mesa's random source, set by what it is for: nothing random is carried over."""
        self.random.seed(seed_of(purpose, self.trial.id, self.branch, self.turn))
        return self.random  # type: ignore[no-any-return]

    def _draw(self, role: str, purpose: Purpose) -> Draw:
        return Draw(self.trial.id, self.branch, self.turn, role, purpose)

    # -- what happens ----------------------------------------------------------------------

    def _come_and_go(self, enter: Iterable[str], leave: Iterable[str]) -> None:
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

    def _speak(self, speaker: Character, call: Call) -> None:
        line = clean(call.reply, speaker.name, list(self.by_name))
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
            to, by = addressed(text, speaker.name, self._known, self._last_speaker, others)
        block = prompt.spoken(speaker.name, text, aside_to)
        for c in hearers:
            c.thread.show(block)
        speaker.thread.said(block, raw or text)
        if self.author is not None and self.author.hears(aside_to is not None):
            self.author.thread.show(block)
        speaker.last_spoke = len(self.turns)
        self._last_speaker = speaker.name
        names = tuple(c.name for c in hearers)
        self._keep(kind, speaker.name, text, raw, cuts, to, by, aside_to is not None, names)  # type: ignore[arg-type]

    def _direct(self, text: str) -> None:
        """Play a stage direction, which everybody present takes in."""
        block = prompt.direction(text)
        present = [c for c in self.cast if c.present]
        for c in present:
            c.thread.show(block)
        if self.author is not None and self.author.hears(False):
            self.author.thread.show(block)
        self._keep("direction", "", text.strip(), heard_by=tuple(c.name for c in present))

    def _take_effect(self, acts: Sequence[Act]) -> None:
        for act in acts:
            self._acts.append(act)
            if act.kind == "note":
                shown = prompt.note(self.scene.author, act.to, act.text)
                self.by_name[act.to].thread.show(shown)
            elif act.kind == "cue":
                self._cued = act.to
            elif act.kind == "move":
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
        by: Hearing = "none",
        aside: bool = False,
        heard_by: tuple[str, ...] = (),
    ) -> None:
        acts, self._acts = tuple(self._acts), []
        # The written opening is no branch's own.
        branch = self.branch if self.turn else MAIN
        self.turns.append(
            Turn(
                self.trial.id, branch, self.turn, self._seq, kind, speaker, text, raw, cuts,
                to, by, aside, heard_by, acts,
            )
        )  # fmt: skip
        self._seq += 1


async def _together(
    author: Coroutine[Any, Any, tuple[Act, ...]], speaker: Coroutine[Any, Any, Call]
) -> tuple[tuple[Act, ...], Call]:
    """Await both; when one fails the other is still waited for, so that its call is journaled."""
    thought, call = await asyncio.gather(author, speaker, return_exceptions=True)
    for result in (thought, call):
        if isinstance(result, BaseException):
            raise result
    return thought, call


def _to_whom(row: Turn) -> tuple[str, ...] | None:
    """Return whom a recorded line was an aside to, None for a line to all."""
    if not row.aside:
        return None
    return (row.addressed,) if row.addressed else ()


def _round_robin(stage: Stage, present: mesa.agent.AgentSet) -> Character:
    """Whoever comes next in the cast list after the last speaker."""
    cast = stage.cast
    last = stage.by_name.get(stage._last_speaker)
    start = cast.index(last) + 1 if last is not None else 0
    return next(c for c in cast[start:] + cast[:start] if c.present)


def _shuffled(stage: Stage, present: mesa.agent.AgentSet) -> Character:
    """Everybody once a round, in an order drawn anew for each."""
    stage._round = [c for c in stage._round if c.present]
    if not stage._round:
        stage.dice("round")
        stage._round = list(present.shuffle())
        if len(stage._round) > 1 and stage._round[0].name == stage._last_speaker:
            stage._round.append(stage._round.pop(0))
    return stage._round.pop(0)


def _to_the_addressed(stage: Stage, present: mesa.agent.AgentSet) -> Character:
    """Whoever the last line spoke to; the one longest silent where it spoke to nobody."""
    last = next((t for t in reversed(stage.turns) if t.speaker), None)
    named = stage.by_name.get(last.addressed) if last is not None else None
    if named is not None and named.present and named.name != stage._last_speaker:
        return named
    return _longest_silent(stage, present)


def _longest_silent(stage: Stage, present: mesa.agent.AgentSet) -> Character:
    return min(present, key=lambda c: c.last_spoke)  # type: ignore[no-any-return]


def _by_silence(stage: Stage, present: mesa.agent.AgentSet) -> Character:
    """Drawn by chance, in proportion to how many turns each has been silent."""
    silent = present.map(lambda c: max(len(stage.turns) - 1 - c.last_spoke, 0))
    if not sum(silent):
        return next(iter(present))  # type: ignore[no-any-return]
    chosen: Character = stage.dice("speaker").choices(list(present), weights=silent)[0]
    return chosen


_ORDERS = {
    "round-robin": _round_robin,
    "shuffled": _shuffled,
    "addressed": _to_the_addressed,
    "author-cued": _longest_silent,
    "by-silence": _by_silence,
}
