"""Behind a line: the exact prompt in blocks, the raw reply, the sampling, the tokens, the scores.

The panel shows the exposure ledger for one call: what the role could see, and which blocks are new
since its previous call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import streamlit as st

from improv.errors import error_line
from improv.records import Block, Draw, Json, ReplyFault, Turn, known_faults
from ui.shared import address, run_data, score_words, transcript
from ui.shared.html import PIECE, clipped, cut, inert, pieces, safe

_LONG = 4_000
"""Characters of a reply or a block that the panel shows; the whole text is below, in pages."""

_KINDS = {
    "frame": "author’s frame",
    "world": "world",
    "cast": "cast list",
    "card": "own card",
    "transcript": "heard",
    "note": "note",
    "cue": "cue",
    "author": "author’s own",
    "task": "task",
}
_MODES = {"script": "script: one document", "chat": "chat: messages"}
_HEARD = ("transcript", "note", "cue")


def turn_panel(run: run_data.ViewedRun, play: run_data.Play, turn: int, *, margin: bool) -> None:
    """Draw the panel for a turn: the line's call, and the author's call if `margin`."""
    lines = (t for t in play.transcript.turns if t.kind not in transcript.MARGINAL)
    spoken = next((t for t in lines if t.turn == turn and t.speaker), None)
    calls = run_data.calls(run, play.row, turn)
    if not margin:
        calls = [pair for pair in calls if pair[0]["purpose"] != "author"]
    with st.container(horizontal=True, vertical_alignment="center", key="behind-head"):
        st.html(f'<h2 class="behind-title">Behind turn {turn}</h2>' if turn else _nothing_head())
        st.button("Close", key="close", shortcut="Esc", type="tertiary", on_click=_close)
    scores = [s for s in play.scores if (s["turn"] or 0) == turn]
    judged = run_data.verdicts(run, play, turn or None)
    if not turn or not calls:
        st.html(
            f'<div class="behind"><p class="quiet">{_why_nothing(turn, spoken)}</p>'
            + _scores(scores, judged, play, whole=not turn)
            + "</div>"
        )
        return
    call, before = calls[_chosen(calls)]
    blocks = run_data.call_blocks(run, call)
    seen = _common(call["blocks"], before["blocks"]) if before is not None else 0
    is_line = call["purpose"] == "line"
    st.html(
        '<div class="behind">'
        + _reply(call, spoken if is_line else None)
        + (_scores(scores, judged, play) if is_line else "")
        + _prompt(call, before, blocks, seen)
        + _draw(call)
        + "</div>"
    )
    _whole("The whole prompt as text", "\n\n".join(b.text for b in blocks), "prompt")
    if cut(call["reply"], _LONG)[1]:
        _whole("The whole reply", call["reply"], "reply")


def _close() -> None:
    address.go(behind=False)


def _nothing_head() -> str:
    return '<h2 class="behind-title">Behind the opening</h2>'


def _why_nothing(turn: int, spoken: Turn | None) -> str:
    if not turn:
        return (
            "The opening lines were written with the scene; no model was asked for them. "
            "Choose an improvised line to see here what its character could see."
        )
    if spoken is None:
        return "Nobody spoke in this turn, so no model was asked."
    return "No call is recorded for this turn."


def _chosen(calls: Sequence[tuple[Json, Json | None]]) -> int:
    """Offer the calls of a turn, the line's first; return the index of the chosen one."""
    line = next((i for i, (c, _) in enumerate(calls) if c["purpose"] == "line"), 0)
    if len(calls) == 1:
        return line
    order = [line, *(i for i in range(len(calls)) if i != line)]
    names = {i: _call_name(calls[i][0]) for i in order}
    picked = st.segmented_control(
        "Which call",
        order,
        default=line,
        format_func=names.__getitem__,
        key=f"call-{calls[0][0]['trial']}-{calls[0][0]['turn']}",
        label_visibility="collapsed",
        required=True,
    )
    return int(picked)


def _call_name(call: Json) -> str:
    name = "The author’s call" if call["purpose"] == "author" else "The line’s call"
    return name + (f" (attempt {call['attempt'] + 1})" if call["attempt"] else "")


def _common(these: Sequence[str], those: Sequence[str]) -> int:
    """Return the number of blocks in the common prefix of two prompts."""
    pairs = zip(these, those, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(these), len(those)))


_FAULTS = {
    ReplyFault.REASONING: "Only reasoning came, and no word after it.",
    ReplyFault.LENGTH: "The tokens were used up before any word came.",
    ReplyFault.REFUSAL: "The model refused.",
    ReplyFault.TOOL_CALL: "A call of a tool came in place of words.",
    ReplyFault.FILTERED: "The endpoint’s filter held the reply back.",
    ReplyFault.EMPTY: "The reply was empty, and the endpoint gives no reason.",
    ReplyFault.UNREAD: "It holds no JSON that can be read, so the author did nothing.",
    ReplyFault.MARKS: "It has marks that improv does not know; it may hold reasoning.",
    ReplyFault.PROMPT_CUT: "Its prompt may have been cut: the endpoint counts no more tokens "
    "for it than for a shorter one.",
    ReplyFault.OTHER_MODEL: "The endpoint says that another model answered.",
}


def _reply(call: Json, spoken: Turn | None) -> str:
    raw = call["reply"]
    parts = ["<section><h3>The reply</h3>"]
    if call["error"]:
        why = error_line(call["error_kind"], call["error"])
        parts.append(f'<p class="wrong">The call failed. {clipped(why, 1000)}</p>')
    elif spoken is None:
        parts.append(f'<pre class="raw">{clipped(raw, _LONG) or "(empty)"}</pre>')
    elif inert(raw).strip() == spoken.text:
        parts.append(
            '<p class="cap">spoken as the model wrote it</p>'
            f'<p class="as-said">{clipped(raw, _LONG)}</p>'
        )
    else:
        said = clipped(spoken.text, _LONG) or "<em>says nothing</em>"
        cuts = "".join(f'<span class="chip">{safe(c)}</span> ' for c in spoken.cuts)
        parts.append(
            f'<p class="cap">as the model wrote it</p>'
            f'<pre class="raw">{clipped(raw, _LONG) or "(empty)"}</pre>'
            f'<p class="cap">as it was spoken</p><p class="as-said">{said}</p>'
        )
        if cuts:
            parts.append(f'<p class="cuts"><span class="cap">cleaned by</span> {cuts}</p>')
    if call["reasoning"]:
        parts.append(
            '<details class="old"><summary>what it thought before, which nobody is shown'
            f'</summary><pre class="raw">{clipped(call["reasoning"], _LONG)}</pre></details>'
        )
    chips = "".join(f'<span class="chip">{safe(c)}</span> ' for c in call["cuts"] or ())
    if chips:
        parts.append(f'<p class="cuts"><span class="cap">read through</span> {chips}</p>')
    faults = known_faults(call["faults"] or ())
    parts += [f'<p class="wrong">{_FAULTS[fault]}</p>' for fault in faults]
    if spoken is not None and spoken.addressed:
        how = {"said": "an aside", "name": "named in the line", "order": "by turn order"}
        by = how.get(spoken.by, "")
        parts.append(
            f'<p class="cap">to {safe(spoken.addressed)}{f" ({by})" if by else ""}, '
            f"heard by {safe(', '.join(spoken.heard_by)) or 'nobody'}</p>"
        )
    parts.append("</section>")
    return "".join(parts)


def _scores(
    scores: Sequence[Json], judged: Sequence[Json], play: run_data.Play, *, whole: bool = False
) -> str:
    """Return the scores of a turn with their evidence, and the judges' verdicts."""
    if not scores and not judged:
        return ""
    habits = transcript.habits(play.scene)
    order = score_words.ordered(str(s["measure"]) for s in scores)
    rows = []
    for s in sorted(scores, key=lambda s: (order.index(s["measure"]), s["character"])):
        mark, value = score_words.verdict(s)
        definition = score_words.definition(s, play.scene, habits)
        who = ", ".join(safe(w) for w in (s["character"], definition) if w)
        rows.append(
            f'<div class="score"><p><strong>{mark} {safe(score_words.measure_name(s["measure"]))}: '
            f"{safe(value)}</strong></p>"
            f'<p class="cap">{who} ({safe(s["version"])})</p>{_evidence(s)}</div>'
        )
    head = "Scores of the whole scene" if whole else "Scores"
    return f"<section><h3>{head}</h3>{''.join(rows)}{''.join(map(_judged, judged))}</section>"


def _evidence(score: Json) -> str:
    parts = score_words.evidence(score)
    quoted = [text for what, text in parts if what in ("", "line", "answer")]
    facts = [(what, text) for what, text in parts if what not in ("", "line", "answer")]
    chips = "".join(
        f'<span class="chip"><b>{safe(what)}</b> {clipped(text, 300)}</span> '
        for what, text in facts
    )
    lines = "".join(f"<p>{clipped(text, 600) or '(nothing was said)'}</p>" for text in quoted)
    return (f"<blockquote>{lines}</blockquote>" if lines else "") + (
        f'<p class="cuts">{chips}</p>' if chips else ""
    )


def _judged(verdict: Json) -> str:
    """Return a judge's verdict, with its reply and its prompt folded."""
    said = verdict["answer"] or ("no answer" if verdict["error"] else "unreadable")
    options = ", ".join(verdict["options"] or ())
    wrong = f'<p class="wrong">{clipped(verdict["error"], 600)}</p>' if verdict["error"] else ""
    return (
        f'<details class="old"><summary>{safe(verdict["judge"])} on '
        f"{safe(score_words.measure_name(verdict['measure']))}: {safe(said)}</summary>{wrong}"
        '<p class="cap">its reply</p>'
        f'<pre class="raw">{clipped(verdict["reply"], _LONG)}</pre>'
        f'<p class="cap">the options, in the order shown: {safe(options) or "none"}</p>'
        f'<p class="cap">its prompt</p><pre>{clipped(verdict["prompt"], _LONG)}</pre>'
        "</details>"
    )


def _draw(call: Json) -> str:
    draw = Draw(*(call[n] for n in ("trial", "branch", "turn", "role", "purpose", "attempt")))
    params = _params(call["params"])
    seed = params.pop("seed", None)
    params.pop("model", None)
    facts: list[tuple[str, str]] = [
        ("Model", call["model"]),
        ("Mode", _MODES.get(str(call["mode"]), str(call["mode"]))),
        ("Tokens", _tokens(call)),
        ("Latency", f"{call['latency']:.2f} s" + _retries(call["retries"])),
        ("Finish reason", call["finish_reason"] or "unknown"),
        ("Seed", str(seed) if seed is not None else f"{draw.seed} (not sent)"),
        ("Endpoint", call["endpoint"]),
    ]
    shown = "".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in facts)
    chips = "".join(
        f'<span class="chip"><b>{safe(k)}</b> {clipped(_value(v), 80)}</span> '
        for k, v in params.items()
    )
    return (
        f'<section><h3>The call</h3><dl class="facts">{shown}</dl>'
        f'<p class="cuts">{chips}</p></section>'
    )


def _params(text: str) -> Json:
    try:
        params = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"unreadable": text}
    return params if isinstance(params, dict) else {"unreadable": text}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _tokens(call: Json) -> str:
    prompt, cached, reply = (
        call[n] for n in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    if prompt is None and reply is None:
        return "not reported by the endpoint"
    read = f"{prompt:,} read" if prompt is not None else "unknown number read"
    if cached is not None:
        read += f" ({cached:,} of them cached)"
    written = f"{read}, {reply if reply is not None else 'unknown number'} written"
    thought = call["reasoning_tokens"]
    return written + (f" ({thought:,} of them reasoning)" if thought else "")


def _retries(count: int) -> str:
    return "" if not count else f", {count} {'retry' if count == 1 else 'retries'}"


def _prompt(call: Json, before: Json | None, blocks: Sequence[Block], seen: int) -> str:
    who = "the author" if call["role"] == "author" else call["role"]
    fresh = len(blocks) - seen
    if before is None:
        since = f"{len(blocks)} blocks, all new: this is the first call of {who}"
    else:
        since = f"{len(blocks)} blocks, {fresh} of them new since turn {before['turn']}"
    head = next((i for i, b in enumerate(blocks) if b.kind in _HEARD), len(blocks))
    shown = [
        _block(call, block, i < head, i >= seen and before is not None)
        for i, block in enumerate(blocks)
    ]
    heard = max(head, seen)
    return (
        f'<section><h3>What {safe(who)} could see</h3><p class="cap">{safe(since)}</p>'
        + _folded(shown[:head], "before the scene begins")
        + _folded(shown[head:heard], "heard or read before")
        + f"{''.join(shown[heard:])}</section>"
    )


def _folded(shown: Sequence[str], what: str) -> str:
    if not shown:
        return ""
    count = f"{len(shown)} block{'' if len(shown) == 1 else 's'}"
    return f'<details class="old"><summary>{count} {what}</summary>{"".join(shown)}</details>'


def _block(call: Json, block: Block, in_head: bool, new: bool) -> str:
    own = block.text.startswith(f"{call['role'].upper()}:") and block.kind == "transcript"
    own = own or (block.kind == "author" and not in_head)
    kind = "own line" if own and block.kind == "transcript" else _KINDS.get(block.kind, block.kind)
    role = ""
    if call["mode"] == "chat":
        role = "system" if in_head else "assistant, sent as its raw reply" if own else "user"
        role = f'<span class="role">{role}</span>'
    mark = '<span class="new">new</span>' if new else ""
    return (
        f'<div class="block"><p class="kind"><b>{safe(kind)}</b>{role}{mark}</p>'
        f"<pre>{clipped(block.text, _LONG)}</pre></div>"
    )


def _whole(title: str, text: str, key: str) -> None:
    """Draw a whole text, in pages, to read or to copy."""
    with st.expander(title):
        parts = pieces(text)
        at = 1
        if len(parts) > 1:
            st.caption(f"{len(text):,} characters, {PIECE:,} at a time")
            at = st.pagination(len(parts), key=f"pages-{key}")
        st.code(inert(parts[at - 1]) or " ", language=None, wrap_lines=True)
