#!/usr/bin/env bash
# Set the environment up and run every test and check, with a GPU also those that need CUDA. Arguments go to pytest:
#   bash scripts/test.sh tests/test_aggregation.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export TQDM_DISABLE=1
python=${DELTAL_VENV:-.venv}/bin/python
if [ $# -eq 0 ]; then
    "$python" -m ruff format --check .
    "$python" -m ruff check .
    "$python" -m mypy
    "$(dirname "$python")/lint-imports" --no-cache
fi
exec "$python" -m pytest "$@"
