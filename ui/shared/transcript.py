"""A trial as the text of a play: title page, transcript, the author's margin. Pure: HTML out.

The whole transcript is one piece of HTML that does not change while it is read. A few lines of
style mark the current turn, hide later turns and hide the margin. So a step in a scene of a
thousand turns sends a hundred bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from improv.records import Act, Json, Turn
from improv.study.measure_spec import measure_family
from improv.study.scene import Scene
from ui.shared import score_words
from ui.shared.html import clipped, safe, short_line

VOICE_COLOURS = 6
"""Number of colours for voices in theme.css. Characters of a larger cast share them."""

MARGINAL = ("memory", "envelope")
"""Kinds of turns that are not spoken on stage; the margin shows them."""


def voices(turns: Sequence[Turn], scene: Scene | None) -> dict[str, int]:
    """Return character → number of its colour, in the order of the cast list, then of first
    lines."""
    cast = [c.name for c in scene.cast] if scene is not None else []
    names = dict.fromkeys(
        [*cast, *(t.speaker for t in turns if t.speaker and t.kind not in MARGINAL)]
    )
    return {name: i % VOICE_COLOURS for i, name in enumerate(names)}


def habits(scene: Scene | None) -> dict[str, str]:
    """Return character → its habit, as its card states it."""
    cast = scene.cast if scene is not None else []
    return {c.name: c.habit.says for c in cast if c.habit is not None}


def rules(scene: Scene | None) -> dict[str, str]:
    """Return measure → rule, for the rules of a scene that a marker checks."""
    known = scene.rules.items() if scene is not None else ()
    return {f"rule:{name}": rule.says for name, rule in known}


def title_page(row: Json, scene: Scene | None, colours: Mapping[str, int]) -> str:
    """Return the title page: title, form, place and time, and a foldable programme.

    The author's papers are folded at its foot; they belong to the margin.
    """
    title = scene.title if scene is not None else row["title"] or row["scene"]
    parts = [f'<header class="title-page"><h1>{safe(title)}</h1>']
    if scene is None:
        parts.append("</header>")
        return "".join(parts)
    by = f", by {safe(scene.author.name)}" if scene.author.name and scene.author.frame else ""
    parts.append(f'<p class="form">{safe(scene.form)}{by}</p>')
    setting = " ".join(s for s in (scene.place, scene.time) if s)
    if setting:
        parts.append(f'<p class="setting">{safe(setting)}</p>')
    cast = "".join(
        f'<div><dt class="name v{colours.get(c.name, 0)}">{safe(c.name)}</dt>'
        f"<dd>{safe(c.role)}</dd></div>"
        for c in scene.cast
    )
    rules = "".join(f"<li>{safe(rule)}</li>" for rule in scene.world)
    if rules:
        rules = (
            f'<details class="rules"><summary>What is true here</summary><ul>{rules}</ul></details>'
        )
    parts.append(
        '<details class="programme" open><summary>Programme</summary><div class="leaves">'
        f"<div><h2>How things stand</h2><p>{safe(scene.premise)}</p></div>"
        f"<div><h2>The cast</h2><dl>{cast}</dl></div></div>"
        f'<div class="folds">{rules}{_papers(scene)}</div></details></header>'
    )
    return "".join(parts)


def transcript(
    turns: Sequence[Turn],
    row: Json,
    colours: Mapping[str, int],
    scores: Sequence[Json],
    link: str,
    definitions: Mapping[str, str],
) -> str:
    """Return the whole transcript. `link` is the address of the trial, to which a turn is added.
    `definitions` has the habit of each character and the rule of each measure, in words."""
    marks: dict[int, list[Json]] = {}
    for score in scores:
        if score["turn"] is not None:
            marks.setdefault(score["turn"], []).append(score)
    noted = any(t.acts or t.kind in MARGINAL for t in turns) or any(
        _mark(s, definitions) for s in scores
    )
    parts = [f'<div class="play{" noted" if noted else ""}"><ol class="turns">']
    improvised = False
    for number, rows in groupby(turns, key=lambda t: t.turn):
        if number and not improvised:
            improvised = True
            if turns[0].turn == 0:
                parts.append(
                    '<li class="seam" id="seam"><span>from here on, improvised</span></li>'
                )
        # A marker and a judge may report the same break; the margin shows it once.
        drawn = "".join(dict.fromkeys(_mark(s, definitions) for s in marks.get(number, [])))
        parts.append(_turn(number, list(rows), colours, drawn, link))
    parts.append(_ending(row, turns, link))
    parts.append("</ol></div>")
    return "".join(parts)


def view_style(
    turn: int, *, heard: bool, margin: bool, last: int = 0, marks: Sequence[int] = ()
) -> str:
    """Return the style that marks `turn` (of `last`) and the bookmarks, hides later turns if
    `heard`, and hides the margin unless `margin`."""
    rules = []
    if turn:
        rules.append(
            f".play #turn-{turn}{{--mark:var(--accent);background:var(--glow)}}"
            f".play #turn-{turn} .no{{color:var(--accent);font-weight:700}}"
        )
        if heard:
            rules.append(f".play #turn-{turn}~li{{display:none}}")
    elif heard:
        rules.append(".play li:not(#turn-0){display:none}")
    if not margin:
        rules.append(".play .margin,.desk{display:none}")
        rules.append(".play{--margin-column:0px;--margin-gap:0px}")
    if marks:
        flagged = ",".join(f".play #turn-{n} .no::after" for n in marks)
        rules.append(f"{flagged}{{content:var(--bookmark)}}")
    if turn and last:
        rules.append(f".tally{{--at:{(turn - 0.5) / last:.5f};--cursor:1}}")
    return f"<style>{''.join(rules) or '.play{}'}</style>"


def _papers(scene: Scene) -> str:
    author = scene.author
    shown = [("Frame, which every character is shown", author.frame)]
    if author.live:
        shown += [("Brief", author.brief), ("Bible", author.bible)]
    shown = [(name, text) for name, text in shown if text]
    if not shown:
        return ""
    inner = "".join(f"<h3>{safe(name)}</h3><p>{safe(text)}</p>" for name, text in shown)
    who = safe(author.called[:1].upper() + author.called[1:])
    return f'<details class="desk"><summary>{who}’s papers</summary>{inner}</details>'


def _turn(
    number: int, rows: Sequence[Turn], colours: Mapping[str, int], marks: str, link: str
) -> str:
    private = [t for t in rows if t.kind in MARGINAL]
    rows = [t for t in rows if t.kind not in MARGINAL]
    speaker = next((t.speaker for t in rows if t.speaker), "")
    margin = "".join(map(_written_down, private))
    margin += "".join(_act(act) for t in [*private, *rows] for act in t.acts)
    margin += marks
    parts = [f'<li class="turn{"" if number else " written"}" id="turn-{number}">']
    if number:
        name = f"Turn {number}" + (f", {speaker}" if speaker else "")
        parts.append(_number(number, f"{name}: look behind it", link))
    if margin:
        parts.append(f'<div class="margin">{margin}</div>')
    parts.append(f'<div class="lines">{"".join(_row(t, colours) for t in rows)}</div></li>')
    return "".join(parts)


def _number(number: int, name: str, link: str) -> str:
    return (
        f'<a class="no" href="{safe(link)}&amp;turn={number}&amp;behind=1" target="_self" '
        f'data-turn="{number}" aria-label="{safe(name)}">{number}</a>'
    )


def _row(turn: Turn, colours: Mapping[str, int]) -> str:
    if turn.kind == "direction":
        return f'<p class="direction">{clipped(turn.text)}</p>'
    name = f'<span class="name v{colours.get(turn.speaker, 0)}">{safe(turn.speaker)}</span>'
    if turn.kind == "silence":
        said = '<span class="silence">says nothing</span>'
    else:
        said = clipped(turn.text)
    aside = '<span class="aside">off the record</span> ' if turn.kind == "probe" else ""
    if turn.aside:
        heard = " and ".join(turn.heard_by)
        to = f"to {heard}, who alone hears it" if heard else "heard by nobody on stage"
        aside = f'<span class="aside">aside, {safe(to)}</span> '
    kind = " whispered" if turn.aside else ""
    return (
        f'<div class="line{kind}"><p class="who">{name}</p><p class="said">{aside}{said}</p></div>'
    )


def _act(act: Act) -> str:
    text = clipped(act.text, 600)
    match act.kind:
        case "note":
            return _scribble("note", f"Note to {act.to}", text)
        case "cue":
            return _scribble("cue", f"Cues {act.to}", "")
        case "move":
            return _scribble("move", f"Move: {act.to or 'none, at its moment'}", "")
        case "end":
            return _scribble("end", "Ends the scene", "")
        case "unread":
            text = clipped(short_line(act.text, 160))
            return _scribble("unread", "Reply could not be read, and did nothing", text)
        case "nothing":
            return _scribble("nothing", "Lets it run", "")


def _written_down(turn: Turn) -> str:
    """Return a diary entry, or the author's sealed envelope, for the margin."""
    who = "The author" if turn.speaker == "author" else turn.speaker
    does = "seals" if turn.kind == "envelope" else "writes down"
    return _scribble(turn.kind, f"{who} {does}", clipped(turn.text, 600))


def _scribble(kind: str, head: str, text: str) -> str:
    body = f"<p>{text}</p>" if text else ""
    return f'<div class="act {kind}"><p class="act-head">{safe(head)}</p>{body}</div>'


def _mark(score: Json, definitions: Mapping[str, str]) -> str:
    """Return the margin's mark for a break, "" for any other score: the panel has those."""
    if not score_words.broken(score):
        return ""
    kind = measure_family(score["measure"])
    words = definitions.get(score["character"] if kind == "habit" else score["measure"])
    pair = score_words.poles(score["measure"])
    if pair:
        words = f"{pair[1]}, not {pair[0]}"
    elif kind in ("habit", "rule"):
        words = words or score_words.measure_name(score["measure"])
    return _scribble("break", score_words.break_words(score), safe(words or ""))


def _ending(row: Json, turns: Sequence[Turn], link: str) -> str:
    if row["status"] != "failed":
        return '<li class="end" id="end"><span>end of the scene</span></li>'
    at = row["failure_turn"]
    number = ""
    if at and at > max((t.turn for t in turns), default=0):
        number = _number(at, f"Turn {at}, which failed: look behind it", link)
        return (
            f'<li class="turn broken" id="turn-{at}">{number}<div class="lines">'
            '<p class="direction">The scene breaks off here.</p></div></li>'
        )
    return '<li class="end broken" id="end"><span>the scene breaks off here</span></li>'
