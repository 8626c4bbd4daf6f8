"""The control of the quick start: a fair coin for every response, for --shuffle_rewards.

Same host interface as rewards/countdown_reward.py. Advantages and their negatives are then equally likely. Two other
rewards that know nothing of the answer do move a model:

- One reward for equal responses to a prompt. After the division by the standard deviation, a frequent text has a mean
  advantage below 0, and a rare one above.
- A chance other than one half. Advantages of the rarer reward are larger, and Adam shrinks what is large and rare.
"""

import hashlib
import threading
from collections import Counter

import torch

_seen: Counter[str] = Counter()
"""How often each query was rewarded in this process."""
_lock = threading.Lock()  # the host asks from several threads


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses, float32 [n]: 1 or 0, anew each time that a query comes. They are the same in every process."""
    rewards = torch.tensor([_coin(query) for query in queries])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def _coin(query: str) -> float:
    with _lock:
        earlier = _seen[query]
        _seen[query] += 1
    return float(hashlib.sha256(query.encode() + bytes(earlier)).digest()[0] < 128)
