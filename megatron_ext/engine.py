"""A model that computes log-probabilities and learns, however it is cut. It uses Megatron-Core's schedule, optimizer and reductions.

    engine = Engine(model, optimizer=OptimizerSettings(...))
    engine.gradients(micro_batches, loss)              # forward and backward of one optimizer step
    engine.update()                                    # clip, and step
    rows = engine.log_probs(micro_batches)             # no gradients

A micro batch is (sequences, attention_mask), each [num_responses, num_tokens], the same on all ranks of a replica. The loss follows
DeepSpeed's rule, for which OpenRLHF's losses are made: the engine divides it by the number of micro batches and averages gradients over
data parallel ranks.

Megatron-Core does the same if a loss function returns (loss, values). It also multiplies by the number of context parallel ranks, over
which it averages too. So a loss over whole responses is exact, although each rank differentiates only its own tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from deltal_openrlhf.host.collectives import largest
from megatron_ext.batching import ModelInputs, cut_by_tokens, model_inputs, to_matrix
from megatron_ext.model import MegatronModel

MicroBatch = tuple[Tensor, Tensor]
# (number of the micro batch, log-probabilities [num_responses, num_tokens - 1], entropy alike or None) to the loss
LossFunction = Callable[[int, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with decoupled weight decay; biases and norms are not decayed. max_norm: of the gradient, 0 for no clipping."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float = 1.0


class Engine:
    """The engine of one rank.

    packed: micro batches are one row of all responses (thd), else padded. optimizer: None for a model that does not learn.
    """

    def __init__(self, model: MegatronModel, *, packed: bool, optimizer: OptimizerSettings | None = None) -> None:
        self.model, self.packed = model, packed
        self.config = model.config
        self.layout = model.layout
        self.chunks: list[Any] = list(model.chunks)
        self.optimizer: Any = None
        self.max_norm = optimizer.max_norm if optimizer else 0.0
        self.weight_decay = optimizer.weight_decay if optimizer else 0.0
        if optimizer is None:
            for chunk in self.chunks:
                chunk.requires_grad_(False)
        else:
            self._make_trainable(optimizer)

    def _make_trainable(self, settings: OptimizerSettings) -> None:
        config = DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=True)
        self.chunks = [
            DistributedDataParallel(self.config, config, chunk, disable_bucketing=i > 0)
            for i, chunk in enumerate(self.model.chunks)
        ]
        for chunk in self.chunks:
            chunk.broadcast_params()
        self.optimizer = get_megatron_optimizer(
            OptimizerConfig(
                optimizer="adam",
                lr=settings.lr,
                adam_beta1=settings.betas[0],
                adam_beta2=settings.betas[1],
                adam_eps=settings.eps,
                weight_decay=settings.weight_decay,
                clip_grad=settings.max_norm,
                bf16=self.config.params_dtype is torch.bfloat16,
                params_dtype=self.config.params_dtype,
                use_distributed_optimizer=True,
            ),
            self.chunks,
        )
        self.config.finalize_model_grads_func = finalize_model_grads
        self.config.grad_scale_func = self.optimizer.scale_loss

    # ── Learning ──

    def gradients(self, micro_batches: Sequence[MicroBatch], loss: LossFunction, *, entropy: bool = False) -> None:
        """Run forward and backward of one optimizer step. Afterwards the gradients are reduced over all ranks.

        loss is called on the last pipeline stage, for the micro batches in their order. Every data parallel rank needs the same number of
        micro batches (a multiple of the pipeline size for the interleaved schedule).
        """
        for chunk in self.chunks:
            chunk.train()
            chunk.zero_grad_buffer()
        self.optimizer.zero_grad()

        def reported(number: int, log_probs: Tensor, entropies: Tensor | None) -> tuple[Tensor, dict]:
            return loss(number, log_probs, entropies), {}

        self._run(micro_batches, reported, entropy=entropy, forward_only=False)

    def gradient_norm(self) -> float:
        """The norm of the whole model's gradient before clipping, the same on all ranks. inf or nan if any value is."""
        self.optimizer.prepare_grads()
        return float(self.optimizer.get_grad_norm())

    def update(self) -> None:
        """Clip, and take the optimizer's step."""
        successful, _, _ = self.optimizer.step()
        if not successful:
            raise RuntimeError("Megatron-Core's optimizer left out a step, which it does with loss scaling only")

    def set_learning_rate(self, rate: float) -> None:
        """Megatron-LM's scheduler, which is not used here, would also be what spares biases and norms the weight decay."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            group["weight_decay"] = self.weight_decay * group["wd_mult"]

    # ── Without gradients ──

    @torch.no_grad()
    def log_probs(
        self, micro_batches: Sequence[MicroBatch], max_tokens: int | None = None, *, squares: bool = False
    ) -> list[Tensor]:
        """[num_responses, num_tokens - 1] fp32 for every micro batch, on all ranks: log p of token t + 1 in column t, 0 for padding.

        max_tokens: micro batches with more tokens run in parts. squares: the result is [2, num_responses, num_tokens - 1], with the sum of
            all p^2 as its second.
        """
        for chunk in self.chunks:
            chunk.eval()
        parts = [
            (k, rows) for k, micro_batch in enumerate(micro_batches) for rows in self._parts(micro_batch[1], max_tokens)
        ]
        whole = [(micro_batches[k][0][rows], micro_batches[k][1][rows]) for k, rows in parts]
        # Nothing but padding fills up.
        padding = torch.zeros(1, 1, dtype=torch.long, device=torch.cuda.current_device())
        # Experts exchange tokens between replicas.
        number = self.whole_rounds(largest(len(whole)) if self.layout.expert > 1 else len(whole))
        whole += [(padding, padding)] * (number - len(whole))
        if not whole:
            return []
        collected: list[Tensor] = []

        def collect(number: int, log_probs: Tensor, second: Tensor | None) -> tuple[Tensor, dict]:
            collected.append(log_probs if second is None else torch.stack([log_probs, second]))
            return log_probs.sum(), {}

        self._run(whole, collect, squares=squares, forward_only=True)
        first = (2,) if squares else ()
        outputs = [torch.zeros(*first, s.shape[0], s.shape[1] - 1, device=s.device) for s, _ in micro_batches]
        for (k, rows), values in zip(parts, collected, strict=False):  # on the last stage; behind them what filled up
            outputs[k][..., rows, :] = values.to(outputs[k].dtype)
        if self.layout.pipeline > 1:
            last = parallel_state.get_pipeline_model_parallel_last_rank()
            for values in outputs:
                dist.broadcast(values, src=last, group=parallel_state.get_pipeline_model_parallel_group())
        return outputs

    def _parts(self, attention_mask: Tensor, max_tokens: int | None) -> list[list[int]]:
        if max_tokens is None:
            return [list(range(len(attention_mask)))]
        lengths = [self.layout.padded(max(n, 1)) for n in attention_mask.sum(-1).tolist()]
        return cut_by_tokens(lengths, max_tokens, packed=self.packed)

    def whole_rounds(self, number: int) -> int:
        """The number of micro batches to run for this many: the interleaved schedule takes them in groups of the pipeline size."""
        stages = self.layout.pipeline if self.layout.virtual_pipeline else 1
        return math.ceil(number / stages) * stages

    # ── Sleep: with everything on the same GPUs, vLLM has the memory while responses are sampled ──

    def offload(self) -> None:
        """Move optimizer state and fp32 main parameters to the CPU, and free the gradients. The parameters stay, because forward passes and
        vLLM need them.

        This holds for bf16 models. The main parameters of an fp32 model are views of the parameters, and Megatron-Core's move would
        separate them.
        """
        if torch.cuda.is_available() and self.config.params_dtype is not torch.bfloat16:
            raise ValueError(f"a model in {self.config.params_dtype} cannot be offloaded, allowed is torch.bfloat16")
        for chunk in self.chunks:
            chunk.offload_grad_buffers()
        self.optimizer.offload_to_cpu()

    def reload(self) -> None:
        """Undo offload."""
        for chunk in self.chunks:
            chunk.restore_grad_buffers()
        self.optimizer.restore_from_cpu()

    # ── The schedule ──

    def _run(
        self,
        micro_batches: Sequence[MicroBatch],
        finish: Callable,
        *,
        entropy: bool = False,
        squares: bool = False,
        forward_only: bool,
    ) -> None:
        for chunk in self.model.chunks:
            chunk.want_entropy, chunk.want_squares = entropy, squares
        context = parallel_state.get_context_parallel_group()
        prepared = [
            model_inputs(
                *micro_batch,
                packed=self.packed,
                multiple=self.layout.row_multiple,
                context_size=context.size(),
                context_rank=context.rank(),
            )
            for micro_batch in micro_batches
        ]

        def finished(number: int, inputs: ModelInputs, output: Tensor) -> tuple[Tensor, dict]:
            log_probs, *rest = (to_matrix(values, inputs, context) for values in output)
            return finish(number, log_probs, rest[0] if rest else None)

        def forward_step(iterator: Any, chunk: Any) -> tuple[Tensor, Callable]:
            number, inputs = next(iterator)
            output = chunk(
                input_ids=inputs.tokens,
                position_ids=inputs.positions,
                attention_mask=None,
                labels=inputs.labels,
                packed_seq_params=_packed(inputs),
                **({"padding_mask": inputs.padding} if self.config.num_moe_experts else {}),
            )
            return output, partial(finished, number, inputs)

        get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=[iter(list(enumerate(prepared))) for _ in self.chunks],
            model=self.chunks,
            num_microbatches=len(prepared),
            seq_length=max(inputs.tokens.shape[1] * context.size() for inputs in prepared),
            micro_batch_size=1,
            forward_only=forward_only,
        )


def _packed(inputs: ModelInputs) -> PackedSeqParams | None:
    if inputs.borders is None:
        return None
    borders = inputs.borders
    # Padding is the end of its response, not between two. Borders "with padding" that are the same would make Transformer Engine compare
    # the two on the host, in every layer; with context parallelism it takes the borders for them.
    return PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=borders,
        cu_seqlens_kv=borders,
        max_seqlen_q=inputs.longest,
        max_seqlen_kv=inputs.longest,
    )
