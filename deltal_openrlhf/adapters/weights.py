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
        advantages: [num_responses]; only their signs matter, and only to `balanced`. Those of `response_signs` will do.

    Returns:
        float64 [num_responses].

    Raises:
        ValueError: `balanced` and an advantage that is NaN.
    """
    if aggregation.mode == "balanced" and bool(advantages.isnan().any()):
        raise ValueError(
            "the tokens of a response have advantages of different signs, or NaN; balanced needs one sign for a response"
        )
    means = aggregation.scope_means(lengths, groups, advantages)
    x = torch.zeros(lengths.shape, dtype=torch.float64, device=lengths.device)
    for rows in steps:
        x[rows] = aggregation.weights(lengths[rows], scope_means=None if means is None else means[rows])
    return x


def response_signs(advantages: Tensor, mask: Tensor) -> Tensor:
    """The sign of the advantage that a response's trained tokens share.

    Args:
        advantages: [num_responses, num_tokens].
        mask: the same shape, 1 or True where a token is trained on.

    Returns:
        [num_responses], in the dtype of the advantages; 0 without a trained token, NaN where the signs differ. As a value it reaches all
        ranks, which then end with the same error.
    """
    trained, signs = mask.bool(), advantages.sign()
    lowest, highest = torch.where(trained, signs, 1).amin(-1), torch.where(trained, signs, -1).amax(-1)
    return torch.where(trained.any(-1), torch.where(lowest == highest, highest, torch.nan), 0)


def numbered(names: Sequence[object]) -> Tensor:
    """[len(names)], equal numbers for equal names: prompt ids where a trainer has strings."""
    numbers: dict[object, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])
