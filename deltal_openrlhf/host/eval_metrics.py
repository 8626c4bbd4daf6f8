"""The host's evaluation metrics, computed by the row that a response belongs to.

The host finds the data set of a response by its prompt, so a prompt in two evaluation sets counts for the last one only. This module passes
the number of the row in place of the prompt. It adds the 95 % interval of each set's mean reward.
"""

import copy
from collections.abc import Iterable, Sequence

import numpy as np
from openrlhf.trainer import ppo_trainer
from openrlhf.trainer.ppo_utils.experience import Experience

from deltal_openrlhf.statistics import bootstrap

host_metrics = ppo_trainer.compute_eval_metrics


def compute_eval_metrics(eval_dataloader: Iterable[tuple], samples_list: Sequence[Experience], n_samples: int) -> dict:
    """Compute the host's metrics, with eval_SET_pass1_low and _high from a percentile bootstrap over the rows of a set.

    samples_list: the n_samples responses to a row follow one another, each with the place of its row as `index`.
    """
    rows: list[tuple] = []
    for sources, _prompts, labels, images in eval_dataloader:
        rows.append((sources, [str(len(rows) + i) for i in range(len(sources))], labels, images))
    metrics = host_metrics(rows, [_by_row(sample) for sample in samples_list], n_samples)
    return metrics | (
        _intervals([source for sources, *_ in rows for source in sources], samples_list) if metrics else {}
    )


def _intervals(sources: Sequence[str], samples_list: Sequence[Experience]) -> dict[str, float | None]:
    """sources: data set of each row."""
    rewards: dict[int, list[float]] = {}
    for sample in samples_list:
        rewards.setdefault(int(sample.index[0]), []).append(float(sample.rewards))
    found: dict[str, float | None] = {}
    for source in dict.fromkeys(sources):
        means = [np.mean(of_row) for row, of_row in rewards.items() if sources[row] == source]
        if means:
            estimate = bootstrap.mean(np.array(means))
            found |= {f"eval_{source}_pass1_low": estimate.low, f"eval_{source}_pass1_high": estimate.high}
    return found


def _by_row(sample: Experience) -> Experience:
    renamed = copy.copy(sample)
    renamed.prompts = [str(sample.index[0])]
    return renamed
