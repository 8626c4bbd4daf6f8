"""A Hugging Face model on Megatron-Core: built in its parts, filled, and exported under its Hugging Face names, by way of mbridge.

model = MegatronModel(ModelSettings("Qwen/Qwen2.5-7B", ...), layout)     # after initialize(layout)
for name, tensor in model.export(): ...                                  # (Hugging Face name, full tensor), the same on every rank
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from deltal_openrlhf import cpu
from deltal_openrlhf.host import remote_code
from deltal_openrlhf.host.rebind import rebound
from megatron_ext import cpu as megatron_cpu
from megatron_ext.layout import RANK_ORDER, ParallelLayout, num_experts
from megatron_ext.logprob import chunked_logprobs
from megatron_ext.model_files import folder_of
from megatron_ext.modules import Modules, chosen, config_arguments

megatron_cpu.install()

from mbridge import AutoBridge  # noqa: E402 - Megatron-Core reads torch.cuda when it is imported
from mbridge.core import llm_bridge  # noqa: E402
from mbridge.core.bridge import Bridge  # noqa: E402
from megatron.core import parallel_state, tensor_parallel  # noqa: E402
from megatron.core.models.gpt.gpt_model import GPTModel  # noqa: E402
from megatron.core.transformer.moe import router  # noqa: E402
from transformers import AutoConfig  # noqa: E402


def initialize(layout: ParallelLayout, seed: int, timeout: timedelta = timedelta(minutes=60)) -> None:
    """Make Megatron-Core's process groups, on top of torch.distributed's.

    seed: that of its random states (dropout is off in these models). timeout: that of its collectives.
    """
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        virtual_pipeline_model_parallel_size=layout.virtual_pipeline,
        context_parallel_size=layout.context,
        expert_model_parallel_size=layout.expert,
        expert_tensor_parallel_size=layout.expert_tensor,
        order=RANK_ORDER,
        distributed_timeout_minutes=round(timeout.total_seconds() / 60),
    )
    tensor_parallel.model_parallel_cuda_manual_seed(seed)


class PolicyModel(GPTModel):
    """A GPTModel whose last stage turns hidden states into log-probabilities of the labels, without holding the logits.

    temperature, chunk_size: those of chunked_logprobs. want_entropy: whether to compute the entropy too.
    """

    temperature: float = 1.0
    chunk_size: int
    want_entropy: bool = False
    want_squares: bool = False

    def _preprocess(self, *args: Any, padding_mask: Tensor | None = None, **kwargs: Any) -> tuple:
        """Megatron-Core cuts the padding mask [b, s] for sequence parallelism on the first stage only; the other stages need it too."""
        if padding_mask is not None and self.config.sequence_parallel and not self.pre_process:
            group = self.pg_collection.tp
            padding_mask = padding_mask.chunk(group.size(), dim=1)[group.rank()]
        return super()._preprocess(*args, padding_mask=padding_mask, **kwargs)

    def _postprocess(
        self, hidden_states: Tensor, input_ids: Tensor, position_ids: Tensor, labels: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """hidden_states [s, b, h], or [s / tp, b, h] under sequence parallelism; labels [b, s].

        Returns fp32 [1, b, s], log-probabilities, or [2, b, s] with the entropy or sum_v p_v^2; on other stages the hidden states.
        """
        if not self.post_process:
            return hidden_states
        group = self.pg_collection.tp
        if self.config.sequence_parallel:
            hidden = tensor_parallel.gather_from_sequence_parallel_region(hidden_states, group=group)
        else:
            hidden = tensor_parallel.copy_to_tensor_model_parallel_region(hidden_states, group=group)
        tied = self.share_embeddings_and_output_weights
        weight = self.shared_embedding_or_output_weight() if tied else self.output_layer.weight
        log_probs, second = chunked_logprobs(
            # In Megatron-Core's order: it loses the reduction of a gradient that is not contiguous.
            hidden.flatten(0, 1),
            weight,
            labels.t().flatten(),
            group=group if group.size() > 1 else None,
            chunk_size=self.chunk_size,
            temperature=self.temperature,
            entropy=self.want_entropy,
            squares=self.want_squares,
        )
        values = [log_probs] if second is None else [log_probs, second]
        return torch.stack(values).view(len(values), labels.shape[1], labels.shape[0]).transpose(1, 2)


def _count_at_least_one(count_tokens: Callable) -> Callable:
    """For Megatron-Core's count behind the auxiliary loss: a micro batch of padding only has a loss of 0, not 0 / 0."""

    @wraps(count_tokens)
    def counted(*args: Any, **kwargs: Any) -> tuple:
        per_expert, local, total = count_tokens(*args, **kwargs)
        return per_expert, local, torch.as_tensor(total).clamp(min=1)

    return counted


@dataclass(frozen=True)
class ModelSettings:
    """The settings that do not depend on how the model is cut. path: a Hugging Face folder, or a name that transformers finds.

    modules: None takes Transformer Engine's on GPUs and the plain ones without.
    """

    path: str
    dtype: torch.dtype
    chunk_size: int
    temperature: float = 1.0
    recompute: bool = False
    aux_loss_coef: float = 0.0
    modules: Modules | None = None


class MegatronModel:
    """This rank's part of the model. Raises ValueError for modules that are missing.

    chunks: the model chunks of this pipeline rank (one, or several when interleaved), bare modules in settings.dtype.
    """

    def __init__(self, settings: ModelSettings, layout: ParallelLayout) -> None:
        self.settings, self.layout = settings, layout
        self.bridge = _bridge(settings, layout)
        self.config = self.bridge.config
        if self.config.num_moe_experts and not hasattr(router.get_tokens_per_expert_and_token_count, "__wrapped__"):
            # Called in every forward pass, so until the process ends.
            router.get_tokens_per_expert_and_token_count = _count_at_least_one(
                router.get_tokens_per_expert_and_token_count
            )
        with rebound(llm_bridge, "GPTModel", PolicyModel):
            self.chunks: list[PolicyModel] = self.bridge.get_model(bf16=False, wrap_with_ddp=False)
        for chunk in self.chunks:
            chunk.temperature, chunk.chunk_size = settings.temperature, settings.chunk_size
        # One tensor at a time: else the first rank of every stage would read all of them into the host's memory.
        self.bridge.load_weights(self.chunks, folder_of(settings.path), memory_efficient=True)

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for i, chunk in enumerate(self.chunks):
            for name, parameter in chunk.named_parameters():
                yield f"{i}.{name}", parameter

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, full tensor), one after the other, in the same order on every rank. Collective: run it to the end.

        A pipeline stage broadcasts its tensor to the others, then the tensor and expert parallel ranks gather it.
        """
        seen: set[str] = set()
        for name, tensor in self.bridge.export_weights(self.chunks):
            if name not in seen:  # tied embeddings are there twice, on the first stage and on the last
                seen.add(name)
                yield name, tensor.detach()


def _bridge(settings: ModelSettings, layout: ParallelLayout) -> Bridge:
    """mbridge's translator for this kind of model, with corrections of what it gets wrong or cannot know."""
    modules = chosen(settings.modules, cpu.is_needed())
    hf_config = AutoConfig.from_pretrained(settings.path, trust_remote_code=remote_code.is_trusted())
    rope = hf_config.rope_parameters
    hf_config.rope_theta = rope["rope_theta"]  # where transformers 4 had it
    bridge = AutoBridge.from_config(hf_config, dtype=settings.dtype)
    # mbridge changes the mapping of the class for tied embeddings, and not for Llama.
    output = "model.embed_tokens.weight" if hf_config.tie_word_embeddings else "lm_head.weight"
    bridge._DIRECT_MAPPING = bridge._DIRECT_MAPPING | {"output_layer.weight": output}
    bridge._get_gptmodel_args = lambda: {
        "vocab_size": hf_config.vocab_size,
        "max_sequence_length": hf_config.max_position_embeddings,
        "position_embedding_type": "rope",
        "rotary_base": rope["rope_theta"],
        "rope_scaling": rope["rope_type"] == "llama3",
        "rope_scaling_factor": rope.get("factor", 1.0),
    }
    extra: dict[str, Any] = {
        "sequence_parallel": layout.sequence_parallel,
        # The interleaved schedule overlaps its sends; the other one sends and receives in one call.
        "batch_p2p_comm": layout.virtual_pipeline is None,
        # The interleaved schedule frees an output while its send may still read it (schedules.py, pp_pre_forward).
        "deallocate_pipeline_outputs": layout.virtual_pipeline is None,
        "hidden_dropout": 0.0,
    }
    if settings.recompute:
        extra |= {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    if num_experts(hf_config):
        balance = "aux_loss" if settings.aux_loss_coef else "none"
        extra |= {"moe_router_load_balancing_type": balance, "moe_aux_loss_coeff": settings.aux_loss_coef}
    bridge.set_extra_args(**extra, **config_arguments(modules))
    if modules == "plain":
        from megatron_ext.plain_modules import block_spec

        bridge.has_vp_stage = True
        bridge._get_transformer_layer_spec = partial(block_spec, bridge.config)
    return bridge
