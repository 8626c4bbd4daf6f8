"""The weights of every optimizer step of a rollout batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deltal_openrlhf.aggregation import Aggregation


def rollout_weights(
    aggregation: Aggregation, lengths: Tensor, steps: Sequence[Tensor], *, groups: Tensor, advantages: Tensor
) -> Tensor:
    """x_i of all responses of a rollout batch, for every scope.

    Args:
        lengths: [num_responses], trained tokens.
        steps: for each optimizer step the rows of its responses, over all ranks. A row in no step gets the weight 0.
        groups: [num_responses] prompt ids.
        advantages: [num_responses]; only their signs matter, and only to `balanced`. Those of `response_signs` (aggregation.py) will do:
            its NaN for different signs reaches all ranks as a value, and all of them end with the same error.

    Returns:
        float64 [num_responses].

    Raises:
        ValueError: `balanced` and an advantage that is NaN.
    """
    means = aggregation.scope_means(lengths, groups, advantages)
    x = torch.zeros(lengths.shape, dtype=torch.float64, device=lengths.device)
    for rows in steps:
        x[rows] = aggregation.weights(lengths[rows], scope_means=None if means is None else means[rows])
    return x


def numbered(names: Sequence[object]) -> Tensor:
    """[len(names)], equal numbers for equal names: prompt ids where a trainer has strings."""
    numbers: dict[object, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])
