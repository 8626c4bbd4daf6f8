"""The modes of aggregation, their scopes, and the allowed values of alpha and M. Needs no torch: command lines read it first."""

import argparse
import math
import re

MODES = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm", "deltal", "prompt-mean", "balanced")
"""The modes of aggregation; aggregation.py has the table of their weights."""
PROMPT_MODES = ("prompt-mean", "balanced")
"""Their weights need to know which responses belong to one prompt."""
MODES_WITH_M = ("seq-mean-token-sum-norm", "deltal")
"""Their weights are divided by M."""
AUTO = "auto"
"""An --alpha that follows the responses (statistics/adaptive_alpha.py)."""
PAPERS_NAMES = {
    "dapo": "token-mean",
    "grpo": "seq-mean-token-mean",
    "drgrpo": "seq-mean-token-sum-norm",
    "deltal": "deltal",
    "∆l": "deltal",  # the increment
    "δl": "deltal",  # the letter
    "scalerl": "prompt-mean",
    "ba": "balanced",
    "balancedaggregation": "balanced",
}
"""What papers call them, in small letters, without spaces, hyphens and "norm"."""
SCOPES = ("step", "rollout", "group")
"""What `deltal` normalises over; aggregation.py has the list of their meaning."""


def mode(name: str) -> str:
    """A value of --loss_agg, for argparse, which checks it against MODES. Raises ArgumentTypeError for a paper's name, with ours."""
    if name not in MODES and (meant := PAPERS_NAMES.get(re.sub(r"[-_. ]|norm$", "", name.lower()))):
        raise argparse.ArgumentTypeError(f"{name} is called {meant} here")
    return name


def alpha(text: str) -> float | str:
    """A value of --alpha, for argparse: a number, or AUTO. settings.py checks the number."""
    try:
        return text if text == AUTO else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it is {text!r}, allowed are a number from 0 to 1, and {AUTO}") from None


def check_alpha(alpha: float | None) -> float:
    """Return alpha as a float, or raise ValueError unless 0 <= alpha <= 1."""
    if alpha is None or isinstance(alpha, str) or not math.isfinite(alpha) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, allowed is a number from 0 to 1")
    return float(alpha)


def check_max_length(max_length: float | None) -> float:
    """Return M as a float, or raise ValueError unless it is a finite number above 0."""
    if max_length is None or isinstance(max_length, str) or not math.isfinite(max_length) or max_length <= 0:
        raise ValueError(f"max_length (M) is {max_length}, allowed is a finite number above 0")
    return float(max_length)
