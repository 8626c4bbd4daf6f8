"""Advantages from outcome rewards, one per response, as a training run would compute them.

group_norm, dr_grpo and rloo are the host's estimators of those names (openrlhf/trainer/ppo_utils/experience_maker.py,
compute_advantages_and_returns). They apply to rewards of whole responses, without a KL penalty and with gamma = 1. opo is the
length-weighted baseline of arXiv 2505.23585. It is a comparison and not an estimator of the host.
"""

import numpy as np

ESTIMATORS = ("group_norm", "dr_grpo", "rloo")


def advantages(rewards: np.ndarray, lengths: np.ndarray, *, estimator: str) -> np.ndarray:
    """A_i of every response from the rewards of its group.

        group_norm  (r - mean) / (std + 1e-9), std with n - 1
        dr_grpo     r - mean
        rloo        r - mean of the other responses
        opo         r - sum_j L_j r_j / sum_j L_j

    Args:
        rewards: [prompts, n], any real dtype.
        lengths: [prompts, n], trained tokens; used by opo only.
        estimator: one of ESTIMATORS, or "opo".

    Returns:
        float64 [prompts, n]. A group of equal rewards has exactly 0 everywhere.

    Raises:
        ValueError: unknown estimator; fewer than two responses to a prompt.
    """
    if estimator not in (*ESTIMATORS, "opo"):
        raise ValueError(f"advantage is {estimator!r}, allowed are {', '.join(ESTIMATORS)}")
    n = rewards.shape[1]
    if n < 2:
        raise ValueError(f"a prompt has {n} response, a baseline needs at least 2 (--n_samples_per_prompt)")
    r = rewards.astype(np.float64)
    signal = r.max(axis=1, keepdims=True) > r.min(axis=1, keepdims=True)  # rounding in the mean must not make one up
    if estimator == "opo":
        total = lengths.sum(axis=1, keepdims=True)
        centred = r - (lengths * r).sum(axis=1, keepdims=True) / np.maximum(total, 1)
    else:
        centred = r - r.mean(axis=1, keepdims=True)
    if estimator == "group_norm":
        centred = centred / (r.std(axis=1, ddof=1, keepdims=True) + 1e-9)
    elif estimator == "rloo":
        centred = centred * (n / (n - 1))
    return np.where(signal, centred, 0.0)
