"""Scripts of the repository, run as processes: tests import nothing from them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import commands

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run_script(name: str, *words: object, timeout: float = 100, **variables: str) -> subprocess.CompletedProcess:
    """`python scripts/NAME WORDS`. variables: of the environment; with some the process is started, since imports may read them."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, words)]
    environment = os.environ | variables
    run = subprocess.run if variables else commands.run
    return run(command, capture_output=True, text=True, timeout=timeout, env=environment)


def in_scripts(code: str, data: object = None, *, folder: str = ".", timeout: float = 100) -> Any:
    """What `code` assigns to `result`, as JSON. It runs in a process whose imports begin in scripts/FOLDER, and finds `data`."""
    code = f"import json, sys\ndata = json.load(sys.stdin)\n{code}\nprint(json.dumps(result))"
    process = commands.run(
        [sys.executable, "-c", code],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=SCRIPTS / folder,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])
