"""A branch on the stage: a scene entered again.

The shared turns are relived, not drawn, whatever the edited scene would make of them, and then
the branch's own are played, as any scene is.
"""

from __future__ import annotations

from dataclasses import replace

from improv.models.request import Drawer
from improv.records import Act, Draw, Turn
from improv.stage import prompts
from improv.stage.author import allowed_powers, planned_move, read_acts
from improv.stage.character import Character
from improv.stage.memory import starts_session
from improv.stage.reply import clean
from improv.stage.stage import Stage, remembered_reply
from improv.study.branch import Past, last_turn
from improv.study.scene import EVERYBODY, Scene
from improv.study.trial import Trial


def create_stage(trial: Trial, past: Past | None = None) -> Stage:
    """Return the stage of a trial, or of the branch that `past` begins."""
    return Stage(trial) if past is None else BranchStage(trial, past)


class BranchStage(Stage):
    """The stage of a branch, with its `past`. `trial` is already as it plays it (`branched`)."""

    def __init__(self, trial: Trial, past: Past) -> None:
        lived = [s.author.called for _, s in past.scenes if s.author.live]
        super().__init__(
            trial,
            branch=past.branch.id,
            called=lived[0] if lived else "",
            last=last_turn(trial.scene, past.branch),
        )
        self.past = past
        self._fork = past.branch.fork
        self._kept: Turn | None = None
        for row in past.turns:
            if row.kind == "envelope":
                self._sealed(row)

    @property
    def own_turns(self) -> list[Turn]:
        """The turns that are shared with no parent."""
        return [t for t in self.turns if t.turn > self._fork]

    async def play(self, draw: Drawer) -> None:
        """Play the branch to its end. Raises ModelError."""
        await super().play(draw)
        if self.past.branch.origin == "probe":
            await self._probe(draw, self.past)

    async def act(self, draw: Drawer) -> None:
        """Let those act whose turn is not relived. Raises ModelError."""
        if self._kept is not None:
            await self._again(draw, self.past, self._kept)
        elif self.turn > self._fork:
            await self._act(draw)
        self._close()

    def _relives(self) -> bool:
        """Relive this turn, or what of it a branch keeps; whether there is nothing more to open."""
        past, self._kept = self.past, None
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
        rows = past.of(self.turn)
        if starts_session(scene, self.turn):
            for row in rows:
                if row.kind == "memory":
                    self._written_again(row)
            self._wake(scene)
        early = self._made_early(past, scene)
        for row in (r for r in rows if r.kind != "memory"):
            spoken = row.kind in ("line", "silence")
            early -= len(row.acts)
            asked = spoken or (before and early < 0)
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

    def _made_early(self, past: Past, scene: Scene) -> int:
        """Return how many acts of this turn came before the author was asked: what it thought
        while the turn before was spoken, an edit's move, a move that was planned."""
        moved = sum(t == self.turn and e.move is not None for t, e in past.branch.changes)
        return (
            len(self._pending(past, past.scene(self.turn - 1)))
            + moved
            + (planned_move(scene, self.turns, self.turn) is not None)
        )

    def _pending(self, past: Past, before: Scene) -> tuple[Act, ...]:
        """Return what the author thought while the turn before was spoken."""
        reply = past.thoughts.get(self.turn - 1)
        if reply is None or before.author.when != "during":
            return ()
        made = {a.to for t in self.turns for a in t.acts if a.kind == "move"}
        may = allowed_powers(before.author, self.turn - 1, before.turns)
        return read_acts(reply, may, list(self.by_name), before.author.moves, made)

    def _written_again(self, row: Turn) -> None:
        own = row if self.turn <= self._fork else replace(row, branch=self.branch)
        self.turns.append(own)
        self._seq = row.seq + 1
        self.memory.keep(own)

    def _chosen(self, speaker: Character) -> None:
        """Let the order remember who spoke, as it would if it had chosen."""
        cued, self._cued = self._cued, ""
        if cued == speaker.name or self.scene.order != "shuffled":
            return
        left = [c for c in self.round if c.present] or [c for c in self.cast if c.present]
        self.round = [c for c in left if c is not speaker]

    def _recall(self, act: Act, scene: Scene) -> None:
        if act.kind == "note" and act.to in self.by_name:
            self.by_name[act.to].thread.show(prompts.note_block(scene.author, act.to, act.text))
        elif act.kind == "cue":
            self._cued = act.to
        elif act.kind == "move" and self.author is not None:
            self.author.made.add(act.to)

    def _hear_again(self, row: Turn) -> None:
        spoken = bool(row.speaker)
        block = prompts.direction_block(row.text)
        if spoken:
            block = prompts.line_block(row.speaker, row.text, _to_whom(row))
        for name in row.heard_by:
            self.by_name[name].thread.show(block)
        self._overheard(block, aside=row.aside)
        if spoken:
            speaker = self.by_name[row.speaker]
            speaker.recall(block, remembered_reply(row.raw or row.text, row.cuts))
            speaker.last_spoke = len(self.turns)
            self.last_speaker = row.speaker
        self.turns.append(row)
        self._seq = row.seq + 1

    def _begin(self, past: Past, before: Scene) -> None:
        """Begin the branch's own play: what was still pending, and what the edit changes."""
        if self.round:
            # How a round that was begun goes on is drawn anew, like all that follows.
            self.dice("rest of the round").shuffle(self.round)
        made = {a.to for t in self.turns for a in t.acts if a.kind == "move"}
        self._thought = self._pending(past, before)
        for first, edit in past.branch.changes:
            if first == self.turn and edit.move is not None:
                text = self.scene.author.moves.get(edit.move, edit.move)
                # It is made first of all, but not before a session that begins here has begun.
                self._thought = (Act("move", edit.move, text), *self._thought)
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
            self._speak(speaker, *await self._drawn(speaker, draw, identity))
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
        question = prompts.probe_question(character.name, past.branch.ask)
        call = await character.answer(question, draw, identity)
        line = clean(call.reply, character.name, list(self.by_name))
        self.turns.append(
            Turn(
                self.trial.id,
                self.branch,
                self.turn + 1,
                0,
                "probe",
                character.name,
                line.text,
                raw=call.reply,
                cuts=line.cuts,
            )
        )


def _to_whom(row: Turn) -> tuple[str, ...] | None:
    """Return whom a recorded line was an aside to, None for a line to all."""
    if not row.aside:
        return None
    return (row.addressed,) if row.addressed else ()
