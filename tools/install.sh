#!/usr/bin/env bash
# Makes .venv from requirements.lock. Uses uv where it is there, else pip; needs only Python 3.11 or later.
set -euo pipefail
cd "$(dirname "$0")/.."
find_python() {
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$candidate"; return; fi
  done
  echo "Alonzo needs Python 3.11 or later: install it, or set PYTHON to one." >&2
  exit 1
}
python=$(find_python)
say() { echo "$*" >&2; }
say "Making .venv with $("$python" --version) from requirements.lock: half a minute or so the first time…"
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
  rm -rf .venv
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --seed --python "$python" .venv
  elif ! "$python" -m venv .venv; then
    echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv), or install uv." >&2
    exit 1
  fi
fi
if command -v uv >/dev/null 2>&1; then
  uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock
  uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
else
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
say "…packages are installed, compiling…"
# The server starts in a third of the time from compiled modules, also where the environment forbids writing them.
.venv/bin/python -m compileall -q src || true
touch .venv/.installed
say "…ready: .venv/bin/alonzo"
