"""The control of the quick start: a reward that has nothing to do with the answer, for --shuffle_rewards.

Same host interface as rewards/countdown_reward.py. A response is rewarded with the chance that its label names, by a hash of its text, so
that the mean is that of the true reward at the start, and nothing can be learned from it about the task.
"""

import hashlib
import json

import torch


def chance_label(label: str, chance: float) -> str:
    """A problem's label with the chance of a reward, 0 to 1."""
    return json.dumps({"label": label, "chance": chance})


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses, float32 [n]: 1 with the label's chance, else 0. The same query always gets the same reward."""
    chances = [json.loads(text)["chance"] for text in labels]
    rewards = torch.tensor([float(_uniform(query) < c) for query, c in zip(queries, chances, strict=True)])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def _uniform(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
