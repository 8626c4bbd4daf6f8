#!/usr/bin/env bash
# Set the environment up and run every test and check, with a GPU also those that need CUDA. Arguments go to pytest:
#   bash scripts/test.sh tests/test_aggregation.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export TQDM_DISABLE=1
python=${DELTAL_VENV:-.venv}/bin/python
processes=()
if [ $# -eq 0 ]; then
    "$python" -m ruff format --check .
    "$python" -m ruff check .
    "$python" -m mypy
    "$(dirname "$python")/lint-imports" --no-cache
    "$python" scripts/check_prose.py
    # Two processes, each with half of the files (tests/conftest.py). They would fight over a GPU.
    if "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
        processes=(-n 2 --no-loadscope-reorder)
        # The environment of a GPU lacks the packages of the site.
        NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --quiet
    fi
fi
exec "$python" -m pytest "${processes[@]}" "$@"
