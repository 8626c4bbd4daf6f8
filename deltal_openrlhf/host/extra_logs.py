"""`extra_logs` of a reward function, a service or an agent, which the host takes for numbers that all responses have."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

from deltal_openrlhf.runs import metric_names

RESERVED = frozenset((*metric_names.TRAINING, "dynamic_filtering_pass_rate", "generated_samples"))
"""Metrics of the host, which a log of the same name would replace without a word."""
RESERVED_PREFIXES = ("deltal", "rollout/", "timing/", "_")


def loggable(given: Any) -> tuple[dict[str, float], dict[str, str]]:
    """What of a response's extra_logs is a number, and by key why the rest is none."""
    if given is None:
        return {}, {}
    if not isinstance(given, dict):
        return {}, {"": f"extra_logs is {str(given)[:80]!r}, allowed are names with numbers"}
    logs, faults = {}, {}
    for key, value in given.items():
        number = _number(value)
        if not isinstance(key, str) or key in RESERVED or key.startswith(RESERVED_PREFIXES):
            faults[str(key)] = f"extra_logs has the key {key!r}, which is no name of its own"
        elif number is None:
            faults[key] = f"extra_logs {key!r} is {str(value)[:80]!r}, allowed is one finite number"
        else:
            logs[key] = number
    return logs, faults


def _number(value: Any) -> float | None:
    """A finite number, also where it is alone in a list or tensor: reward functions answer for a batch of one."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last for several elements
        return None
    return number if math.isfinite(number) else None


def take_uneven(samples: Sequence[Experience]) -> dict[str, float]:
    """Take the logs that only some of these responses have out of their `info`, and return their means over those that have them.

    The host makes batches by the keys of their first response: it drops other keys, or ends with a KeyError.
    """
    keys = [sample.info.keys() for sample in samples]
    uneven = set().union(*keys) - set(keys[0]).intersection(*keys)
    return {
        key: torch.cat([s.info.pop(key).flatten().float() for s in samples if key in s.info]).mean().item()
        for key in sorted(uneven)
    }
