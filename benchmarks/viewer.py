"""Opens the viewer on a run of a million turns in a real browser, and measures its rooms.

The puppet plays a few scenes, and each is copied hundreds of times: fifty thousand trials of the
study author-context. Every line has its own text, so there are as many blocks as lines, and some
scores are inverted at random. The tables are sorted and have row groups, as storage writes them.

The browser goes from room to room as by a click. A time ends when the room is whole and the server
has nothing left to send. Each room is entered before the server has read the run (cold), and again
(warm). Compare is entered in two servers. The first has no findings, as after a scoring: the
planned result must be there within the limit (`cold`), and the time of the whole room is printed
last. The second reads the findings of the first. `core` is the server's CPU seconds. `loaded` is
the room in a fresh page, including Streamlit's scripts. Exits 1 if a limit is exceeded: 1 s for
Runs and any scene, 3 s for Compare, and 1.5 GiB for the server. `--folder` keeps the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from playwright.sync_api import Page, TimeoutError

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from improv.analysis.cache import FINDINGS_FILE  # noqa: E402
from improv.runner.launch import run  # noqa: E402
from improv.runner.session import Setup  # noqa: E402
from improv.storage.run_folder import RunFolder  # noqa: E402
from improv.storage.run_tables import ROWS_PER_GROUP  # noqa: E402
from improv.storage.runs import open_run, runs_filesystem  # noqa: E402
from improv.storage.schemas import SCHEMAS  # noqa: E402
from improv.study.design import with_replicates  # noqa: E402
from improv.study.loader import load  # noqa: E402
from improv.study.trial import plan  # noqa: E402
from tests.support.browser import chromium, start  # noqa: E402

STUDY = TOP / "scenes/studies/author-context.yaml"
SCENE_TURNS = 20
TEMPLATES = 4
"""Replicates that the puppet plays."""
BATCH = 2_000
"""Trials written at once."""
TURNED = 0.03
"""The share of scores that are inverted at random, so that no two copies are alike."""
OWN = ("transcript", "note")
"""The kinds of blocks that a scene shares with no other."""

Numbers = npt.NDArray[np.int64]


# -- a run of a million turns --------------------------------------------------------------------


@dataclass
class Template:
    """One table of the played run, and the place of each trial's rows in it."""

    table: pa.Table
    first: Numbers
    count: Numbers

    def rows(self, which: Numbers) -> tuple[Numbers, Numbers]:
        """Return the rows of these trials, and for each row the index of its trial in `which`."""
        counts = self.count[which]
        owner = np.repeat(np.arange(len(which)), counts)
        start = np.repeat(np.cumsum(counts) - counts, counts)
        return np.arange(len(owner)) - start + self.first[which][owner], owner


def template(folder: RunFolder, name: str, trials: Sequence[str]) -> Template:
    table = folder.tables.read(name).combine_chunks()
    names = table["trial"].to_numpy(zero_copy_only=False).astype(str)
    unique, first, count = np.unique(names, return_index=True, return_counts=True)
    index = {t: i for i, t in enumerate(unique.tolist())}
    places = np.array([index.get(t, -1) for t in trials])
    # If a trial has no rows in this table, its copies have none either.
    return Template(
        table, np.where(places < 0, 0, first[places]), np.where(places < 0, 0, count[places])
    )


def hexes(numbers: npt.NDArray[np.uint64]) -> pa.Array:
    """Return twenty hex characters for each number, as evenly spread as a digest's (splitmix64)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    pairs = np.empty((len(z), 10), np.uint8)
    pairs[:, :8] = z.astype(">u8").view(np.uint8).reshape(-1, 8)
    pairs[:, 8:] = pairs[:, :2] ^ 0x5A
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.empty((len(z), 20), np.uint8)
    text[:, 0::2], text[:, 1::2] = digits[pairs >> 4], digits[pairs & 15]
    ends = (np.arange(len(z) + 1) * 20).astype(np.int32)
    return pa.StringArray.from_buffers(len(z), pa.py_buffer(ends), pa.py_buffer(text.tobytes()))


class Writer:
    """Writes a table in sorted pieces, with the row groups that storage would write."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._schema = SCHEMAS[name]
        self._sink = pq.ParquetWriter(
            folder.local / f"{name}.parquet",
            self._schema,
            compression="zstd",
            write_page_checksum=True,
        )
        self._held: list[pa.Table] = []

    def add(self, columns: dict[str, pa.Array]) -> None:
        table = pa.table([columns[n] for n in self._schema.names], schema=self._schema)
        self._held.append(table)
        whole = pa.concat_tables(self._held)
        full = len(whole) // ROWS_PER_GROUP * ROWS_PER_GROUP
        if full:
            self._sink.write_table(whole.slice(0, full), row_group_size=ROWS_PER_GROUP)
        self._held = [whole.slice(full)]

    def close(self) -> None:
        self._sink.write_table(pa.concat_tables(self._held), row_group_size=ROWS_PER_GROUP)
        self._sink.close()


def grow(runs: Path, name: str, turns: int) -> RunFolder:
    """Make a run of at least so many turns, and return it."""
    with tempfile.TemporaryDirectory() as home:
        patch = {"turns": SCENE_TURNS}
        whole = load(STUDY, patch, "effect")
        small = with_replicates(whole, TEMPLATES)
        played = run(small, runs=home, name="template", setup=Setup(ray="off")).folder
        cells = len(small.cells)
        replicates = -(-turns // (SCENE_TURNS * cells))
        study = with_replicates(whole, replicates)
        trials = sorted(plan(study), key=lambda t: t.id)
        meta = played.meta() | {"trials": len(trials), "done": len(trials), "hosts": []}
        fs, base = runs_filesystem(runs)
        folder = RunFolder(fs, f"{base}/{name}", base)
        folder.create(study, meta)
        copy(played, folder, trials)
    return folder


def copy(played: RunFolder, folder: RunFolder, trials: Sequence[object]) -> None:
    trial_rows = played.tables.read("trials").to_pylist()
    origin = [r["trial"] for r in trial_rows]
    places = {(r["scene"], r["condition"], r["replicate"]): i for i, r in enumerate(trial_rows)}
    which = np.array([places[t.slug, t.condition, t.replicate % TEMPLATES] for t in trials])  # type: ignore[attr-defined]
    ids = pa.array([t.id for t in trials])  # type: ignore[attr-defined]
    write_trials(played, folder, trials, which)
    blocks = played.tables.read("blocks")
    own = pc.is_in(blocks["kind"], value_set=pa.array(OWN)).to_numpy(zero_copy_only=False)
    shown: list[npt.NDArray[np.uint64]] = []
    dice = np.random.default_rng(7)
    for table in ("turns", "calls", "scores"):
        source = template(played, table, origin)
        sink = Writer(folder, table)
        for at in range(0, len(trials), BATCH):
            part = np.arange(at, min(at + BATCH, len(trials)))
            taken, owner = source.rows(which[part])
            rows = source.table.take(taken)
            columns = {n: rows[n].combine_chunks() for n in rows.schema.names}
            columns["trial"] = ids.take(part[owner])
            take = pa.array(part[owner]).cast(pa.string())
            for text in {"text", "raw", "reply", "evidence"} & set(columns):
                salted = pc.binary_join_element_wise(columns[text], take, " #")
                columns[text] = pc.if_else(pc.equal(columns[text], ""), columns[text], salted)
            if table == "scores":
                columns["value"] = turned(columns["value"], dice)
            if table == "calls":
                columns["blocks"] = own_blocks(columns["blocks"], blocks, own, part[owner], shown)
            sink.add(columns)
        sink.close()
    write_blocks(folder, blocks, np.unique(np.concatenate(shown)))


def turned(values: pa.Array, dice: np.random.Generator) -> pa.Array:
    over = pa.array(dice.random(len(values)) < TURNED)
    return pc.if_else(over, pc.subtract(1.0, values), values)


_WIDE = np.uint64(1 << 20)


def own_blocks(
    lists: pa.Array,
    blocks: pa.Table,
    own: npt.NDArray[np.bool_],
    trial: Numbers,
    shown: list[npt.NDArray[np.uint64]],
) -> pa.Array:
    """Return the block lists with own ids for the blocks that a trial shares with no other."""
    flat = pc.index_in(lists.flatten(), value_set=blocks["id"].combine_chunks())
    flat = flat.to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    owner = np.repeat(trial, lengths).astype(np.uint64)
    key = np.where(own[flat], (owner + np.uint64(1)) * _WIDE, np.uint64(0)) + flat.astype(np.uint64)
    shown.append(np.unique(key))
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), hexes(key))


def write_blocks(folder: RunFolder, blocks: pa.Table, keys: npt.NDArray[np.uint64]) -> None:
    index = (keys % _WIDE).astype(np.int64)
    number = (keys // _WIDE).astype(np.int64) - 1
    rows = blocks.take(index)
    salted = pc.binary_join_element_wise(rows["text"], pa.array(number).cast(pa.string()), " #")
    text = pc.if_else(pa.array(number >= 0), salted, rows["text"])
    table = pa.table([hexes(keys), rows["kind"], text], schema=SCHEMAS["blocks"])
    folder.tables.write("blocks", table)


def write_trials(
    played: RunFolder, folder: RunFolder, trials: Sequence[object], which: Numbers
) -> None:
    table = played.tables.read("trials").take(which)
    for name, attribute in (
        ("trial", "id"),
        ("index", "index"),
        ("block", "block"),
        ("replicate", "replicate"),
    ):
        values = pa.array(
            [getattr(t, attribute) for t in trials], SCHEMAS["trials"].field(name).type
        )
        table = table.set_column(table.schema.get_field_index(name), name, values)
    folder.tables.write("trials", table)


# -- opening it ----------------------------------------------------------------------------------

LARGE, SMALL = "stage", "small"


NEVER_SEEN = "Compare, never seen"
RESULT = "html:not(:has(.play)) .stMain [data-testid='stVegaLiteChart'] svg.marks"
WEIGHED = "html:not(:has(.play)):has(.abreast)"


@dataclass
class Visit:
    """A room to enter: its name and address, the selector that shows that it is whole, the
    limit."""

    name: str
    room: str
    query: str
    whole: str
    seconds: float
    first: str = ""
    """The selector that must match within the limit, if the rest of the room may follow later."""

    @property
    def address(self) -> str:
        return f"{'' if self.room == 'runs' else self.room}?{self.query}"


def visits(folder: RunFolder) -> list[Visit]:
    rows = folder.tables.read("trials", columns=["trial", "index"])
    one, other = (rows["trial"][at].as_py() for at in (len(rows) // 3, len(rows) - 5))
    at = f"run={folder.id}&trial="

    def played(trial: str) -> str:
        return f"html[data-prompter^='{trial}']:has(.play)"

    return [
        Visit("Scene", "scene", f"{at}{one}", played(one), 1.0),
        Visit("Scene, another", "scene", f"{at}{other}&turn=9", played(other), 1.0),
        Visit(
            "Scene, behind a line",
            "scene",
            f"{at}{other}&turn=10&behind=1",
            f"{played(other)}:has(.behind .block)",
            1.0,
        ),
        Visit("Runs", "runs", "", "html:has(.playbill tbody tr .mean)", 1.0),
        Visit(NEVER_SEEN, "compare", f"run={folder.id}", WEIGHED, 3.0, RESULT),
        Visit("Compare", "compare", f"run={folder.id}", WEIGHED, 3.0),
    ]


@contextlib.contextmanager
def viewer(runs: Path) -> Iterator[tuple[str, int]]:
    """Serve the folder, and yield the address and the server's process id."""
    process, address, _ = start(runs)
    try:
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield address.partition("#")[0], int(child)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


PATIENCE = 30_000
"""Milliseconds after which a room counts as missing."""
QUIET = ".stApp[data-test-script-state='notRunning']"


def loaded(page: Page, url: str, visit: Visit) -> float:
    """Open a room by its address in a fresh page; return the seconds until it is whole."""
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(url + visit.address, wait_until="commit")
    _whole(page, visit)
    return time.perf_counter() - began


def entered(page: Page, visit: Visit) -> tuple[float, float]:
    """Go to a room as by a click on a link; return the seconds until its first part is there, and
    until the room is whole."""
    began = time.perf_counter()
    page.evaluate(
        """([room, query]) => {
          const link = document.createElement("a");
          link.dataset.room = room;
          link.href = `${room}?${query}`;
          document.body.append(link);
          link.click();
          link.remove();
        }""",
        [visit.room, visit.query],
    )
    first = 0.0
    if visit.first:
        page.wait_for_selector(visit.first, state="attached", timeout=PATIENCE)
        first = time.perf_counter() - began
    _whole(page, visit)
    whole = time.perf_counter() - began
    return first or whole, whole


def _whole(page: Page, visit: Visit) -> None:
    page.wait_for_selector(visit.whole, state="attached", timeout=PATIENCE)
    page.wait_for_selector(QUIET, state="attached", timeout=PATIENCE)


def core(process: int) -> float:
    """Return the CPU seconds that a process has used."""
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> float:
    """Return the peak memory of a process in GiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, help="the folder that keeps the run, or has it already"
    )
    parser.add_argument("--only", nargs="*", default=[], help="only rooms whose names begin so")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, turns in ((LARGE, args.turns), (SMALL, 1)):
            if not (home / name / "blocks.parquet").exists():
                began = time.perf_counter()
                count = len(grow(home, name, turns).tables.read("trials", columns=["trial"]))
                print(f"made {count:,} trials in {time.perf_counter() - began:.0f} s", flush=True)
        browser = stack.enter_context(chromium())
        large, small = (visits(open_run(home, name)) for name in (LARGE, SMALL))
        wanted = [
            i for i, v in enumerate(large) if not args.only or v.name.startswith(tuple(args.only))
        ]
        names = ("room", "cold", "core", "warm", "core", "loaded", "limit", "peak")
        print("{:21}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}  {}".format(*names))
        broken = 0
        # The second server uses the findings that the first one has kept.
        for again in (False, True):
            those = [i for i in wanted if (large[i].name == "Compare") == again]
            if not again:
                (home / LARGE / FINDINGS_FILE).unlink(missing_ok=True)
            if those:
                with viewer(home) as (url, process):
                    page = browser.new_page(viewport={"width": 1400, "height": 900})
                    broken += look(page, url, process, large, small, those)
                    page.close()
        return 1 if broken else 0


def look(
    page: Page,
    url: str,
    process: int,
    large: Sequence[Visit],
    small: Sequence[Visit],
    wanted: Sequence[int],
) -> int:
    """Enter each room cold and warm, print the times, and return how many exceed a limit."""
    # The one-time work of a server and a browser does not depend on the run, so it is done before.
    for i in wanted:
        if small[i].room != "runs":
            with contextlib.suppress(TimeoutError):
                loaded(page, url, small[i])
    broken = 0
    for visit in (large[i] for i in wanted):
        try:
            times = [_timed(page, url, process, small[0], visit) for _ in range(4)]
            fresh = min(loaded(page, url, visit) for _ in range(2))
        except TimeoutError:
            print(f"{visit.name:21} was not whole in {PATIENCE / 1000:.0f} s  BROKEN", flush=True)
            broken += 1
            continue
        (cold, whole, used), (_, warm, used_warm) = times[0], min(times[1:], key=lambda t: t[1])
        peak = memory(process)
        fail = cold > visit.seconds or peak > 1.5
        broken += fail
        print(
            f"{visit.name:21}{cold:7.2f}s{used:7.2f}s{warm:7.2f}s{used_warm:7.2f}s{fresh:7.2f}s"
            f"{visit.seconds:9.0f}s  {peak:.2f} GiB{'  BROKEN' if fail else ''}"
            + (f"  (whole {whole:.2f}s)" if visit.first else ""),
            flush=True,
        )
    return broken


def _timed(
    page: Page, url: str, process: int, start_at: Visit, visit: Visit
) -> tuple[float, float, float]:
    """Enter a room from a scene of the small run; return the seconds until its first part is there,
    the seconds until it is whole, and the server's CPU seconds."""
    loaded(page, url, start_at)
    page.wait_for_timeout(500)
    used = core(process)
    first, seconds = entered(page, visit)
    return first, seconds, core(process) - used


if __name__ == "__main__":
    os.environ.setdefault("CI", "true")  # a missing Chromium is then an error
    sys.exit(main())
