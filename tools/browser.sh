#!/usr/bin/env bash
# Finds a Chromium for the viewer's tests, installs one where that is simple, and prints its path.
#
# Prints nothing where there is none; the browser tests then fail if CI=true, and are skipped
# elsewhere. What it does is said on standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

found() {
    local name
    for name in "${IMPROV_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        [ -n "$name" ] && command -v "$name" && return
    done
    return 1
}

# The one that playwright downloaded for itself, if it has.
playwrights() {
    .venv/bin/python - <<'PY'
import pathlib, sys
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
print(path) if pathlib.Path(path).is_file() else sys.exit(1)
PY
}

found && exit
playwrights 2>/dev/null && exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing chromium for the viewer's tests (apt-get)." >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends chromium; } >"$log" 2>&1 || true
    found && exit
fi
echo "Downloading a Chromium for the viewer's tests (playwright install chromium)." >&2
timeout 300 .venv/bin/playwright install chromium >>"$log" 2>&1 || true
playwrights 2>/dev/null && exit

tail -5 "$log" >&2
echo "No Chromium, so the browser tests cannot run. Install chromium or Google Chrome," >&2
echo "or name one:  make test IMPROV_BROWSER=/path/to/chromium" >&2
