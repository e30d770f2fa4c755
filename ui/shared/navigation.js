// Leads from a link to another room without loading the page anew: a plain click on a link that has
// data-room is told to the server, which goes there. Without it the links are ordinary ones.
export default function ({ setTriggerValue }) {
  const onClick = (event) => {
    const link = event.target.closest?.("a[data-room]");
    if (!link || event.defaultPrevented || event.button) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const parts = Object.fromEntries(new URL(link.href).searchParams);
    setTriggerValue("entered", { room: link.dataset.room, parts });
  };
  document.addEventListener("click", onClick);
  document.documentElement.dataset.usher = "1"; // from here on a click is heard
  return () => document.removeEventListener("click", onClick);
}
