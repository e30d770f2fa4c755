// Opens another room without loading the page again: a plain click on a link with data-room is sent to
// the server, which draws that room. Without this script they are ordinary links.
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
  document.documentElement.dataset.usher = "1"; // from here on clicks are handled
  return () => document.removeEventListener("click", onClick);
}
