"""The host's evaluation metrics, by the row that a response belongs to.

The host looks up the data set of a response by its prompt: a prompt that is in two evaluation sets counts for the last one only. Ours
hands it the number of the row in place of the prompt.
"""

import copy
from collections.abc import Iterable, Sequence

from openrlhf.trainer import ppo_trainer
from openrlhf.trainer.ppo_utils.experience import Experience

host_metrics = ppo_trainer.compute_eval_metrics


def compute_eval_metrics(eval_dataloader: Iterable[tuple], samples_list: Sequence[Experience], n_samples: int) -> dict:
    """As the host's. samples_list: the n_samples responses to a row one after the other, each with the place of its row as `index`."""
    rows: list[tuple] = []
    for sources, _prompts, labels, images in eval_dataloader:
        rows.append((sources, [str(len(rows) + i) for i in range(len(sources))], labels, images))
    return host_metrics(rows, [_by_row(sample) for sample in samples_list], n_samples)


def _by_row(sample: Experience) -> Experience:
    renamed = copy.copy(sample)
    renamed.prompts = [str(sample.index[0])]
    return renamed
