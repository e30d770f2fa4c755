// Scrolls to the scenes side by side when a block was chosen, here or by a link.
export default function ({ data, parentElement }) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const memory = parentElement;
  const first = memory.improvSeen === undefined;
  if (memory.improvSeen === data.block) return;
  memory.improvSeen = data.block;
  if (!data.block) return;
  let waiting = 0, tries = 0;
  const reach = () => {
    const there = document.getElementById("abreast");
    if (!there || (first && tries < 3)) {
      // The charts above may not be on the page yet.
      if (tries++ < 40) waiting = setTimeout(reach, 150);
      return;
    }
    there.scrollIntoView({ block: "start", behavior: first || still ? "auto" : "smooth" });
  };
  waiting = setTimeout(reach, 60);
  return () => clearTimeout(waiting);
}
