// Follows the transcript: a click on a turn chooses it, and the chosen turn is scrolled to.
// It reads and writes no text of a scene; without it the turn numbers are ordinary links.
export default function ({ data, setTriggerValue, parentElement }) {
  const memory = parentElement;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const onClick = (event) => {
    const turn = event.target.closest?.(".play li.turn");
    const number = turn?.querySelector("a.no")?.dataset.turn;
    if (!number || event.defaultPrevented || event.button) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (!event.target.closest("a") && String(getSelection())) return; // somebody selects text
    event.preventDefault();
    setTriggerValue("chosen", Number(number));
  };
  document.addEventListener("click", onClick);
  document.documentElement.dataset.prompter = data.trial; // from here on a click is heard

  const seen = `${data.trial}/${data.turn}/${data.heard}/${data.behind}`;
  let waiting = 0;
  if (memory.improvSeen !== seen) {
    const first = memory.improvSeen === undefined || !memory.improvSeen.startsWith(`${data.trial}/`);
    memory.improvSeen = seen;
    let tries = 0;
    const reach = () => {
      const now = document.getElementById(`turn-${data.turn}`);
      if (!now) {
        // The transcript may still be on its way.
        if (tries++ < 20) waiting = setTimeout(reach, 50);
        return;
      }
      document.querySelectorAll(".play [aria-current]").forEach((e) => e.removeAttribute("aria-current"));
      if (data.turn === 0 && first) return;
      now.querySelector("a.no")?.setAttribute("aria-current", "true");
      now.scrollIntoView({ block: first ? "center" : "nearest", behavior: first || still ? "auto" : "smooth" });
    };
    waiting = setTimeout(reach, 30);
  }

  return () => {
    document.removeEventListener("click", onClick);
    if (waiting) clearTimeout(waiting);
  };
}
