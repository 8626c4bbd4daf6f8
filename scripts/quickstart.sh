#!/usr/bin/env bash
# From a fresh clone to a trained model: sets up .venv, then runs the quick start with the flags given (see --help).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${DELTAL_VENV:-$root/.venv}"
bash "$root/scripts/setup.sh"
export PATH="$venv/bin:$PATH"  # on GPUs DeepSpeed compiles its Adam with the ninja that is there
exec "$venv/bin/python" -m deltal_openrlhf.quickstart "$@"
