#!/usr/bin/env bash
# From a fresh clone to a trained model: sets up .venv, then runs the quick start with the flags given (see --help).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
exec "${DELTAL_VENV:-$root/.venv}/bin/deltal" quickstart "$@"
