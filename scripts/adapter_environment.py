"""Environments for scripts that run another trainer: made by pip in a folder, and kept as long as the same is asked for."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.files import write_atomically

CPU_WHEELS = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
"""PyPI's torch brings gigabytes of CUDA."""


def make_environment(
    folder: Path, calls: Sequence[Sequence[str]], sees: Path | None = None, hides: Sequence[str] = ()
) -> Path:
    """Make the environment, or keep the one that is there. Raises RuntimeError, in one line, if pip fails.

    Args:
        folder: pip's output goes into venv.log next to it.
        calls: what pip installs, a call for each. With a CPU build of torch in the first, its index is tried too.
        sees: site-packages of another environment, which this one has below its own.
        hides: packages of that one which cannot be imported in this one.

    Returns:
        Its Python.
    """
    made, log, python = folder / "requirements.json", folder.with_name("venv.log"), folder / "bin" / "python"
    asked = json.dumps({"calls": calls, "sees": sees and str(sees), "hides": hides}) + "\n"
    if made.is_file() and made.read_text(encoding="utf-8") == asked:
        print(f"{folder}: the environment is there", flush=True)
        return python
    print(f"{folder}: installing {' '.join(calls[-1])}; pip's output is in {log}", flush=True)
    # The other environment's pip serves this one too.
    without = ["--without-pip"] if sees else []
    subprocess.run([sys.executable, "-m", "venv", "--clear", *without, str(folder)], check=True)
    if sees:
        (packages,) = folder.glob("lib/python*/site-packages")
        lines = [
            f"import site; site.addsitedir({str(sees)!r})",
            f"import sys; sys.modules.update(dict.fromkeys({list(hides)}))",
        ]
        (packages / "sees.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    tries = [[], CPU_WHEELS] if calls[0][0].endswith("+cpu") else [[]]
    with open(log, "w", encoding="utf-8") as output:
        for words in calls:
            if all(subprocess.run([*pip, *more, *words], stdout=output, stderr=output).returncode for more in tries):
                raise RuntimeError(f"pip cannot install {' '.join(words)}; its output is in {log}")
    write_atomically(made, asked)
    return python
