"""Runs for the viewer's tests, written by hand or played by a puppet, and helpers that read a
page."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from improv.errors import ErrorKind
from improv.files import shipped
from improv.records import MAIN, Act, Block, Call, Draw, Failure, Score, Turn
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import runs_filesystem
from improv.storage.schemas import trial_row
from improv.storage.shards import Shards
from improv.study.design import Study
from improv.study.loader import load
from improv.study.trial import Trial, plan
from tests.support.call import made_call
from tests.support.places import TOP
from ui.shared import permission

HOSTILE = (
    "<script>document.title='owned'</script>"
    "<img src=http://198.51.100.7/x.png onerror=\"document.title='owned'\">"
    "# not a heading ![p](http://198.51.100.7/p.png) :material/home: $x^2$ "
    "</p></li></ol></div><style>*{display:none}</style>\u202egnirts\u2066 \x1b[31mred\x07"
)
"""A line with markup, Markdown, control characters and links that a page must show as text."""

LONG = "word " * 220_000
"""A line of more than a megabyte."""


def puppet_run(runs: Path, name: str = "puppet") -> RunFolder:
    """Play two conditions of one scene with the puppet, through the ordinary launch of a run."""
    patch = {"model": {"model": "puppet", "puppet": {"alpha": 0.4, "mute": 0.15}}, "turns": 10}
    study = load(TOP / "scenes" / "studies" / "demo.yaml", patch)
    return run(study, runs=runs, name=name, setup=Setup(ray="off", limit=4)).folder


def bare_run(runs: Path, name: str, *, status: str = "done", trials: int = 1) -> RunFolder:
    """Make the folder of a run without trials."""
    fs, base = runs_filesystem(runs)
    folder = RunFolder(fs, f"{base}/{name}", base)
    study = the_study()
    meta = {"study": study.name, "models": ["puppet"], "trials": trials, "status": status}
    folder.create(study, meta | {"created": f"2026-01-01T00:00:00Z {name}"})
    return folder


def the_study() -> Study:
    return load("cold-pass", {"model": "puppet", "author": {"live": True, "may": ["note", "cue"]}})


def keep(
    folder: RunFolder,
    turns: list[Turn],
    *,
    calls: list[Call] = [],  # noqa: B006
    blocks: list[Block] = [],  # noqa: B006
    scores: list[Score] = [],  # noqa: B006
    failure: Failure | None = None,
    host: str = "host",
) -> Trial:
    """Write one finished trial into the shards of a bare run."""
    trial = plan(the_study())[0]
    shards = Shards(folder, host)
    shards.add(trial_row(trial, MAIN, turns, calls, failure, 1.0), turns, calls, blocks, scores)
    shards.flush()
    return trial


def vandal_run(runs: Path, name: str = "vandal") -> RunFolder:
    """Write a trial with every unusual record: hostile and very long lines, asides, silences, an
    unreadable author's reply, cuts, a broken habit and a missing score; then the trial fails."""
    folder = bare_run(runs, name)
    trial = plan(the_study())[0].id

    def turn(number: int, kind: str, who: str, text: str, **more: object) -> Turn:
        return Turn(trial, MAIN, number, 0, kind, who, text, **more)  # type: ignore[arg-type]

    turns = [
        turn(0, "direction", "", "Wind. The door bursts open."),
        Turn(trial, MAIN, 0, 1, "written", "Eliseo", "Is this the railway?"),
        turn(
            1,
            "line",
            "Rufina",
            HOSTILE,
            raw="RUFINA: " + HOSTILE,
            cuts=("cue", "quotes"),
            addressed="Eliseo",
            by="name",
            heard_by=("Eliseo",),
            acts=(Act("note", "Rufina", HOSTILE), Act("cue", "Eliseo")),
        ),
        turn(2, "silence", "Eliseo", "", acts=(Act("unread", text="{oops" + HOSTILE),)),
        turn(
            3,
            "line",
            "Rufina",
            "Nobody may hear this.",
            aside=True,
            raw="(aside) Nobody...",
            acts=(Act("nothing"),),
        ),
        turn(4, "line", "Eliseo", "Only you.", aside=True, heard_by=("Rufina",)),
        turn(5, "line", "Rufina", LONG, raw=LONG, acts=(Act("move", "redemption", "Light."),)),
    ]
    blocks, calls = _vandal_calls(trial)
    scores = [
        Score(trial, MAIN, 1, "Rufina", "habit:never_asks", "marker-1", 0.0, HOSTILE),
        Score(trial, MAIN, 3, "Rufina", "habit:never_asks", "marker-1", None, ""),
    ]
    failure = Failure(ErrorKind.TIMEOUT, 6, "Eliseo: no answer in 120 s " + HOSTILE)
    keep(folder, turns, calls=calls, blocks=blocks, scores=scores, failure=failure)
    return folder


def _vandal_calls(trial: str) -> tuple[list[Block], list[Call]]:
    """Return blocks and calls with hostile and very long texts, and a call that failed."""
    blocks = [
        Block.of("world", "FAIR, TURNING FINER"),
        Block.of("card", HOSTILE),
        Block.of("transcript", "ELISEO: Is this the railway?"),
        Block.of("cue", "(Rufina.)"),
        Block.of("transcript", "RUFINA: " + HOSTILE),
        Block.of("note", LONG),
        Block.of("cue", "(Now.)"),
    ]
    ids = [b.id for b in blocks]

    def call(number: int, shown: list[str], reply: str, who: str = "Rufina", **failed: Any) -> Call:
        return made_call(
            Draw(trial, MAIN, number, who, "author" if who == "author" else "line"),
            model="gpt-puppet",
            endpoint="http://127.0.0.1:1/v1",
            params='{"max_tokens":80,"model":"gpt-puppet","seed":42,"temperature":0.8}',
            blocks=tuple(shown),
            reply=reply,
            prompt_tokens=812,
            completion_tokens=31,
            cached_tokens=640,
            latency=1.25,
            retries=2,
            **failed,
        )

    calls = [
        call(1, ids[:2], '{"note_to": "Rufina"}', who="author"),
        call(1, ids[:4], "RUFINA: " + HOSTILE),
        call(5, ids, LONG),
        call(6, ids, "", "Eliseo", error_kind=ErrorKind.TIMEOUT, error="no answer in 120 s"),
    ]
    return blocks, calls


def long_run(runs: Path, turns: int, name: str = "long") -> RunFolder:
    """Write a run with one scene of `turns` turns."""
    folder = bare_run(runs, name)
    trial = plan(the_study())[0].id
    said = "I have buried two mules and a station master, and I talk to the lamp. Drink the soup."
    lines = [
        Turn(
            trial,
            MAIN,
            n,
            0,
            "line",
            ("Rufina", "Eliseo")[n % 2],
            f"{n}. {said}",
            said,
            acts=(Act("note", "Rufina", "Let objects carry the feeling."),) if n % 2 else (),
        )
        for n in range(1, turns + 1)
    ]
    keep(folder, lines)
    return folder


def page(runs: Path, monkeypatch: pytest.MonkeyPatch, room: str = "scene", **query: str) -> AppTest:
    """Open the viewer at an address, with its token, and draw it once."""
    monkeypatch.setenv("IMPROV_RUNS", str(runs))
    monkeypatch.setenv(permission.TOKEN, "a-token")
    app = AppTest.from_file(str(shipped("ui") / "app.py"), default_timeout=120)
    app.session_state[permission.TOKEN_KEPT] = "a-token"
    app._bidi_component_manager = components()
    for name, value in query.items():
        app.query_params[name] = value
    return well(in_room(app, room).run())


def in_room(app: AppTest, room: str) -> AppTest:
    """Have an app's next run draw a room.

    Not by `switch_page`: before the first run it knows a page by its file's name, which is the
    same in all rooms.
    """
    app._page_hash = calc_hash(room)
    return app


@cache
def components() -> BidiComponentManager:
    """Return Streamlit's registry of components, made once, because it searches every installed
    package."""
    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager


def well(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def shown(app: AppTest) -> str:
    """Return the HTML that the page draws with st.html."""
    return "\n".join(str(element.proto.body) for element in app.html)


def read(app: AppTest) -> str:
    """Return the text of that HTML, without tags."""
    return html.unescape(re.sub(r"<[^>]+>", " ", shown(app)))


def address(app: AppTest) -> dict[str, str]:
    query = dict(app.query_params).items()
    return {name: value if isinstance(value, str) else value[0] for name, value in query}


def style(app: AppTest) -> str:
    return next(b for b in (str(e.proto.body) for e in app.html) if b.startswith("<style>.play"))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours by WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
