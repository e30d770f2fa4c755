"""Takes the pictures of the viewer in docs/rooms: every room, light, dark and narrow.

    python -m tools.pictures RUNS [ROOM...]

RUNS is a folder of runs whose path may be shown in a picture. It holds three runs: `sample`,
`honey` with several characters for the Graph room, and `author-context` for Compare.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from improv.storage.runs import open_run
from tests.support.browser import Reader, chromium, start
from ui.shared.address import LOBBY

ROOMS = Path(__file__).resolve().parent.parent / "docs" / "rooms"
SIZES = {"light": (1400, 900), "dark": (1400, 900), "narrow": (390, 844)}
PLACES = {
    "runs": "",
    "scene": "?run=sample&trial={authored}&turn=5",
    "multiverse": "?run=sample&trial={branched}",
    "graph": "?run=honey&condition=live+author",
    "compare": "?run=author-context",
    "rate": "?run=sample",
    "stagedoor": "",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("rooms", nargs="*", default=[], metavar="ROOM")
    args = parser.parse_args()
    rows = open_run(str(args.runs), "sample").tables.read("trials").to_pylist()
    branched = next(r["trial"] for r in rows if sum(o["trial"] == r["trial"] for o in rows) > 3)
    authored = [r["trial"] for r in rows if r["condition"] == "live author"][-1]
    ROOMS.mkdir(exist_ok=True)
    server, address, _ = start(args.runs)
    try:
        with chromium() as browser:
            for look, (width, height) in SIZES.items():
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if look == "dark" else "light",
                )
                for room in args.rooms or PLACES:
                    reader = Reader(context.new_page(), address)
                    place = PLACES[room].format(branched=branched, authored=authored)
                    page = reader.open(place, room=room.removeprefix(LOBBY))
                    if room == "rate":
                        begin_rating(page)
                    reader.still()
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(1500)  # the charts are animated when they appear
                    write_picture(page, ROOMS / f"{room}-{look}.png")
                    page.close()
                context.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
    return 0


def begin_rating(page: Page) -> None:
    """Fill in the rater's name, and wait for the first question."""
    page.get_by_role("textbox", name="Your name").fill("Ada")
    page.get_by_role("button", name="Begin").click()
    page.locator(".ask").wait_for()


def write_picture(page: Page, file: Path) -> None:
    """Write a screenshot with 256 colours, which takes a third of the bytes."""
    shown = Image.open(io.BytesIO(page.screenshot()))
    shown.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    print(file.name, file.stat().st_size // 1024, "kB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
