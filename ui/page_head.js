// Runs before Streamlit does. It names the address of the server, keeps the token that came behind
// the # of the address (no server and no other page sees that part), and shows it to the server when
// Streamlit connects. Storage belongs to this address with its port, unlike a cookie.
window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };
(() => {
  const KEY = "improv-token";
  let token = "";
  const arrive = () => {
    const found = /^#token=([\w-]+)$/.exec(location.hash);
    if (!found) return false;
    token = found[1];
    try { localStorage.setItem(KEY, token); } catch { /* it is kept until the page is left */ }
    history.replaceState(history.state, "", location.pathname + location.search);
    return true;
  };
  if (!arrive()) {
    try { token = localStorage.getItem(KEY) ?? ""; } catch { /* nothing is kept */ }
  }
  addEventListener("hashchange", () => { if (arrive()) location.reload(); });
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(url, protocols = []) {
      const ours = token && new URL(url, location.href).host === location.host;
      super(url, ours ? [protocols, `improv.${token}`].flat() : protocols);
    }
  };
})();
