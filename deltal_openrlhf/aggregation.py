"""Loss aggregation for policy gradients over responses of different length.

One optimizer step trains on responses i = 1..n with action masks m[i, t], lengths L_i = sum_t m[i, t] and per-token losses
l[i, t]. V is the set of responses with L_i > 0, N = |V| and S_i = sum_t m[i, t] l[i, t]. Every mode here is

    loss = sum over i in V of x_i S_i

and they differ only in the weights x_i:

    token-mean               x_i = 1 / sum_j L_j                       DAPO
    seq-mean-token-mean      x_i = 1 / (N L_i)                         GRPO
    seq-mean-token-sum-norm  x_i = 1 / (N M)                           Dr. GRPO
    deltal                   x_i = (1/M) L_i^-alpha / sum_j L_j^-alpha  ∆L normalization, arXiv 2509.07558
    prompt-mean              x_i = 1 / (P T_p)                         ScaleRL, arXiv 2510.13786
    balanced                 x_i = n_ps / (P n_p T_ps)                 Balanced Aggregation, arXiv 2605.04077

M > 0 is a constant length that never depends on the batch. In `deltal`, alpha = 0 is `seq-mean-token-sum-norm`; alpha = 1 points in
the direction of `seq-mean-token-mean`. The variance of S_i's gradient grows about in proportion to L_i, and alpha trades that
variance (alpha = 1 has the least) against keeping long responses in the sum.

Over what `deltal` normalises is its scope. With w_j = L_j^-alpha every scope is x_i = (w_i / mean of w over scope(i)) / (M N):

    step     the responses of this optimizer step: the formula above, and sum_i x_i = 1/M in every step
    rollout  all valid responses of the rollout batch, which is what the authors' code does
    group    the valid responses to the same prompt in the rollout batch

The last two look at prompts. P is the number of prompts, n_p that of the responses to i's prompt, and T_p their tokens; n_ps and T_ps
count only those whose advantage has the sign of i's: positive, negative or 0. These are formulas of a whole rollout batch. In an optimizer
step with N of its R responses, x_i is R / N times as large, so the mean over the steps is the formula's.

A response that a filter removed enters with length 0: it takes no weight and is not counted in N. Nor is a prompt without any other.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from deltal_openrlhf.modes import MODES, MODES_WITH_M, PROMPT_MODES, SCOPES, check_alpha, check_max_length


def length_powers(lengths: Tensor, alpha: float) -> Tensor:
    """w_i = L_i^-alpha in float64, 0 where L_i = 0. lengths: [num_responses], any dtype, in tokens."""
    exact = lengths.to(torch.float64)
    return torch.where(exact > 0, exact.clamp(min=1).pow(-check_alpha(alpha)), 0.0)


def scope_means(lengths: Tensor | Sequence[float], groups: Sequence[int] | Tensor | None, *, alpha: float) -> Tensor:
    """Mean of w_j = L_j^-alpha over the valid responses of each response's scope.

    Args:
        lengths: [num_responses] of the whole rollout batch, 0 for filtered ones.
        groups: [num_responses] prompt ids for the scope `group`, None for the scope `rollout`.
        alpha: exponent in [0, 1].

    Returns:
        float64 [num_responses]; 0 for a scope without any valid response.
    """
    w = length_powers(torch.as_tensor(lengths), alpha)
    ids = torch.zeros(len(w), dtype=torch.long, device=w.device) if groups is None else _ids("groups", groups, w)
    return _sums(w, ids) / _sums((w > 0).to(w.dtype), ids).clamp(min=1)


def prompt_means(
    lengths: Tensor | Sequence[float],
    groups: Sequence[int] | Tensor,
    advantages: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """1 / (R x_i) of `prompt-mean`, or with advantages of `balanced`, in tokens. x_i is the weight in a rollout batch of R valid responses.

    If all prompts have equally many valid responses, this is the mean length of those to the same prompt, with the same sign.

    Args:
        lengths: [num_responses] of the whole rollout batch, 0 for filtered ones.
        groups: [num_responses] prompt ids.
        advantages: [num_responses], only their signs matter.

    Returns:
        float64 [num_responses]; 0 for a response without a trained token.

    Raises:
        ValueError: an advantage is NaN, as `response_signs` gives it for tokens of different signs.
    """
    exact = torch.as_tensor(lengths).to(torch.float64)
    valid = (exact > 0).to(torch.float64)
    subsets = prompts = _ids("groups", groups, exact)
    if advantages is not None:
        advantages = torch.as_tensor(advantages, device=exact.device)
        if bool(advantages.isnan().any()):
            raise ValueError(
                "the tokens of a response have advantages of different signs, or NaN; balanced needs one sign for a response"
            )
        subsets = 3 * prompts + _ids("advantages", advantages.sign(), exact)
    responses = _sums(valid, prompts).clamp(min=1)
    num_prompts = (valid / responses).sum().round()
    tokens, share = _sums(exact, subsets), _sums(valid, subsets) / responses
    return valid * num_prompts * tokens / share.clamp(min=torch.finfo(torch.float64).tiny) / valid.sum().clamp(min=1)


def response_signs(advantages: Tensor, mask: Tensor) -> Tensor:
    """The sign of the advantage that a response's trained tokens share.

    Args:
        advantages: [num_responses, num_tokens].
        mask: the same shape, 1 or True where a token is trained on.

    Returns:
        [num_responses], in the dtype of the advantages; 0 without a trained token, NaN where the signs differ.
    """
    trained, signs = mask.bool(), advantages.sign()
    lowest, highest = torch.where(trained, signs, 1).amin(-1), torch.where(trained, signs, -1).amax(-1)
    return torch.where(trained.any(-1), torch.where(lowest == highest, highest, torch.nan), 0)


def _ids(name: str, values: Sequence[float] | Tensor, rows: Tensor) -> Tensor:
    """The distinct values numbered from 0. Raises ValueError unless there is one for each row."""
    ids = torch.unique(torch.as_tensor(values, device=rows.device), return_inverse=True)[1]
    if ids.shape != rows.shape:
        raise ValueError(f"{name} has shape {tuple(ids.shape)}, lengths has {tuple(rows.shape)}; they must be the same")
    return ids


def _sums(values: Tensor, ids: Tensor) -> Tensor:
    """For each row the sum over the rows with its id."""
    return values.new_zeros(int(ids.max()) + 1 if len(ids) else 0).index_add(0, ids, values)[ids]


def response_weights(
    lengths: Tensor | Sequence[float],
    *,
    mode: str,
    alpha: float | None = None,
    max_length: float | None = None,
    scope_means: Tensor | None = None,
) -> Tensor:
    """The weights x_i of one optimizer step (the formulas above).

    Args:
        lengths: [num_responses], trained tokens of every response of the step, over all micro batches and data-parallel ranks;
            0 for an empty or filtered response. Any real dtype.
        mode: one of MODES.
        alpha: exponent in [0, 1]; needed by `deltal`.
        max_length: M > 0 in tokens; needed by `deltal` and `seq-mean-token-sum-norm`.
        scope_means: [num_responses], the mean of w = L^-alpha over each response's scope (from `scope_means`), for the scopes
            rollout and group of `deltal`; None is the scope step. `prompt-mean` and `balanced` need those of `prompt_means`.

    Returns:
        float64 [num_responses] on the device of `lengths`; 0 for zero-length rows, and all 0 when every row is.

    Raises:
        ValueError: unknown mode, alpha outside [0, 1], M <= 0, a negative or non-finite length, scope_means that do not fit.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, allowed are {', '.join(MODES)}")
    lengths = torch.as_tensor(lengths)
    if lengths.dim() != 1:
        raise ValueError(f"lengths has shape {tuple(lengths.shape)}, allowed is [num_responses]")
    if scope_means is not None and mode not in ("deltal", *PROMPT_MODES):
        raise ValueError(
            f"scope_means was given with mode {mode}, it is allowed with deltal, {' and '.join(PROMPT_MODES)}"
        )
    if scope_means is None and mode in PROMPT_MODES:
        raise ValueError(f"scope_means is None, mode {mode} needs what prompt_means gives")
    exact = lengths.to(torch.float64)
    if not bool((torch.isfinite(exact) & (exact >= 0)).all()):
        raise ValueError("lengths holds a negative or non-finite value, allowed are token counts of 0 and more")
    valid = exact > 0
    num_valid = valid.sum().clamp(min=1).to(torch.float64)

    if mode == "token-mean":
        return valid / exact.sum().clamp(min=1)
    if mode == "seq-mean-token-mean":
        return torch.where(valid, 1 / (num_valid * exact.clamp(min=1)), 0.0)
    big_m = check_max_length(max_length) if mode in MODES_WITH_M else 1.0
    if mode == "seq-mean-token-sum-norm":
        return valid / (num_valid * big_m)
    w = length_powers(exact, check_alpha(alpha)) if mode == "deltal" else valid.to(torch.float64)
    if scope_means is None:
        return w / (w.sum() + (~valid.any()).to(torch.float64)) / big_m
    means = scope_means.to(device=w.device, dtype=torch.float64)
    if means.shape != w.shape:
        raise ValueError(
            f"scope_means has shape {tuple(means.shape)}, lengths has {tuple(w.shape)}; they must be the same"
        )
    if not bool((means[valid] > 0).all()):
        raise ValueError("scope_means holds a value that is not above 0 for a response that has trained tokens")
    return torch.where(valid, w / means.clamp(min=torch.finfo(torch.float64).tiny), 0.0) / (big_m * num_valid)


@dataclass(frozen=True)
class Aggregation:
    """A mode with its constants; gives the weights of whole batches (the formulas above).

    Attributes:
        mode: one of MODES.
        alpha: exponent in [0, 1], for `deltal` only, which needs it.
        scope: one of SCOPES, for `deltal` only; None is step there.
        max_length: M > 0 in tokens; the MODES_WITH_M need it, the other modes do not use it.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """

    mode: str
    _: KW_ONLY
    alpha: float | None = None
    scope: str | None = None
    max_length: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}, allowed are {', '.join(MODES)}")
        for name, value in (("alpha", self.alpha), ("scope", self.scope)):
            if value is not None and self.mode != "deltal":
                raise ValueError(f"{name} is {value}, but mode is {self.mode}; it is allowed with deltal only")
        if self.mode == "deltal":
            check_alpha(self.alpha)
            if self.scope not in (None, *SCOPES):
                raise ValueError(f"scope is {self.scope!r}, allowed are {', '.join(SCOPES)}")
        if self.mode in MODES_WITH_M or self.max_length is not None:
            check_max_length(self.max_length)

    @property
    def spans_steps(self) -> bool:
        """Whether the weights of an optimizer step depend on responses of other steps: the scopes rollout and group, and PROMPT_MODES."""
        return self.scope in ("rollout", "group") or self.mode in PROMPT_MODES

    def scope_means(
        self,
        lengths: Tensor | Sequence[float],
        groups: Sequence[int] | Tensor | None = None,
        advantages: Sequence[float] | Tensor | None = None,
    ) -> Tensor | None:
        """What the weights are divided by, of a whole rollout batch: `scope_means` or `prompt_means`.

        Args:
            lengths: [num_responses], tokens.
            groups: [num_responses] prompt ids; the scope `group` and the PROMPT_MODES need them, the others do not use them.
            advantages: [num_responses]; `balanced` needs their signs, the others do not use them.

        Returns:
            float64 [num_responses]; None unless `spans_steps`.
        """
        if not self.spans_steps:
            return None
        if self.scope == "rollout":
            return scope_means(lengths, None, alpha=check_alpha(self.alpha))
        if groups is None:
            what = f"mode {self.mode}" if self.scope is None else f"scope {self.scope}"
            raise ValueError(f"groups is None, the {what} needs the prompt id of every response")
        if self.scope == "group":
            return scope_means(lengths, groups, alpha=check_alpha(self.alpha))
        if self.mode == "prompt-mean":
            return prompt_means(lengths, groups)
        if advantages is None:
            raise ValueError("advantages is None, the mode balanced needs the advantage of every response")
        return prompt_means(lengths, groups, advantages)

    def weights(
        self,
        lengths: Tensor | Sequence[float],
        groups: Sequence[int] | Tensor | None = None,
        *,
        advantages: Sequence[float] | Tensor | None = None,
        scope_means: Tensor | None = None,
    ) -> Tensor:
        """The weights x_i of one optimizer step.

        Args:
            lengths: [num_responses], tokens; 0 for an empty or filtered response.
            groups, advantages: as in `scope_means`.
            scope_means: what `scope_means` gave for these responses out of a larger rollout batch; without it the step is the whole
                rollout batch.

        Returns:
            float64 [num_responses].

        Raises:
            ValueError: as `response_weights`, and for scope_means that the scope does not use.
        """
        if scope_means is None:
            scope_means = self.scope_means(lengths, groups, advantages)
        elif not self.spans_steps:
            raise ValueError(
                f"scope_means was given with mode {self.mode} and scope {self.scope}, which take only the step's own lengths"
            )
        return response_weights(
            lengths, mode=self.mode, alpha=self.alpha, max_length=self.max_length, scope_means=scope_means
        )


def aggregate(token_losses: Tensor, action_mask: Tensor, weights: Tensor) -> Tensor:
    """loss = sum_i x_i S_i, a scalar.

    Args:
        token_losses: [num_responses, num_tokens], any floating dtype. Values outside the mask never matter, NaN and inf included.
        action_mask: [num_responses, num_tokens], 1 or True where a token is trained on.
        weights: [num_responses], x_i from `response_weights`, of these rows: a micro batch takes its part of the step's weights. A row of
            weight 0 takes no part either.

    Returns:
        The loss in the dtype of token_losses; 0 when nothing is left, and connected to the graph of token_losses even then.

    Raises:
        ValueError: shapes that do not fit, which torch would broadcast to a wrong loss.
    """
    if token_losses.dim() != 2 or action_mask.shape != token_losses.shape or weights.shape != token_losses.shape[:1]:
        raise ValueError(
            f"token_losses, action_mask and weights have the shapes {tuple(token_losses.shape)}, {tuple(action_mask.shape)} and "
            f"{tuple(weights.shape)}, allowed are [num_responses, num_tokens] twice and [num_responses]"
        )
    taken = action_mask.bool() & (weights > 0).unsqueeze(-1)
    row_sums = torch.where(taken, token_losses, torch.zeros_like(token_losses)).sum(-1)
    return (row_sums * weights.to(token_losses.dtype)).sum()
