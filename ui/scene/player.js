// The script of the transcript: a click on a turn chooses it, a click on a mark or a bookmark jumps to
// its turn; the chosen turn is scrolled into view, and search hits are highlighted. The script never
// changes the text of a scene. Without it the turn numbers are ordinary links.
export default function ({ data, setTriggerValue, parentElement }) {
  const memory = parentElement;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const modified = (event) =>
    event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;

  const onClick = (event) => {
    if (modified(event)) return;
    const mark = event.target.closest?.("a[data-jump]");
    const strip = event.target.closest?.(".tally .marks");
    if (mark || strip) {
      event.preventDefault();
      setTriggerValue("jumped", mark ? Number(mark.dataset.jump) : nearest(strip, event.clientX));
      return;
    }
    const turn = event.target.closest?.(".play li.turn");
    const number = turn?.querySelector("a.no")?.dataset.turn;
    if (!number) return;
    if (!event.target.closest("a") && String(getSelection())) return; // the reader is selecting text
    event.preventDefault();
    setTriggerValue("chosen", Number(number));
  };
  document.addEventListener("click", onClick);
  const onKey = (event) => {
    if (event.key !== "/" || modified(event) || event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const field = document.querySelector(".st-key-find input");
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  };
  document.addEventListener("keydown", onKey);
  document.documentElement.dataset.prompter = data.trial; // from here on clicks are handled

  const seen = `${data.trial}/${data.turn}/${data.heard}/${data.behind}`;
  let waiting = 0;
  let tries = 0;
  const moved = memory.improvSeen !== seen;
  const first = memory.improvSeen === undefined || !memory.improvSeen.startsWith(`${data.trial}/`);
  memory.improvSeen = seen;
  const reach = () => {
    const now = document.getElementById(`turn-${data.turn}`);
    if (!document.querySelector(".play") || (data.turn && !now)) {
      // The transcript may not be on the page yet.
      if (tries++ < 20) waiting = setTimeout(reach, 50);
      return;
    }
    light(data.find);
    if (!moved) return;
    document.querySelectorAll(".play [aria-current]").forEach((e) => e.removeAttribute("aria-current"));
    if (!now || (data.turn === 0 && first)) return;
    now.querySelector("a.no")?.setAttribute("aria-current", "true");
    now.scrollIntoView({ block: first ? "center" : "nearest", behavior: first || still ? "auto" : "smooth" });
  };
  waiting = setTimeout(reach, 30);

  return () => {
    document.removeEventListener("click", onClick);
    document.removeEventListener("keydown", onKey);
    if (waiting) clearTimeout(waiting);
  };
}

// Returns the turn with a mark that is nearest to the click on a strip.
function nearest(strip, x) {
  const box = strip.getBoundingClientRect();
  const at = ((x - box.left) / box.width) * Number(strip.dataset.last) + 0.5;
  const turns = strip.dataset.turns.split(" ").map(Number);
  return turns.reduce((best, t) => (Math.abs(t - at) < Math.abs(best - at) ? t : best));
}

// Highlights the search hits with CSS highlights, which do not change the page.
function light(find) {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("improv-found");
  const wanted = find.trim().toLowerCase().replace(/\s+/g, " ");
  const stage = document.querySelector(".play");
  if (!wanted || !stage) return;
  const ranges = [];
  const walker = document.createTreeWalker(stage, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && ranges.length < 2000; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue; // lower case has another length for some letters
    if (node.parentElement.closest(".break, .no, .who")) continue; // not part of a line
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      ranges.push(range);
    }
  }
  CSS.highlights.set("improv-found", new Highlight(...ranges));
}
