"""The stage of a branch: a scene that is entered again at a fork.

The turns that the branch shares with its parent are repeated as they were recorded; they are not
drawn again, and the branch's edits do not change them. Then the branch's own turns are played like
those of any scene.
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
from improv.stage.rules import remembered_reply
from improv.stage.stage import Stage
from improv.study.branch import Past, last_branch_turn
from improv.study.scene import EVERYBODY, Scene
from improv.study.trial import Trial


def create_stage(trial: Trial, past: Past | None = None) -> Stage:
    """Return the stage of a trial, or of the branch that `past` begins."""
    return Stage(trial) if past is None else BranchStage(trial, past)


class BranchStage(Stage):
    """The stage of a branch with its `past`. `trial` is the edited one that `branched` returns."""

    def __init__(self, trial: Trial, past: Past) -> None:
        titles = [s.author.called for _, s in past.scenes if s.author.live]
        super().__init__(
            trial,
            branch=past.branch.id,
            called=titles[0] if titles else "",
            last=last_branch_turn(trial.scene, past.branch),
        )
        self.past = past
        self._fork = past.branch.fork
        self._resaid: Turn | None = None
        """The parent's turn whose line this branch edits or draws again, while that turn is on."""
        for row in past.turns:
            if row.kind == "envelope":
                self._add_envelope(row)

    @property
    def own_turns(self) -> list[Turn]:
        """The turns after the fork, which the parent does not share."""
        return [t for t in self.turns if t.turn > self._fork]

    async def play(self, draw: Drawer) -> None:
        """Play the branch to its end. Raises ModelError."""
        await super().play(draw)
        if self.past.branch.origin == "probe":
            await self._probe(draw, self.past)

    async def act(self, draw: Drawer) -> None:
        """Play the part of the turn that does not repeat the parent's. Raises ModelError."""
        if self._resaid is not None:
            await self._say_again(draw, self.past, self._resaid)
        elif self.turn > self._fork:
            await self._act(draw)
        self._close()

    def _repeats(self) -> bool:
        """Repeat this turn if the parent played it. Whether there is nothing more to open."""
        past, self._resaid = self.past, None
        begins = past.branch.begins
        for first, edit in past.branch.changes:
            if first == self.turn:
                for character in self.cast:
                    memory = edit.memory.get(character.name, edit.memory.get(EVERYBODY))
                    if memory is not None:
                        character.wake(memory)
        if self.turn < begins:
            self._repeat(past, past.scene(self.turn))
            return True
        if self.turn == begins:
            self._begin(past, past.scene(self.turn - 1))
        return False

    def _repeat(self, past: Past, scene: Scene) -> None:
        """Repeat a turn as it was recorded: what everybody heard, and what the author did.

        In a turn after the fork, the line itself and its hearers are left to `act`.
        """
        for event in scene.events:
            if event.turn == self.turn:
                self._come_and_go(event.enter, event.exit)
        reply = past.thoughts.get(self.turn) if self.author is not None else None
        before = scene.author.when == "before"
        rows = past.of(self.turn)
        if starts_session(scene, self.turn):
            for row in rows:
                if row.kind == "memory":
                    self._repeat_memory(row)
            self._wake(scene)
        early = self._acts_before_author(past, scene)
        for row in (r for r in rows if r.kind != "memory"):
            spoken = row.kind in ("line", "silence")
            early -= len(row.acts)
            author_was_asked = spoken or (before and early < 0)
            if self.author and reply is not None and author_was_asked:
                self.author.recall(self.turn, reply)
                reply = None
            for act in row.acts:
                self._repeat_act(act, scene)
            if spoken:
                self._update_order(self.by_name[row.speaker])
            if self.turn <= self._fork:
                self._repeat_row(row)
            elif spoken:
                self._resaid, self._acts = row, list(row.acts)
                return
            else:
                self._repeat_row(replace(row, branch=self.branch))

    def _acts_before_author(self, past: Past, scene: Scene) -> int:
        """Return how many acts of this turn came before the author was asked: the acts it decided
        during the turn before, an edit's move, and a planned move."""
        moved = sum(t == self.turn and e.move is not None for t, e in past.branch.changes)
        return (
            len(self._pending_acts(past, past.scene(self.turn - 1)))
            + moved
            + (planned_move(scene, self.turns, self.turn) is not None)
        )

    def _pending_acts(self, past: Past, before: Scene) -> tuple[Act, ...]:
        """Return the acts that the author decided during the turn before, in the scene `before`."""
        reply = past.thoughts.get(self.turn - 1)
        if reply is None or before.author.when != "during":
            return ()
        moves_made = {a.to for t in self.turns for a in t.acts if a.kind == "move"}
        may = allowed_powers(before.author, self.turn - 1, before.turns)
        return read_acts(reply, may, self.names, before.author.moves, moves_made)

    def _repeat_memory(self, row: Turn) -> None:
        own = row if self.turn <= self._fork else replace(row, branch=self.branch)
        self.turns.append(own)
        self._seq = row.seq + 1
        self.memory.add(own)

    def _update_order(self, speaker: Character) -> None:
        """Update the round as if the order had just chosen this speaker."""
        cued, self._cued = self._cued, ""
        if cued == speaker.name or self.scene.order != "shuffled":
            return
        remaining = [c for c in self.round if c.present] or [c for c in self.cast if c.present]
        self.round = [c for c in remaining if c is not speaker]

    def _repeat_act(self, act: Act, scene: Scene) -> None:
        if act.kind == "note" and act.to in self.by_name:
            self.by_name[act.to].thread.show(prompts.note_block(scene.author, act.to, act.text))
        elif act.kind == "cue":
            self._cued = act.to
        elif act.kind == "move" and self.author is not None:
            self.author.moves_made.add(act.to)

    def _repeat_row(self, row: Turn) -> None:
        """Record a row again, and show it to those who heard it."""
        spoken = bool(row.speaker)
        block = prompts.direction_block(row.text)
        if spoken:
            block = prompts.line_block(row.speaker, row.text, _aside_to(row))
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
        """Begin the branch's own turns: set the pending acts, with the edit's move among them."""
        if self.round:
            # The rest of a round is drawn anew, like everything after the fork.
            self.dice("rest of the round").shuffle(self.round)
        moves_made = {a.to for t in self.turns for a in t.acts if a.kind == "move"}
        self._pending = self._pending_acts(past, before)
        for first, edit in past.branch.changes:
            if first == self.turn and edit.move is not None:
                text = self.scene.author.moves.get(edit.move, edit.move)
                # It is the first act of the turn, but a session that begins here begins before it.
                self._pending = (Act("move", edit.move, text), *self._pending)
        if self.author is not None:
            self.author.moves_made |= moves_made
            self.author.moves_made |= {a.to for a in self._pending if a.kind == "move"}

    async def _say_again(self, draw: Drawer, past: Past, row: Turn) -> None:
        """Play the line of a repeated turn in a new form: edited, or drawn once more."""
        speaker = self.by_name[row.speaker]
        edit = past.branch.change
        if past.branch.origin == "regeneration":
            identity = Draw(
                self.trial.id, row.branch, self.turn, speaker.name, "line", past.branch.attempt
            )
            self._speak(speaker, *await self._draw_line(speaker, draw, identity))
        else:
            speaker.cue()
            line = " ".join((edit.line or "").split())
            self._utter(speaker, "line", line, cuts=("edited",), aside_to=_aside_to(row))

    async def _probe(self, draw: Drawer, past: Past) -> None:
        """Ask a character the branch's question; nobody remembers the question or the answer."""
        character = self.by_name[past.branch.of]
        identity = Draw(
            self.trial.id, self.branch, self.turn + 1, character.name, "probe", past.branch.attempt
        )
        question = prompts.probe_question(character.name, past.branch.ask)
        call = await character.answer(question, draw, identity)
        line = clean(call.reply, character.name, list(self.by_name), self.aliases)
        self.turns.append(
            Turn(
                trial=self.trial.id,
                branch=self.branch,
                turn=self.turn + 1,
                seq=0,
                kind="probe",
                speaker=character.name,
                text=line.text,
                raw=call.reply,
                cuts=line.cuts,
            )
        )


def _aside_to(row: Turn) -> tuple[str, ...] | None:
    """Return the hearers of a recorded aside, None for a line to all."""
    if not row.aside:
        return None
    return (row.addressed,) if row.addressed else ()
