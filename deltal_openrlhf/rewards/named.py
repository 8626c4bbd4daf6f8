"""Our reward files by name, wherever the package is installed: `--reward.remote_url deltal:math`.

A name is looked up where the file is loaded: the nodes of a cluster may have the package in different folders.
"""

from collections.abc import Mapping
from pathlib import Path

from deltal_openrlhf.grading.process import MATH as MATH_SCORER
from deltal_openrlhf.rewards.gym_library import NEEDS as GYM_NEEDS
from deltal_openrlhf.runs.command import nearest

PREFIX = "deltal:"
FOLDER = Path(__file__).resolve().parent
MATH, COUNTDOWN, REASONING_GYM = f"{PREFIX}math", f"{PREFIX}countdown", f"{PREFIX}reasoning-gym"
FILES = {
    MATH: FOLDER / "math_reward.py",
    COUNTDOWN: FOLDER / "countdown_reward.py",
    REASONING_GYM: FOLDER / "reasoning_gym_reward.py",
}
NEEDS = {MATH: ("math_verify", MATH_SCORER.needs), REASONING_GYM: ("reasoning_gym", GYM_NEEDS)}
"""The module that a reward imports, and how to install it."""


def is_name(source: str) -> bool:
    return source.startswith(PREFIX)


def located(source: str, files: Mapping[str, Path] = FILES, kind: str = "a reward") -> str:
    """The path of the file that a name stands for; any other source as it is. Raises ValueError, in one line, for an unknown name.

    files: by name. kind: what they are, for the message.
    """
    if not is_name(source):
        return source
    if source not in files:
        hint = nearest(source, files)
        raise ValueError(f"{source} is not {kind} of this package; {hint or 'known: ' + ', '.join(files)}")
    return str(files[source])


def known(source: str | None, files: Mapping[str, Path] = FILES) -> str | None:
    """The name of the file of ours that a source is, given by its name or its path. None for any other source."""
    if not source or is_name(source):
        return source if source in files else None
    path = Path(source).resolve()
    return next((name for name, file in files.items() if file == path), None)
