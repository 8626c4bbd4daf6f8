"""Log-probabilities of labels, and entropies, from hidden states. The logits of all tokens never exist at once.

    z = hidden @ weight^T / temperature             logits, [num_tokens, vocab]
    log p(v) = z_v - log sum_u exp z_u
    entropy = -sum_v p(v) log p(v)

With a vocabulary of 150k the logits are by far the largest tensor of a step. Here both passes go over chunks of tokens. Forward keeps two
numbers per token: m = max_v z_v (before the temperature) and s = sum_v exp(z_v - m / temperature). Backward computes the logits of each
chunk again, which makes four matrix products instead of three. The rows of `weight` may be split over tensor-parallel ranks.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def chunked_logprobs(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    group: dist.ProcessGroup | None,
    chunk_size: int,
    temperature: float = 1.0,
    entropy: bool = False,
    squares: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of `labels`, and entropies, under softmax(hidden @ weight^T / temperature); differentiable once.

    The products are in the dtype of the inputs; everything over the vocabulary and the weight's gradient until its last chunk are in
    fp32 (float64 for float64 inputs). Forward does one max and one sum all-reduce over `group` per chunk. Backward does none: the
    gradient of `hidden` is the part of this rank's rows of the vocabulary, and the caller's mapping has to sum it over the ranks
    (Megatron's copy_to_tensor_model_parallel_region, or gather_from_sequence_parallel_region(tensor_parallel_output_grad=True)).

    Args:
        hidden: [num_tokens, hidden_size], any float dtype, the same on all ranks of `group`.
        weight: [vocab / ranks, hidden_size], this rank's rows of the output layer, of the dtype of `hidden`. The softmax is over all
            rows of all ranks, also over rows that only pad the vocabulary.
        labels: [num_tokens] int64, token ids in the whole vocabulary. Not checked, which would wait for the device: what comes out
            for a label outside of the vocabulary means nothing.
        group: the tensor-parallel ranks; None for a single one, which needs no torch.distributed.
        chunk_size: tokens whose logits are held at a time.
        temperature: of the rollouts.
        entropy: whether to return entropies too.
        squares: whether to return sum_v p(v)^2 in their place, without a gradient.

    Returns:
        log-probabilities [num_tokens] and entropies [num_tokens] or None, in nats, fp32 (float64 for float64 inputs).

    Raises:
        ValueError: chunk_size below 1, temperature not above 0, shapes or dtypes that do not fit, both entropy and squares.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, allowed is 1 or more")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}, allowed is a finite number above 0")
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.size(1) != weight.size(1):
        raise ValueError(
            f"hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}, "
            "allowed are [num_tokens, hidden_size] and [vocab / ranks, hidden_size]"
        )
    if not hidden.is_floating_point() or hidden.dtype != weight.dtype:
        raise ValueError(f"hidden is {hidden.dtype} and weight {weight.dtype}, allowed is one float dtype for both")
    if labels.shape != hidden.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}, allowed is int64 of shape ({len(hidden)},)"
        )
    if entropy and squares:
        raise ValueError("entropy and squares are both True, allowed is one of them")
    return _ChunkedLogProbs.apply(hidden, weight, labels, _Options(group, chunk_size, temperature, entropy, squares))


class _Options(NamedTuple):
    group: dist.ProcessGroup | None
    chunk_size: int
    temperature: float
    with_entropy: bool
    with_squares: bool


class _ChunkedLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor | None]:
        group, chunk_size, temperature, with_entropy, with_squares = options
        first = 0 if group is None else dist.get_rank(group) * len(weight)
        here = (labels >= first) & (labels < first + len(weight))
        columns = (labels - first).clamp(0, len(weight) - 1)[:, None]
        logits, shifted = _blocks(hidden, weight, chunk_size)
        exps = torch.empty_like(shifted) if with_entropy else shifted
        maxima, sums, logprobs = (shifted.new_empty(len(hidden)) for _ in range(3))
        second = torch.empty_like(sums) if with_entropy or with_squares else None

        for rows in _chunks(hidden, chunk_size):
            n = rows.stop - rows.start
            torch.mm(hidden[rows], weight.t(), out=logits[:n])
            maxima[rows] = logits[:n].amax(-1)
            if group is not None:
                dist.all_reduce(maxima[rows], op=dist.ReduceOp.MAX, group=group)
            _shift(logits[:n], maxima[rows], temperature, out=shifted[:n])
            label_logits = torch.where(here[rows], shifted[:n].gather(1, columns[rows])[:, 0], 0.0)
            torch.exp(shifted[:n], out=exps[:n])
            parts = [exps[:n].sum(-1), label_logits]
            if with_entropy:
                parts.append(exps[:n].mul_(shifted[:n]).sum(-1))
            elif with_squares:
                parts.append(exps[:n].square_().sum(-1))
            totals = torch.stack(parts)
            if group is not None:
                dist.all_reduce(totals, group=group)
            sums[rows] = totals[0]
            logprobs[rows] = totals[1] - totals[0].log()
            if second is not None:
                mean = totals[2] / totals[0]
                second[rows] = totals[0].log() - mean if with_entropy else mean / totals[0]

        ctx.save_for_backward(hidden, weight, here, columns, maxima, sums, second if with_entropy else None)
        ctx.options = options
        ctx.set_materialize_grads(False)
        if with_squares:
            ctx.mark_non_differentiable(second)
        return logprobs, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor | None, h: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        """The gradient of z_v is g 1[v = label] - g p_v - h p_v (log p_v + entropy), for the gradients g of a token's log-probability and
        h of its entropy.

        With x_v = z_v - m / temperature and p_v = exp(x_v) / s this is g 1[v = label] + exp(x_v) (a + b x_v) with
        a = (h (log s - entropy) - g) / s and b = -h / s. The label's term joins it in fp32, because 1 - p_v may be small.
        """
        hidden, weight, here, columns, maxima, sums, entropies = ctx.saved_tensors
        chunk_size, temperature = ctx.options.chunk_size, ctx.options.temperature
        g = torch.zeros_like(sums) if g is None else g
        label_term = torch.where(here, g / temperature, 0.0)[:, None]
        scale = 1 / (sums * temperature)
        a = -g * scale if h is None else (h * (sums.log() - entropies) - g) * scale
        b = None if h is None else -h * scale
        logits, shifted = _blocks(hidden, weight, chunk_size)
        exps = shifted if b is None else torch.empty_like(shifted)
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight, dtype=shifted.dtype) if ctx.needs_input_grad[1] else None

        for rows in _chunks(hidden, chunk_size):
            n = rows.stop - rows.start
            torch.mm(hidden[rows], weight.t(), out=logits[:n])
            _shift(logits[:n], maxima[rows], temperature, out=shifted[:n])
            grad = torch.exp(shifted[:n], out=exps[:n])
            if b is None:
                grad.mul_(a[rows, None])
            else:
                grad.mul_(torch.addcmul(a[rows, None], shifted[:n], b[rows, None], out=shifted[:n]))
            grad.scatter_add_(1, columns[rows], label_term[rows])
            if grad.dtype != hidden.dtype:
                grad = logits[:n].copy_(grad)
            if hidden_grad is not None:
                torch.mm(grad, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                _add_product(weight_grad, grad.t(), hidden[rows])
        return hidden_grad, None if weight_grad is None else weight_grad.to(weight.dtype), None, None


def _chunks(hidden: Tensor, chunk_size: int) -> list[slice]:
    return [slice(start, min(start + chunk_size, len(hidden))) for start in range(0, len(hidden), chunk_size)]


def _blocks(hidden: Tensor, weight: Tensor, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Memory for a chunk of logits in the dtype of the product and in that of the softmax: the same where these are."""
    logits = hidden.new_empty(min(chunk_size, len(hidden)), len(weight))
    same = hidden.dtype in (torch.float32, torch.float64)
    return logits, logits if same else torch.empty_like(logits, dtype=torch.float32)


def _shift(logits: Tensor, maxima: Tensor, temperature: float, *, out: Tensor) -> None:
    """out = (logits - maxima) / temperature. Subtracted first, so that large logits keep the digits in which they differ."""
    torch.sub(logits, maxima[:, None], out=out)
    if temperature != 1:
        out.div_(temperature)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, where total may be fp32 and the factors bf16 or fp16."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    elif total.is_cuda:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:  # there the product has the dtype of its factors
        total.add_(left @ right)
