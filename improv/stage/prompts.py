"""Turns what an agent has been shown into the prompt that its model reads. There is no I/O here.

Each character has a thread, and so has the author: a list of blocks that only grows, so that an
endpoint can reuse its prefix cache. First come the blocks that everybody is shown, then the agent's
private ones, then the scene as it happens. A thread becomes a *chat* (a system message, the agent's
own lines as assistant, everything else as user) or a *script*, a document that ends where the next
line is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from improv.models.request import Message, Mode, Prompt
from improv.records import Block, BlockKind
from improv.study.author_spec import AuthorSpec
from improv.study.scene import CharacterSpec, Envelope, Scene

NOBODY, ANYBODY, NO_MOVE = "nobody", "anybody", "none"
"""What the author answers where it whispers to nobody, cues nobody, or makes no move."""
MAX_NOTE = 160
"""Characters of a note."""


@dataclass(slots=True)
class Thread:
    """What one agent has been shown, in order. Blocks are appended, never inserted or removed."""

    mode: Mode
    blocks: dict[str, Block]
    """Every block of the scene by id. All threads of a scene share this dict."""
    _ids: list[str] = field(default_factory=list)
    _head: str = ""
    _pieces: list[str] = field(default_factory=list)
    _messages: list[Message] = field(default_factory=list)

    @classmethod
    def begin(cls, mode: Mode, head: Iterable[Block], blocks: dict[str, Block]) -> Thread:
        """Return a new thread with the blocks that come before the scene."""
        thread = cls(mode, blocks)
        texts = []
        for block in head:
            thread._note(block)
            texts.append(block.text)
        thread._head = "\n\n".join(texts)
        return thread

    def fork(self) -> Thread:
        """Return an independent copy: what the copy is shown does not reach this thread."""
        return replace(
            self, _ids=[*self._ids], _pieces=[*self._pieces], _messages=[*self._messages]
        )

    def show(self, block: Block) -> None:
        """Append a block that the agent hears or reads."""
        self._note(block)
        if self.mode == "script":
            self._pieces.append(block.text)
        elif self._messages and self._messages[-1]["role"] == "user":
            # Chat templates want the roles to alternate, so what others say is one message.
            last = self._messages[-1]
            self._messages[-1] = {"role": "user", "content": f"{last['content']}\n{block.text}"}
        else:
            self._messages.append({"role": "user", "content": block.text})

    def said(self, block: Block, reply: str) -> None:
        """Append the agent's own words: `block` as the scene records them, `reply` as it was."""
        self._note(block)
        if self.mode == "script":
            self._pieces.append(block.text)
        else:
            self._messages.append({"role": "assistant", "content": reply or "…"})

    def ask(self, cue: Block, stop: tuple[str, ...] = ()) -> Prompt:
        """Return the prompt that ends in `cue`.

        In chat the cue stays in the thread, as the message that the reply answers. In a script the
        cue is the beginning of the line that answers it, so it is not kept; the line replaces it.
        """
        if self.mode == "chat":
            self.show(cue)
            messages = ({"role": "system", "content": self._head}, *self._messages)
            return Prompt("chat", tuple(self._ids), messages=messages, stop=stop)
        self.blocks[cue.id] = cue
        text = "\n".join((self._head, "", *self._pieces, cue.text))
        return Prompt("script", (*self._ids, cue.id), text=text, stop=stop)

    def _note(self, block: Block) -> None:
        self.blocks[block.id] = block
        self._ids.append(block.id)


def line_block(name: str, text: str, aside_to: tuple[str, ...] | None = None) -> Block:
    """Return the block of a line. `aside_to` is who hears an aside, None for a line to all."""
    if aside_to is None:
        return Block.of("transcript", f"{name.upper()}: {text or '…'}")
    to = f"aside to {', '.join(aside_to)}" if aside_to else "aside"
    return Block.of("transcript", f"{name.upper()}: ({to}) {text or '…'}")


def direction_block(text: str) -> Block:
    """Return the block of a stage direction."""
    return Block.of("transcript", f"({text.strip().strip('()')})")


def note_block(author: AuthorSpec, name: str, text: str) -> Block:
    """Return the block of a note that only `name` is shown."""
    return Block.of("note", f"(A note from {author.called} to {name}: {text})")


def memory_block(name: str, text: str) -> Block:
    """Return the block that a character remembers in place of the scene so far."""
    return Block.of("memory", f"(What {name} remembers: {text.strip()})")


def probe_question(name: str, question: str) -> Block:
    """Return the question that a character is asked off the record."""
    return Block.of("cue", f"(To {name} alone, and no part of the scene: {question.strip()})")


@lru_cache(maxsize=4096)
def author_question(turn: int, turns: int) -> Block:
    """Return the question a live author is asked before a turn."""
    return Block.of("cue", f"(Turn {turn} of {turns} is next. What do you do? Answer in JSON.)")


@lru_cache(maxsize=1024)
def author_cue(called: str) -> Block:
    """Return the beginning of the author's answer in a script. `called` is the author's title."""
    return Block.of("cue", f"{_label(called)}: ")


def author_answer(called: str, mode: Mode, reply: str) -> Block:
    """Return the block of the author's answer, as its own thread keeps it."""
    return Block.of("author", reply if mode == "chat" else f"{_label(called)}: {reply}")


def _label(called: str) -> str:
    """Return the author's name before its lines in a script: AUTHOR for "the author"."""
    return called.strip().removeprefix("the ").strip().upper() or "AUTHOR"


def diary_question(name: str) -> Block:
    """Return the question for a character's diary of a session that is over."""
    return Block.of(
        "cue",
        f"(This session is over, and {name} will remember nothing of it but what is written down "
        f"now. To {name} alone, and no part of the scene: write {name}'s diary, a few sentences, "
        "with every fact that must not be lost.)",
    )


def diary_cue(mode: Mode, name: str) -> Block:
    """Return the cue for `name` to write its diary."""
    script = f"{name.upper()}'S DIARY:"
    return Block.of("cue", script if mode == "script" else f"({name}, your diary.)")


def bible_question() -> Block:
    """Return the question for the author's bible: what holds true when a session is over."""
    return Block.of(
        "cue",
        "(This session is over, and the cast will remember nothing of it but what you write down "
        "now. Write what holds true, a few sentences, with every fact that must not be lost.)",
    )


def envelope_question(envelope: Envelope) -> Block:
    """Return the question whose answer a character seals before the scene begins."""
    among = f" One of: {', '.join(envelope.options)}." if envelope.options else ""
    return Block.of(
        "cue", f"(To {envelope.of} alone, before the scene begins: {envelope.ask.strip()}{among})"
    )


def envelope_block(name: str, answer: str) -> Block:
    """Return the block of the answer that a character has sealed."""
    return Block.of("memory", f"(What {name} has written down and sealed: {answer})")


@lru_cache(maxsize=4096)
def line_cue(mode: Mode, name: str) -> Block:
    """Return the cue for `name` to speak."""
    return Block.of("cue", f"{name.upper()}:" if mode == "script" else f"({name}, your line.)")


def character_head(scene: Scene, character: CharacterSpec, mode: Mode) -> list[Block]:
    """Return what a character is shown before the scene: shared blocks first, its own card last."""
    shared = [_title(scene), _world(scene), _cast(scene), *_outline(scene)]
    if scene.author.shown:
        shared += _frame(scene)
    if mode == "script":
        card = _script_card(character)
        return [*shared, *card, Block.of("task", "* * *")]
    return [_improviser(), *shared, _chat_card(character)]


def author_head(scene: Scene) -> list[Block]:
    """Return what a live author is shown before the scene, as far as its settings grant it."""
    author = scene.author
    brief = _brief(author)
    if author.moves and "move" in author.may:
        listed = "\n".join(f"- {name}: {text}" for name, text in author.moves.items())
        brief += f"\n\nMoves you may make, each once:\n{listed}"
    powers = {
        "note": "whisper a note to one character, that nobody else hears",
        "cue": "say who speaks next",
        "move": "make a move",
        "end": "end the scene",
    }
    may = "; ".join(powers[p] for p in author.may)
    brief += f"\n\nBefore some turns you are asked what you do. You may {may}."
    # In words too, because many an endpoint takes a schema and does nothing with it.
    listed = "\n".join(_AUTHOR_FIELDS[p] for p in author.may)
    brief += f"\n\nAnswer with one JSON object and nothing else. Its fields:\n{listed}"
    return [*_known_to_author(scene), Block.of("author", brief)]


_AUTHOR_FIELDS = {
    "note": f'- "note_to": the name of the one character who gets a note, or "{NOBODY}"\n'
    f'- "note": the note itself, at most {MAX_NOTE} characters, or ""',
    "cue": f'- "next": the name of the character who speaks next, or "{ANYBODY}"',
    "move": f'- "move": the name of the move, or "{NO_MOVE}"',
    "end": '- "end": true if the scene ends now, else false; asked for in the second half only',
}
"""What the author is told of the fields of its reply, for each of its powers."""


def keeper_head(scene: Scene) -> list[Block]:
    """Return what the author is shown that writes the bible from session to session."""
    return [*_known_to_author(scene), Block.of("author", _brief(scene.author))]


def _known_to_author(scene: Scene) -> list[Block]:
    author = scene.author
    blocks = [_title(scene), _world(scene), _cast(scene), *_outline(scene)]
    if not author.shown:
        blocks += _frame(scene)
    known = []
    for c in scene.cast:
        facts = _facts(c, card="cards" in author.knows, secret="secrets" in author.knows)
        if facts:
            known.append(f"{c.name.upper()}\n{facts}")
    if known:
        heading = f"What only {author.called} knows of them"
        blocks.append(Block.of("author", f"{heading}\n\n" + "\n\n".join(known)))
    if author.bible:
        blocks.append(Block.of("author", f"Notes on the work\n\n{author.bible.strip()}"))
    return blocks


def _brief(author: AuthorSpec) -> str:
    who = f"You are {author.called}" + (f", {author.name}" if author.name else "")
    return f"{who}, of the scene above. You do not speak in it. {author.brief.strip()}".strip()


def _title(scene: Scene) -> Block:
    return Block.of("world", f"{scene.title.upper()}\n{scene.form}")


def _frame(scene: Scene) -> list[Block]:
    """Return the author-level context. It comes after the blocks that all conditions share."""
    author = scene.author
    if not author.frame:
        return []
    about = ", ".join(part for part in (author.heading.strip(), author.name) if part)
    return [Block.of("frame", "\n".join(part for part in (about, author.frame.strip()) if part))]


def _outline(scene: Scene) -> list[Block]:
    """Return the beats as a list that is known from the start, if the structure is an outline."""
    if scene.structure != "outline":
        return []
    beats = sorted(scene.beats, key=lambda beat: beat.turn)
    listed = "\n".join(f"{n}. {beat.text.strip()}" for n, beat in enumerate(beats, 1))
    return [Block.of("task", f"What happens, in this order\n{listed}")]


def _world(scene: Scene) -> Block:
    parts = []
    setting = ". ".join(s.strip().rstrip(".") for s in (scene.place, scene.time) if s.strip())
    if setting:
        parts.append(f"{setting}.")
    parts.append(scene.premise.strip())
    rules = [*scene.world, *(r.says for r in scene.rules.values() if r.shown)]
    if rules:
        parts.append("\n".join(f"- {rule}" for rule in rules))
    return Block.of("world", "\n".join(parts))


def _cast(scene: Scene) -> Block:
    return Block.of(
        "cast", "The cast\n" + "\n".join(f"{c.name.upper()}, {c.role}" for c in scene.cast)
    )


def _facts(c: CharacterSpec, *, card: bool = True, secret: bool = True) -> str:
    parts = []
    if card:
        parts += [c.card.strip(), c.goal and f"Wants: {c.goal}"]
        if c.traits:
            parts.append(
                "Always " + ", ".join(f"{t.pole}, never {t.opposite}" for t in c.traits) + "."
            )
        parts.append(f"Manner of speaking: {c.habit.says}" if c.habit else "")
    if secret and c.secret:
        parts.append(f"Secret: {c.secret}")
    return "\n".join(p for p in parts if p)


def _script_card(c: CharacterSpec) -> list[Block]:
    facts = _facts(c)
    samples = "\n".join(f"{c.name.upper()}: {line}" for line in c.samples)
    text = "\n\n".join(p for p in (facts, samples and f"From another scene:\n{samples}") if p)
    return [Block.of("card", f"For the actor of {c.name.upper()} only\n{text}")] if text else []


def _chat_card(c: CharacterSpec) -> Block:
    parts = [f"You are {c.name.upper()}, {c.role}.", _facts(c)]
    if c.samples:
        parts.append("Lines in your voice:\n" + "\n".join(f"- {line}" for line in c.samples))
    return Block.of("card", "\n".join(p for p in parts if p))


def _improviser() -> Block:
    kind: BlockKind = "task"
    return Block.of(
        kind,
        "You are an improviser on a stage, playing one character of the scene below. When you are "
        "cued, answer with that character's next line and nothing else: one to three spoken "
        "sentences, no name before them, no quotation marks. A line that begins with (aside) is "
        "heard by the audience alone; one that begins with (aside to NAME), by NAME alone.",
    )
