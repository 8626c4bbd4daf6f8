"""The lengths of a sample's responses: how many there are of each, and their mean rewards."""

from dataclasses import replace

import numpy as np

from deltal_openrlhf.diagnostics.variance import length_bins
from deltal_openrlhf.statistics.jackknife import leave_one_out

BARS = 24


def histogram(lengths: np.ndarray, truncated: np.ndarray) -> dict:
    """The entry `lengths` of findings.json: equal bars of whole tokens. lengths: int [N]. truncated: bool [N].

    edges: [bars + 1], in tokens; a bar holds its lower edge and not its upper one. finished, truncated: [bars], counts of responses.
    """
    first, last = int(lengths.min()), int(lengths.max())
    width = -(-(last - first + 1) // BARS)
    edges = np.arange(first, last + width + 1, width)
    return {
        "edges": edges.tolist(),
        "finished": np.histogram(lengths[~truncated], edges)[0].tolist(),
        "truncated": np.histogram(lengths[truncated], edges)[0].tolist(),
    }


def rewards_by_length(lengths: np.ndarray, rewards: np.ndarray, groups: np.ndarray) -> list[dict]:
    """The entry `rewards_by_length` of findings.json: the mean reward in bins of about equal count. All arguments: [N].

    The 95 % interval is a jackknife that leaves out one prompt at a time. resolved: it exists, which needs three prompts in the bin.
    """
    found = []
    for members in length_bins(lengths):
        prompts, ids = np.unique(groups[members], return_inverse=True)
        count = np.bincount(ids).astype(np.float64)
        total = np.bincount(ids, weights=rewards[members])
        left = len(members) - count
        without = np.divide(total.sum() - total, left, out=np.full(len(prompts), np.nan), where=left > 0)
        mean = leave_one_out(np.concatenate([[rewards[members].mean()], without]))
        found.append(
            {
                "length": float(lengths[members].mean()),
                "from": float(lengths[members].min()),
                "to": float(lengths[members].max()),
                "responses": len(members),
                "prompts": len(prompts),
                "reward": replace(mean, resolved=mean.value is not None).as_json(),
            }
        )
    return found
