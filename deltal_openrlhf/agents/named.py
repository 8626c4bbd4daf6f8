"""Our agent files by name, wherever the package is installed: `--train.agent_func_path deltal:countdown-calculator`."""

from pathlib import Path

from deltal_openrlhf.rewards import named
from deltal_openrlhf.rewards.named import PREFIX

COUNTDOWN_CALCULATOR = f"{PREFIX}countdown-calculator"
FILES = {COUNTDOWN_CALCULATOR: Path(__file__).resolve().with_name("countdown_calculator.py")}


def located(source: str) -> str:
    """As rewards.named.located, for agents."""
    return named.located(source, FILES, "an agent")


def known(source: str | None) -> str | None:
    """As rewards.named.known, for agents."""
    return named.known(source, FILES)
