"""The control of the quick start: a reward that has nothing to do with the answer, for --shuffle_rewards.

Same host interface as rewards/countdown_reward.py. A response is rewarded with the chance that its label names, so that
the mean is that of the true reward at the start. Equal responses to a prompt are rewarded independently. If they shared
one reward, advantages that are divided by their standard deviation would have a mean below 0 for a frequent text and
above 0 for a rare one.
"""

import hashlib
import json
import threading
from collections import Counter

import torch

_seen: Counter[str] = Counter()
"""How often each query was rewarded in this process."""
_lock = threading.Lock()  # the host asks from several threads


def chance_label(label: str, chance: float) -> str:
    """A problem's label with the chance of a reward, 0 to 1."""
    return json.dumps({"label": label, "chance": chance})


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses, float32 [n]: 1 with the label's chance, else 0, anew each time that a query comes."""
    chances = [json.loads(text)["chance"] for text in labels]
    rewards = torch.tensor(
        [float(_uniform(query, _times(query)) < c) for query, c in zip(queries, chances, strict=True)]
    )
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def _times(query: str) -> int:
    """How often the query was asked for before."""
    with _lock:
        _seen[query] += 1
        return _seen[query] - 1


def _uniform(text: str, times: int) -> float:
    """A number from 0 to 1 that depends on both alone."""
    return int.from_bytes(hashlib.sha256(text.encode() + bytes(times)).digest()[:8], "big") / 2**64
