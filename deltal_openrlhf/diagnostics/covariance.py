"""Tests whether the gradients of two responses are independent: the mean correlation <g_i, g_j> / (|g_i| |g_j|) of pairs, with jackknife
intervals.

The paper's variance formula (arXiv 2509.07558) adds the variances of responses, which needs uncorrelated pairs. Responses to one prompt
share it, and with an advantage also its baseline. Gradients are not centred. Responses to different prompts are independent, and still have
<g_i, g_j> = |E g|^2 > 0 on average. So dependence is the excess of pairs of one prompt over pairs of different prompts.
"""

import numpy as np

from deltal_openrlhf.statistics.jackknife import leave_one_out


def correlations(gram: np.ndarray, groups: np.ndarray) -> dict:
    """COV of findings.json. gram: [m, m], <g_i, g_j>. groups: int [m], prompt ids 0..P-1; not every prompt needs a response.

    Gradients of 0 have no direction and are left out. The mean over pairs of responses of one prompt (`within`), of different prompts
    (`between`), and within - between (`excess`); 95 % intervals from leaving out one prompt at a time; resolved: the interval excludes 0.
    """
    square = np.diagonal(gram)
    used = square > 0
    prompts, ids = np.unique(groups[used], return_inverse=True)
    member = np.zeros((len(prompts), len(ids)))
    member[ids, np.arange(len(ids))] = 1 / np.sqrt(square[used])
    products = member @ gram[np.ix_(used, used)] @ member.T  # [P, P], sums of correlations over pairs
    count = np.bincount(ids, minlength=len(prompts)).astype(np.float64)
    pairs_within, pairs_between = count * (count - 1), count * (count.sum() - count)
    of_prompt = np.diagonal(products)
    within = _means(of_prompt - count, pairs_within, times=1)
    between = _means(products.sum(axis=1) - of_prompt, pairs_between, times=2)
    return {
        "within": leave_one_out(within).as_json(),
        "between": leave_one_out(between).as_json(),
        "excess": leave_one_out(within - between).as_json(),
        "pairs_within": int(pairs_within.sum()) // 2,
        "pairs_between": int(pairs_between.sum()) // 2,
    }


def _means(sums: np.ndarray, pairs: np.ndarray, times: int) -> np.ndarray:
    """[1 + P]: the mean over all pairs, and without each prompt; nan where there is none. sums, pairs: [P], of each prompt's pairs.

    times: how often a pair of the prompt is in the sums over prompts; a pair of two prompts is in both.
    """
    left = np.concatenate([[pairs.sum()], pairs.sum() - times * pairs])
    total = np.concatenate([[sums.sum()], sums.sum() - times * sums])
    return np.divide(total, left, out=np.full(len(left), np.nan), where=left > 0)
