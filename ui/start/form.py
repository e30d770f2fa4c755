"""The choices at the stage door: scene, authors, model, size; and the button that starts the run.

`start.command` makes the study file and the command; `shared.processes` starts the command.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from improv.errors import ImprovError, RunError
from improv.files import shipped
from improv.folder import Folder
from improv.storage.runs import new_run_id
from improv.study.loader import load, load_scene
from improv.study.scene import Scene
from ui.shared import address, notices, permission, processes, run_data
from ui.shared.html import label, safe, short_line
from ui.start import command as start_command
from ui.start.command import Bill

FILE = "A file…"


def choices() -> None:
    """Draw the choices, and beside them the command that they make. Raises RunError."""
    st.html(
        '<header class="room-head"><h1>Stage door</h1><p class="quiet">Choose a scene, its '
        "author and a model, and watch a small run.</p></header>"
    )
    chosen, summary = st.columns([10, 9], gap="large")
    with chosen:
        picked = _scene()
        if picked is None:
            return
        name, scene = picked
        bill = _bill(name, scene)
    with summary, st.container(key="growing"):
        _begin(bill, scene)


def _scene() -> tuple[str, Scene] | None:
    """Offer the scenes; return the chosen scene's name or file, and the scene. None: not yet
    valid."""
    titles = _titles()
    wanted = address.get("scene")
    if wanted and wanted not in titles:
        # The address can name a shipped scene only; the reader types the path of a file.
        address.put(scene="")
    if "door:scene" not in st.session_state or wanted in titles:
        st.session_state["door:scene"] = wanted if wanted in titles else next(iter(titles))
    name = st.selectbox(
        "Scene",
        [*titles, FILE],
        key="door:scene",
        on_change=_scene_chosen,
        format_func=lambda s: short_line(titles.get(str(s), str(s))),
    )
    if name == FILE:
        typed = st.text_input("The file’s name", key="door:file", placeholder="my-scene.yaml")
        if not typed.strip():
            st.html('<p class="quiet">A scene file of this machine, by its path.</p>')
            return None
        path = Path(typed.strip()).expanduser()
        if not path.is_file():
            notices.problem(f"{typed.strip()}: there is no such file")
            return None
        name = str(path.resolve())
    else:
        address.put(scene=name)
    try:
        scene = load_scene(name)
    except ImprovError as e:
        notices.problem(str(e))
        return None
    if scene.about:
        st.html(f'<p class="about-scene">{safe(short_line(scene.about, 500))}</p>')
    return name, scene


def _bill(name: str, scene: Scene) -> Bill:
    arms = start_command.arms(scene)
    picked = st.pills(
        "Author",
        arms,
        selection_mode="multi",
        default=[arms[-1]],
        key=f"door:arms:{name}",
        format_func=label,
        help="Each chosen author is a condition of the run.",
    )
    arms_html = "".join(
        f"<li><b>{safe(short_line(arm, 40))}</b>: {safe(start_command.words(arm))}</li>"
        for arm in picked
    )
    if arms_html:
        st.html(f'<ul class="arms quiet">{arms_html}</ul>')
    model = st.radio(
        "Played by",
        list(start_command.MODELS),
        key="door:model",
        format_func=lambda m: start_command.MODELS[m],
    )
    called = url = ""
    if model == start_command.ENDPOINT:
        left, right = st.columns(2)
        called = left.text_input("The model’s name", key="door:called", placeholder="gpt-4.1-mini")
        url = right.text_input(
            "Its address", key="door:url", placeholder="http://127.0.0.1:8000/v1"
        )
        st.html(
            '<p class="quiet">The scene, and the key in OPENAI_API_KEY if there is one, are sent '
            "to that address, which may cost money.</p>"
        )
    left_column, middle_column, right_column = st.columns(3)
    trials = int(
        left_column.number_input(
            "Scenes per author", 1, start_command.MOST_TRIALS, 1, key="door:trials"
        )
    )
    turns = int(
        middle_column.number_input("Turns", 1, 200, min(scene.turns, 200), key=f"door:turns:{name}")
    )
    seed = int(right_column.number_input("Seed", 0, 2**31 - 1, 0, key="door:seed"))
    return Bill(
        scene=name,
        arms=tuple(picked),
        model=model,
        trials=trials,
        turns=turns,
        seed=seed,
        called=called,
        base_url=url.strip(),
    )


def _begin(bill: Bill, scene: Scene) -> None:
    st.html('<h2 class="side-title">The command</h2>')
    run = _fresh_id(bill)
    file = processes.process_folder(run_data.root(), make=False).path / f"{run}.yaml"
    command = start_command.command(bill, str(file), run, run_data.root())
    missing = start_command.still_missing(bill)
    if missing:
        st.html(f'<p class="quiet">{safe(missing)}</p>')
    else:
        count, lines = bill.planned, bill.planned * bill.turns
        many = "One scene" if count == 1 else f"{count} scenes"
        st.html(
            f'<p class="quiet">{many}, {lines} lines in all. The button writes a study file and '
            "plays it with:</p>"
        )
        st.code(start_command.shell_line(command), language=None, wrap_lines=True)
        with st.expander("The study file"):
            st.code(start_command.study_file(bill, scene), language="yaml", wrap_lines=True)
    st.button(
        "Raise the curtain",
        key="door:start",
        type="primary",
        disabled=bool(missing) or not permission.allowed(),
        on_click=_start,
        args=(bill, scene, run),
    )
    permission.explain()
    if refused := st.session_state.pop("door:refused", ""):
        notices.problem(refused)


def _fresh_id(bill: Bill) -> str:
    """Return the id of the run that the button starts. It stays the same until that run has
    started, so that a second click does not start another run."""
    known = str(st.session_state.get("door:id", ""))
    slug = start_command.slug(bill.scene).lower()
    folder = processes.process_folder(run_data.root(), make=False)
    taken = folder.entry(f"{known}.yaml") is not None
    if not known or taken or st.session_state.get("door:slug") != slug:
        known = new_run_id(slug)
        st.session_state["door:id"], st.session_state["door:slug"] = known, slug
    return known


def _start(bill: Bill, scene: Scene, run: str) -> None:
    try:
        permit = permission.permit()
        folder = processes.process_folder(run_data.root())
        file = folder.path / f"{run}.yaml"
        if _written(folder, file.name, start_command.study_file(bill, scene)):
            try:
                load(file)  # an error in the file is shown here, not in the process's output
                more = {"host": bill.base_url if bill.model == start_command.ENDPOINT else ""}
                command = start_command.command(bill, str(file), run, run_data.root())
                processes.start(permit, run_data.root(), run, processes.improv(*command), more)
            except ImprovError:
                folder.remove(file.name)
                raise
        address.go(run=run, trial="", branch="", turn=0)
    except ImprovError as e:
        st.session_state["door:refused"] = str(e)


def _written(folder: Folder, name: str, text: str) -> bool:
    """Write a new file. Return False if it exists already. Raises RunError."""
    try:
        folder.create(name, text.encode())
    except FileExistsError:
        return False
    except OSError as e:
        raise RunError(f"{folder.path / name}: cannot be written: {e.strerror or e}") from None
    return True


def _scene_chosen() -> None:
    chosen = st.session_state["door:scene"]
    address.go(scene="" if chosen == FILE else chosen)


@st.cache_resource(show_spinner=False)
def _titles() -> dict[str, str]:
    """Return the shipped scenes, name → title."""
    titles = {}
    for file in sorted(shipped("scenes").glob("*.yaml")):
        try:
            titles[file.stem] = load_scene(file).title
        except ImprovError:
            continue
    return dict(sorted(titles.items(), key=lambda pair: pair[1]))
