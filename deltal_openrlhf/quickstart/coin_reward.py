"""The control of the quick start: a fair coin for every response, for --shuffle_rewards.

Same host interface as rewards/countdown_reward.py. Every response gets a coin of its own. If equal responses shared one, with a chance
below one half, a frequent text would have a mean advantage below 0 after the division by the standard deviation. The coin is fair, so that
advantages and their negatives are equally likely.
"""

import hashlib
import threading
from collections import Counter

import torch

_seen: Counter[str] = Counter()
"""How often each query was rewarded in this process. The quick start has one engine, so one process asks. A resumed run counts from 0."""
_lock = threading.Lock()  # the host asks from several threads


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses, float32 [n]: 1 or 0, by a hash of the query and of how often it came before."""
    rewards = torch.tensor([_coin(query) for query in queries])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def _coin(query: str) -> float:
    with _lock:
        earlier = _seen[query]
        _seen[query] += 1
    return float(hashlib.sha256(query.encode() + bytes(earlier)).digest()[0] < 128)
