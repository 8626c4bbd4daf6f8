"""A few responses for the reader of the report."""

import random
from collections.abc import Sequence
from typing import Any

from deltal_openrlhf.runs.rollouts import Rollout

OF_EACH_KIND = 3
SHOWN_CHARS = 1200
"""Characters of a longer text that are kept, half from its beginning and half from its end."""


def excerpts(rollouts: Sequence[Rollout], seed: int) -> list[dict[str, Any]]:
    """The entry `responses` of findings.json: up to OF_EACH_KIND responses of the highest and of the lowest reward, drawn by the seed.

    prompt and response are texts, cut to SHOWN_CHARS; response is None where the file of rollouts holds no text.
    """
    rewards = sorted({rollout.reward for rollout in rollouts})
    found = []
    for reward in dict.fromkeys((rewards[-1], rewards[0])):
        of_kind = [rollout for rollout in rollouts if rollout.reward == reward]
        found += random.Random(f"{seed} {reward}").sample(of_kind, min(OF_EACH_KIND, len(of_kind)))
    return [
        {
            "prompt": _shortened(rollout.prompt),
            "response": None if rollout.response is None else _shortened(rollout.response),
            "reward": float(rollout.reward),
            "length": rollout.length,
            "truncated": rollout.truncated,
        }
        for rollout in found
    ]


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written
    left_out = len(text) - SHOWN_CHARS
    if left_out <= 0:
        return text
    half = SHOWN_CHARS // 2
    return f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[-half:]}"
