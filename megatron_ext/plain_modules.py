"""Plain-torch replacements of the Transformer Engine modules in Megatron-Core's layers, for machines without a GPU and for parity on GPUs.

Parameter names and shapes are those of the Transformer Engine model. So checkpoints and the mapping to Hugging Face names are the same.
Megatron-Core's own modules without Transformer Engine refuse sequence parallelism (norm), context parallelism and packed sequences
(attention). These modules are slow on long sequences, because attention keeps its scores.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from megatron.core.dist_checkpointing.utils import replace_prefix_for_sharding
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.moe import moe_utils
from megatron.core.transformer.moe.experts import TEGroupedMLP
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import Tensor


def block_spec(config: TransformerConfig, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """In place of get_gpt_decoder_block_spec(use_transformer_engine=True): the same layers out of the modules below.

    From here on, routers of experts multiply in plain torch in this process.
    """
    moe_utils.te_general_gemm = (
        None  # Megatron-Core asks whether it is None, and has no such name without Transformer Engine
    )
    layer = get_gpt_layer_local_spec(normalization="RMSNorm", qk_layernorm=config.qk_layernorm)
    modules = layer.submodules
    attention = modules.self_attention.submodules
    modules.input_layernorm = IdentityOp  # fused with the linear layer behind it
    attention.linear_qkv = LayerNormColumnParallelLinear
    attention.core_attention = CausalAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    if config.num_moe_experts:
        modules.pre_mlp_layernorm = RMSNorm
        experts = ModuleSpec(TEGroupedMLP, submodules=MLPSubmodules(linear_fc1=GroupedLinear, linear_fc2=GroupedLinear))
        modules.mlp = ModuleSpec(MoELayer, submodules=MoESubmodules(experts=experts))
    else:
        modules.pre_mlp_layernorm = IdentityOp
        modules.mlp.submodules.linear_fc1 = LayerNormColumnParallelLinear
    modules.sharded_state_dict_keys_map = {}
    layers = [layer] * get_num_layers_to_build(config, vp_stage=vp_stage)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=RMSNorm)


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    exact = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    return (exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def _norm_weight(config: TransformerConfig, size: int) -> torch.nn.Parameter:
    """Ones, with the mark by which Megatron-Core sums the gradient over tensor parallel ranks under sequence parallelism."""
    weight: Any = torch.nn.Parameter(torch.ones(size, dtype=config.params_dtype))
    weight.sequence_parallel = config.sequence_parallel
    return weight


class RMSNorm(torch.nn.Module):
    """For TENorm."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **ignored: Any) -> None:
        super().__init__()
        self.eps = eps
        self.weight = _norm_weight(config, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return _rms_norm(x, self.weight, self.eps)


class LayerNormColumnParallelLinear(ColumnParallelLinear):
    """For TELayerNormColumnParallelLinear: parameters layer_norm_weight, weight and bias."""

    def __init__(self, input_size: int, output_size: int, *, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(input_size, output_size, config=config, **kwargs)
        self.eps = config.layernorm_epsilon
        self.layer_norm_weight = _norm_weight(config, input_size)

    def forward(self, x: Tensor, weight: Tensor | None = None, runtime_gather_output: bool | None = None) -> tuple:
        return super().forward(_rms_norm(x, self.layer_norm_weight, self.eps), weight, runtime_gather_output)

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: tuple = (), metadata: dict | None = None) -> dict:
        state = self.state_dict(prefix="", keep_vars=True)
        axes = {"weight": 0, "bias": 0}
        groups = {"tp_group": self.tp_group, "dp_cp_group": (metadata or {})["dp_cp_group"]}
        return make_sharded_tensors_for_checkpoint(state, prefix, axes, sharded_offsets, **groups)


class CausalAttention(MegatronModule):
    """For TEDotProductAttention: causal, sbhd or packed thd, context parallel in Transformer Engine's zigzag layout.

    With context parallelism keys and values are gathered; each rank attends with its own queries.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        softmax_scale: float | None = None,
        pg_collection: ProcessGroupCollection | None = None,
        **ignored: Any,
    ) -> None:
        super().__init__(config=config)
        if config.attention_dropout:
            raise ValueError(f"attention_dropout is {config.attention_dropout}, allowed is 0 with plain modules")
        groups = pg_collection or ProcessGroupCollection.use_mpu_process_groups(required_pgs=["tp", "cp"])
        self.context_group = groups.cp
        self.scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        *,
        packed_seq_params: Any = None,
        **ignored: Any,
    ) -> Tensor:
        """query [s, b, heads, dim] or packed [t, heads, dim]; key and value with their own number of heads. Same layout out."""
        size, rank = self.context_group.size(), self.context_group.rank()
        packed = packed_seq_params is not None and packed_seq_params.qkv_format == "thd"
        if packed:
            query, key, value = (x.unsqueeze(1) for x in (query, key, value))
            borders = packed_seq_params.cu_seqlens_q
            lengths = ((borders[1:] - borders[:-1]) // size).tolist()
        else:
            lengths = [query.size(0)]
        if size > 1:
            key, value = (_GatherContext.apply(x, self.context_group) for x in (key, value))  # [cp, s, b, heads, dim]
        else:
            key, value = key.unsqueeze(0), value.unsqueeze(0)
        outputs, start = [], 0
        for length in lengths:
            part = slice(start, start + length)
            start += length
            positions = [_positions(length, r, size, query.device) for r in range(size)]
            allowed = torch.cat(positions)[None] <= positions[rank][:, None]
            q, k, v = (
                x.permute(1, 2, 0, 3) for x in (query[part], key[:, part].flatten(0, 1), value[:, part].flatten(0, 1))
            )
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=self.scale, enable_gqa=True)
            outputs.append(out.permute(2, 0, 1, 3).flatten(2))
        out = torch.cat(outputs)
        return out.squeeze(1) if packed else out

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: tuple = (), metadata: dict | None = None) -> dict:
        return {}


def _positions(length: int, rank: int, size: int, device: torch.device) -> Tensor:
    """Positions within a sequence of length * size tokens that this context parallel rank holds: chunks rank and 2 size - 1 - rank."""
    if size == 1:
        return torch.arange(length, device=device)
    chunk = torch.arange(length // 2, device=device)
    return torch.cat([chunk + rank * len(chunk), chunk + (2 * size - 1 - rank) * len(chunk)])


class _GatherContext(torch.autograd.Function):
    """[...] of each context parallel rank to [cp, ...] on all of them; backward sums the gradients of what this rank gave."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(group.size())]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient[ctx.group.rank()], None


class GroupedLinear(MegatronModule):
    """For TEColumnParallelGroupedLinear and TERowParallelGroupedLinear: parameters weight0, weight1, ... one for each local expert.

    One expert is not cut over ranks here.
    """

    def __init__(
        self,
        num_gemms: int,
        input_size: int,
        output_size: int,
        *,
        config: TransformerConfig,
        init_method: Any,
        pg_collection: ProcessGroupCollection,
        tp_comm_buffer_name: str,
        **ignored: Any,
    ) -> None:
        super().__init__(config=config)
        if pg_collection.expt_tp.size() > 1:
            raise ValueError("one expert over several tensor parallel ranks needs Transformer Engine's modules")
        self.groups, self.num_gemms = pg_collection, num_gemms
        for i in range(num_gemms):
            weight: Any = torch.nn.Parameter(torch.empty(output_size, input_size, dtype=config.params_dtype))
            init_method(weight)
            # Megatron-Core reduces gradients of experts over other ranks than the rest.
            weight.allreduce = False
            weight.partition_dim = 0 if tp_comm_buffer_name == "fc1" else 1
            self.register_parameter(f"weight{i}", weight)

    def forward(self, x: Tensor, tokens_per_expert: list[int]) -> tuple[Tensor, None]:
        parts = torch.split(x, list(tokens_per_expert))
        return torch.cat([F.linear(part, getattr(self, f"weight{i}")) for i, part in enumerate(parts)]), None

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: tuple = (), metadata: dict | None = None) -> dict:
        """One tensor over all experts, as Transformer Engine's, so that another expert parallel size can load it."""
        state, groups = {}, {"tp_group": self.groups.expt_tp, "dp_cp_group": (metadata or {})["dp_cp_group"]}
        first, total = self.groups.ep.rank() * self.num_gemms, self.groups.ep.size() * self.num_gemms
        for i in range(self.num_gemms):
            weight = {f"{i}.weight": getattr(self, f"weight{i}")}
            offsets = (*sharded_offsets, (len(sharded_offsets), first + i, total))
            shards = make_sharded_tensors_for_checkpoint(weight, "", {}, offsets, **groups)
            replace_prefix_for_sharding(shards, f"{i}.", prefix)
            shard = shards[f"{i}.weight"]
            shard.replica_id = (*shard.replica_id[:2], self.groups.expt_dp.rank())
            state[f"{prefix}weight{i}"] = shard
        return state
