"""What stands in the way of an answer about alpha, told from lengths, rewards and truncation alone, and so before any gradient.

Each obstacle says what was found, what it means and what to do. The decisive ones leave nothing for more responses to resolve.
"""

from math import ceil
from typing import NamedTuple

import numpy as np

from deltal_openrlhf.diagnostics.settings import LEAST_BATCHES
from deltal_openrlhf.reports.numbers import count

ALIKE = 0.98
"""ESS / N of ∆L's weights with alpha 1 from which all aggregations count as one. The cosine of these weights with equal ones is
sqrt(ESS / N), here 0.99. It rises as alpha falls to 0.
"""
MOST, NEARLY_ALL = 0.5, 0.9
DECISIVE = {
    "ends_at_once": "None: the model ends at once, so its lengths say nothing about alpha.",
    "no_signal": "None: without an advantage there is no gradient whose weight alpha could change.",
    "lengths_alike": "Any alpha: all aggregations coincide on these data, and more responses like these would not tell them apart.",
}
"""What the recommendation says in place of a comparison, the first that applies."""


class Obstacle(NamedTuple):
    key: str
    text: str


def find(lengths: np.ndarray, rewards: np.ndarray, truncated: np.ndarray, batch_prompts: int) -> list[Obstacle]:
    """The obstacles, causes first.

    lengths (trained tokens), rewards, truncated: [P, n]. batch_prompts: of one optimizer step.
    """
    found = [_ends_at_once(lengths, truncated), _cut_off(lengths, truncated)]
    signal = rewards.max(axis=1) > rewards.min(axis=1)
    if signal.any():
        found += [_little_signal(rewards, signal), _few_batches(signal, batch_prompts)]
    else:
        found.append(_no_signal(rewards))
    used = lengths[signal] if signal.any() else lengths
    if found[0] is None:
        found.append(_lengths_alike(used[used > 0]))
    return [obstacle for obstacle in found if obstacle is not None]


def ess_share(lengths: np.ndarray) -> float:
    """ESS / N of ∆L's weights with alpha 1, (sum x)^2 / (N sum x^2) with x = 1 / L. lengths: [m], above 0; 1 for none.

    It is the least over alpha from 0 to 1: log ESS is -(K(2 alpha) - 2 K(alpha)) plus a constant, where K(t) = log E L^-t is convex.
    """
    x = 1 / np.asarray(lengths, dtype=np.float64)
    return float(x.sum() ** 2 / (len(x) * (x**2).sum())) if len(x) else 1.0


def _ends_at_once(lengths: np.ndarray, truncated: np.ndarray) -> Obstacle | None:
    short = int(((lengths <= 1) & ~truncated).sum())
    if short < NEARLY_ALL * lengths.size:
        return None
    return Obstacle(
        "ends_at_once",
        f"{short:,} of {lengths.size:,} responses have at most one trained token. The model ends at once instead of answering, so "
        "lengths and gradients say nothing about alpha. Check that the prompts have the form that this model expects, such as its chat "
        "template.",
    )


def _cut_off(lengths: np.ndarray, truncated: np.ndarray) -> Obstacle | None:
    cut = int(truncated.sum())
    if cut <= MOST * truncated.size:
        return None
    return Obstacle(
        "cut_off",
        f"{cut:,} of {truncated.size:,} responses were cut off at the limit (the longest has {count(int(lengths.max()), 'token')}). Their "
        "lengths are the limit's and their rewards those of unfinished answers. Raise --max_new_tokens (in training "
        "--rollout.max_new_tokens), or take a model that finishes.",
    )


def _no_signal(rewards: np.ndarray) -> Obstacle:
    prompts, n = rewards.shape
    constant = rewards.min() == rewards.max()
    value = f"reward {rewards.max():g} everywhere" if constant else f"mean reward {rewards.mean():.3g}"
    return Obstacle(
        "no_signal",
        f"All {n} responses to a prompt have the same reward, for each of {prompts:,} prompts ({value}). Every advantage is 0, so no "
        "aggregation has anything to weight, and only the variance without the advantage is reported. "
        f"{_what_helps(rewards)}",
    )


def _little_signal(rewards: np.ndarray, signal: np.ndarray) -> Obstacle | None:
    prompts, without = len(signal), int((~signal).sum())
    if without < NEARLY_ALL * prompts:
        return None
    left = prompts - without
    return Obstacle(
        "little_signal",
        f"{without:,} of {prompts:,} prompts have responses of one reward only (mean reward {rewards.mean():.3g}). Everything with an "
        f"advantage rests on the other {left:,}. {_what_helps(rewards)}",
    )


def _few_batches(signal: np.ndarray, batch_prompts: int) -> Obstacle | None:
    prompts, with_signal, needed = len(signal), int(signal.sum()), LEAST_BATCHES * batch_prompts
    if with_signal >= needed:
        return None
    smaller = with_signal // LEAST_BATCHES
    or_smaller = f", or --batch_prompts {smaller}" if smaller else ""
    return Obstacle(
        "few_batches",
        f"{with_signal:,} of {prompts:,} prompts have responses of different reward, fewer than the {needed:,} that fill "
        f"{LEAST_BATCHES} batches. Comparisons of the aggregations rest on less than they need. Take --prompts "
        f"{ceil(needed * prompts / with_signal)} or more in the same --out{or_smaller}.",
    )


def _lengths_alike(lengths: np.ndarray) -> Obstacle | None:
    share = ess_share(lengths)
    if share < ALIKE or not len(lengths):
        return None
    p5, p50, p95 = np.percentile(lengths, [5, 50, 95])
    measured = (
        f"all responses have {count(int(p50), 'token')}"
        if lengths.min() == lengths.max()
        else f"5 %, 50 % and 95 % of the responses have up to {p5:g}, {p50:g} and {p95:g} tokens"
    )
    return Obstacle(
        "lengths_alike",
        f"The lengths are too alike for alpha to matter: {measured}. "
        f"∆L's weights have an effective sample size of {share:.3f} N or more for every alpha from 0 to 1, so all aggregations "
        "coincide on these data. Keep yours, or measure on prompts whose answers differ in length.",
    )


def _what_helps(rewards: np.ndarray) -> str:
    """rewards: [P, n]. Whether the prompts are too hard or too easy shows only where rewards lie between 0 and 1."""
    if rewards.min() < 0 or rewards.max() > 1:
        return "Prompts whose responses differ in reward help, or more of them (--prompts), or more responses to each (--n)."
    if rewards.mean() < 0.5:
        return (
            "Easier prompts help, or worked examples in front of each question (deltal data gsm8k --demos 4), more prompts "
            "(--prompts), or more responses to each (--n)."
        )
    return "Harder prompts help, or more of them (--prompts), or more responses to each (--n)."
