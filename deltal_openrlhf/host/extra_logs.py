"""The `extra_logs` of a reward function, service or agent. The host assumes that they are numbers and that all responses have them."""

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
    """The numbers among a response's extra_logs, and for every other key why its value is not a number."""
    if given is None:
        return {}, {}
    if not isinstance(given, dict):
        return {}, {"": f"extra_logs is {str(given)[:80]!r}, allowed are names with numbers"}
    logs, faults = {}, {}
    for key, value in given.items():
        number = _number(value)
        if not isinstance(key, str) or key in RESERVED or key.startswith(RESERVED_PREFIXES):
            faults[str(key)] = f"extra_logs has the key {key!r}, which is not a name of its own"
        elif number is None:
            faults[key] = f"extra_logs {key!r} is {str(value)[:80]!r}, allowed is one finite number"
        else:
            logs[key] = number
    return logs, faults


def _number(value: Any) -> float | None:
    """A finite number, also if it is the only element of a list or tensor, because reward functions answer for a batch of one."""
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
    """Remove the logs that only some of these responses have from their `info`. Returns the means over the responses that have them.

    The host builds batches from the keys of their first response. It drops other keys, or ends with a KeyError.
    """
    keys = [sample.info.keys() for sample in samples]
    uneven = set().union(*keys) - set(keys[0]).intersection(*keys)
    return {
        key: torch.cat([s.info.pop(key).flatten().float() for s in samples if key in s.info]).mean().item()
        for key in sorted(uneven)
    }
