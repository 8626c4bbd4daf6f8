"""Are the gradients of two responses independent? Mean correlation <g_i, g_j> / (|g_i| |g_j|) of pairs, with jackknife intervals.

The paper's variance formula (arXiv 2509.07558) adds the variances of responses, which needs pairs of them to be uncorrelated. Responses
to one prompt share it, and with an advantage also its baseline.
"""

import math

import numpy as np

from deltal_openrlhf.diagnostics.jackknife import Estimate, Z, estimate, undefined


def correlations(gram: np.ndarray, groups: np.ndarray) -> dict:
    """COV of findings.json. gram: [m, m], <g_i, g_j>. groups: int [m], prompt ids 0..P-1; not every prompt needs a response.

    Gradients of 0 have no direction and are left out. The mean over pairs of responses of one prompt (`within`) and of different
    prompts (`between`); 95 % intervals from leaving out one prompt at a time; resolved: the interval excludes 0.
    """
    square = np.diagonal(gram)
    used = square > 0
    prompts, ids = np.unique(groups[used], return_inverse=True)
    member = np.zeros((len(prompts), len(ids)))
    member[ids, np.arange(len(ids))] = 1 / np.sqrt(square[used])
    products = member @ gram[np.ix_(used, used)] @ member.T  # [P, P], sums of correlations over pairs
    count = np.bincount(ids, minlength=len(prompts)).astype(np.float64)
    within, pairs_within = np.diagonal(products) - count, count * (count - 1)
    between = products.sum(axis=1) - np.diagonal(products)
    pairs_between = count * (count.sum() - count)
    return {
        "within": _mean(within.sum(), pairs_within.sum(), within, pairs_within),
        "between": _mean(between.sum(), pairs_between.sum(), 2 * between, 2 * pairs_between),
        "pairs_within": int(pairs_within.sum()) // 2,
        "pairs_between": int(pairs_between.sum()) // 2,
    }


def _mean(total: float, pairs: float, of_prompt: np.ndarray, pairs_of_prompt: np.ndarray) -> Estimate:
    """total / pairs; of_prompt, pairs_of_prompt: [P], what leaving out a prompt takes away from them."""
    left = pairs - pairs_of_prompt
    if pairs == 0 or len(left) < 3 or left.min() <= 0:
        return undefined()
    value = total / pairs
    replicates = (total - of_prompt) / left
    half = Z * math.sqrt((len(left) - 1) * replicates.var())
    return estimate(value, value - half, value + half, resolved=abs(value) > half)
