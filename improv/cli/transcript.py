"""Prints one scene as a play: its lines, the acts of its author, and the prompt of each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from improv.cli import terminal
from improv.records import Act, Block, Call, Json, Turn
from improv.text import one_line

if TYPE_CHECKING:
    from improv.runner.launch import Result
    from improv.storage.run_folder import RunFolder

# Okabe and Ito's colours: colour-blind people can distinguish each pair.
_VOICES = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")


def show_scene(folder: RunFolder, row: Json, *, notes: bool, prompts: bool) -> None:
    """Print a trial as a play; `notes` adds the author's acts, `prompts` each call's prompt."""
    transcript = folder.transcripts.read(row["trial"], row["branch"])
    spoken = (t for t in transcript.turns if t.speaker and t.kind not in ("memory", "envelope"))
    speakers = list(dict.fromkeys(t.speaker for t in spoken))
    colours = {s: _VOICES[i % len(_VOICES)] for i, s in enumerate(speakers)}
    calls: dict[int, list[Call]] = {}
    blocks: dict[str, Block] = {}
    if prompts:
        all_calls = folder.transcripts.calls(row["trial"], row["branch"])
        blocks = folder.tables.blocks(block for call in all_calls for block in call.blocks)
        for call in all_calls:
            calls.setdefault(call.draw.turn, []).append(call)
    terminal.out.print()
    terminal.out.print(
        Text(one_line(row["title"]), style="bold"),
        Text(f"  {one_line(row['condition'])}", style="dim"),
    )
    terminal.out.print()
    for turn in transcript.turns:
        for call in calls.pop(turn.turn, []):
            _prompt(call, blocks)
        if notes:
            for act in turn.acts:
                _act(act)
        _turn(turn, colours)
    if row["status"] == "failed":
        terminal.out.print(
            Text(f"\nfailed at turn {row['failure_turn']}: {one_line(row['failure'])}", style="red")
        )


def _turn(turn: Turn, colours: dict[str, str]) -> None:
    if turn.kind == "direction":
        terminal.out.print(
            Padding(Text(f"({one_line(turn.text)})", style="italic dim"), (0, 0, 0, 4))
        )
        return
    if turn.kind in ("memory", "envelope"):
        what = "writes down" if turn.kind == "memory" else "seals"
        entry = Text(
            f"✎ {one_line(turn.speaker)} {what}: {one_line(turn.text)}", style="magenta dim"
        )
        terminal.out.print(Padding(entry, (0, 0, 0, 8)))
        return
    text = Text()
    text.append(f"{one_line(turn.speaker).upper()}", style=f"bold {colours.get(turn.speaker, '')}")
    if turn.aside:
        to = ", ".join(turn.heard_by) or "the audience"
        text.append(f"  (aside to {one_line(to)})", style="italic dim")
    if turn.kind == "silence":
        text.append("  (says nothing)", style="italic dim")
    else:
        text.append(f"  {one_line(turn.text)}", style="dim" if turn.kind == "written" else "")
    terminal.out.print(text)


def _act(act: Act) -> None:
    what = {
        "note": f"to {act.to}: {act.text}",
        "cue": f"cues {act.to}",
        "move": f"makes a move: {act.to}" if act.to else "lets the moment of its move pass",
        "end": "ends the scene",
        "unread": f"wrote something that cannot be read: {act.text[:80]}",
    }.get(act.kind)
    if what is not None:
        terminal.out.print(
            Padding(Text(f"✎ author {one_line(what)}", style="magenta"), (0, 0, 0, 8))
        )


def _prompt(call: Call, blocks: dict[str, Block]) -> None:
    terminal.out.print(
        Text(
            f"── shown to {one_line(call.draw.role)} ({call.mode}, {one_line(call.model)})",
            style="dim",
        )
    )
    for id in call.blocks:
        block = blocks.get(id)
        if block is not None:
            shown = Text(f"[{block.kind}] ", style="dim cyan")
            shown.append("\n".join(map(one_line, block.text.splitlines())), style="dim")
            terminal.out.print(Padding(shown, (0, 0, 0, 4)))


def show_demonstration(result: Result) -> None:
    """Print one scene of the demonstration, then the next commands."""
    rows = result.folder.tables.read("trials").to_pylist()
    shown = next((r for r in rows if r["status"] == "done" and "live" in r["condition"]), None)
    if shown is not None:
        show_scene(result.folder, shown, notes=True, prompts=False)
        terminal.out.print()
        terminal.say(
            "(Played by SmolLM2, 135M parameters: it shows that improv works, and nothing more.)"
        )
    terminal.out.print()
    terminal.result(result)
