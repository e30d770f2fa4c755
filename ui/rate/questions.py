"""The Rate room's page: one question at a time, in a judge's words, blind to every condition.

Neither the page nor its address shows the condition, block or trial of a line, or which lines were
planted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import streamlit as st

from improv.errors import ImprovError, RunError
from improv.scoring import human_ratings
from improv.scoring.measures.judge_item import Item
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.measure_spec import measure as spec
from ui.shared import address, navigation, notices, permission, run_data
from ui.shared.html import clipped, label, safe, short_line

_LONGEST = 2_400
READ = 0.3
"""Seconds before an answer counts. Nobody reads a line faster, so a held key answers one only."""

Kept = Callable[[RunFolder], None]


def draw_questions(run: run_data.ViewedRun) -> None:
    """Draw the room for a run that has ended. Raises ImprovError."""
    study = run_data.study(run)
    there = human_ratings.rated_measures(study)
    if not there:
        notices.unreadable(RunError("this run has no scene that a person can rate"))
        return
    measure = address.get("measure") if address.get("measure") in there else there[0]
    address.put(measure=measure)
    judge = _judge(run, measure)
    if not judge:
        return
    items = _sheet(run_data.root(), run.id, run.stamp, measure, judge)
    folder = open_run(run_data.root(), run.id)
    known = human_ratings.ratings_of(folder, judge)
    done = [i for i in items if i.id in known]
    _head(run, there, measure, judge, len(done), len(items))
    if wrong := st.session_state.pop("rate:wrong", ""):
        st.html(f'<div class="notice wrong" role="alert"><p>{safe(wrong)}</p></div>')
    left = [i for i in items if i.id not in known]
    if not items:
        st.html('<p class="together">This run has no line for this question.</p>')
    elif not left:
        _over(run, len(items))
    else:
        _ask(run, left[0], judge)
    if done:
        last = max(done, key=lambda i: float(known[i.id]["started"] or 0))
        st.button(
            "Undo the last",
            key="undo",
            shortcut="U",
            type="tertiary",
            disabled=not permission.allowed(),
            on_click=_undo,
            args=(run.id, last.id, judge),
        )


# --- who rates


def _judge(run: run_data.ViewedRun, measure: str) -> str:
    """Return the reader's name as a judge, "" while the form asks for it."""
    if name := st.session_state.get("rate:name"):
        return human_ratings.judge_name(str(name))
    st.html(
        '<header class="room-head"><h1>Would you judge?</h1></header>'
        '<p class="asked-of">You see lines of this run one at a time, and answer the question that '
        "a model judge answers, in the same words. The page does not show the condition of a line. "
        "Some lines were planted with a known answer; they measure how accurate each judge is. "
        "Judge by the words alone, and choose “Cannot tell” where you cannot.</p>"
    )
    with st.form("who", border=False, width=420):
        name = st.text_input(
            "Your name",
            max_chars=human_ratings.MAX_NAME,
            key="rate:typed",
            autocomplete="name",
            help="The report shows it as human:NAME. Enter the same name again to go on where you "
            "stopped.",
        )
        if st.form_submit_button("Begin", type="primary", key="begin"):
            try:
                human_ratings.judge_name(name)
            except ImprovError as e:
                st.html(f'<p class="wrong" role="alert">{safe(str(e))}</p>')
                return ""
            st.session_state["rate:name"] = name
            st.rerun()
    return ""


def _head(
    run: run_data.ViewedRun, there: Sequence[str], measure: str, judge: str, done: int, many: int
) -> None:
    name = judge.removeprefix("human:")
    with st.container(horizontal=True, vertical_alignment="center", key="rate-bar"):
        st.html(f'<h1 class="rate-title">{safe(spec(measure).words.heading)}</h1>')
        if len(there) > 1:
            st.session_state["rate:measure"] = measure
            st.segmented_control(
                "What is judged",
                list(there),
                key="rate:measure",
                required=True,
                format_func=lambda m: spec(m).words.heading,
                on_change=_measured,
                label_visibility="collapsed",
            )
        st.html(f'<p class="quiet">{safe(name)}</p>')
        st.button("Another person", key="leave", type="tertiary", on_click=_leave)
    st.html(f'<p class="cap">{spec(measure).words.question}</p>')
    st.progress(done / many if many else 1.0, text=f"{done:,} of {many:,} rated")


# --- one question


def _ask(run: run_data.ViewedRun, item: Item, judge: str) -> None:
    if st.session_state.get("rate:item") != item.id:
        st.session_state["rate:item"] = item.id
        st.session_state["rate:since"] = time.monotonic()
    text, options = human_ratings.question_parts(item)
    with st.container(key="ask"):
        st.html(question_html(text))
        with st.container(key="answers", horizontal=True):
            for k, (option, gloss) in enumerate(options, start=1):
                with st.container(key=f"option-{k}"):
                    st.button(
                        label(option),
                        key=f"answer-{k}",
                        shortcut=str(k) if k < 10 else None,
                        width="stretch",
                        disabled=not permission.allowed(),
                        on_click=_answered,
                        args=(run.id, item, judge, option),
                    )
                    if gloss:
                        st.html(f'<p class="gloss">{safe(gloss)}</p>')
        st.button(
            "Cannot tell",
            key="answer-0",
            shortcut="0",
            type="tertiary",
            width="stretch",
            disabled=not permission.allowed(),
            on_click=_answered,
            args=(run.id, item, judge, ""),
        )
        permission.explain()


def question_html(text: str) -> str:
    """Return a judge's question as HTML, with the lines to judge as quotations."""
    parts = re.split(r"<line>\n(.*?)\n</line>", text, flags=re.S)
    drawn = []
    for i, part in enumerate(parts):
        if i % 2:
            drawn.append(f"<blockquote>{_said(part)}</blockquote>")
            continue
        drawn += [_paragraph(p) for p in re.split(r"\n\s*\n", part.strip()) if p.strip()]
    if drawn and drawn[-1].startswith("<p"):
        drawn[-1] = f"<h2>{safe(short_line(parts[-1].strip().rpartition(chr(10))[2], 400))}</h2>"
    return f'<div class="ask" aria-live="polite">{"".join(drawn)}</div>'


def _paragraph(text: str) -> str:
    lines = text.strip().split("\n")
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):
        rows = "".join(f"<li>{_said(line)}</li>" for line in lines[1:])
        return f'<p class="cap">{safe(lines[0])}</p><ul>{rows}</ul>'
    if len(lines) == 1 and text.strip().endswith(":"):
        return f'<p class="cap">{safe(text.strip())}</p>'
    return "".join(f"<p>{clipped(line, _LONGEST)}</p>" for line in lines)


_NAMED = re.compile(r"([^\W\d_a-z][^\n:a-z]{0,40}): (.*)", re.S)


def _said(line: str) -> str:
    """Return a line as HTML, with the speaker's name marked up where the line begins with one."""
    match = _NAMED.fullmatch(line)
    if match is None:
        return clipped(line, _LONGEST)
    who = f'<span class="name">{safe(match[1].capitalize())}</span>'
    return f"{who} {clipped(match[2], _LONGEST)}"


def _over(run: run_data.ViewedRun, many: int) -> None:
    link = navigation.link("compare", "The Compare room", run=run.id)
    st.html(
        f'<div class="empty"><h1>That was all</h1><p>You have rated {many:,} lines. Thank you. '
        f"{link} and the report show your ratings beside those of the model judges, under "
        "“Judges”.</p></div>"
    )


# --- what is kept


@st.cache_resource(max_entries=8, show_spinner="Choosing the lines to rate")
def _sheet(root: str, run: str, stamp: str, measure: str, judge: str) -> list[Item]:
    folder = open_run(root, run)
    study = folder.study()
    table = folder.tables.read("trials", columns=["trial", "condition"])
    trials = zip(table["trial"].to_pylist(), table["condition"].to_pylist(), strict=True)
    return human_ratings.rater_order(
        human_ratings.rating_items(folder, study, measure), dict(trials), judge
    )


def _answered(run: str, item: Item, judge: str, answer: str) -> None:
    if st.session_state.get("rate:item") != item.id:
        return  # a second press of a key, after the question was answered
    seconds = time.monotonic() - float(st.session_state.get("rate:since", 0.0))
    if seconds < READ:
        return
    _write(run, lambda folder: human_ratings.add_rating(folder, item, judge, answer, seconds))


def _undo(run: str, item: str, judge: str) -> None:
    _write(run, lambda folder: human_ratings.retract_rating(folder, item, judge))


def _write(run: str, keep: Kept) -> None:
    try:
        permission.permit()
        keep(open_run(run_data.root(), run))
        st.session_state.pop("rate:item", None)
    except (OSError, ImprovError) as e:
        why = e.strerror or str(e) if isinstance(e, OSError) else str(e)
        st.session_state["rate:wrong"] = f"Your answer was not saved: {why}"


def _measured() -> None:
    address.go(measure=st.session_state["rate:measure"])


def _leave() -> None:
    st.session_state.pop("rate:name", None)
