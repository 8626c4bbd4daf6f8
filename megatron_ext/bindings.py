"""Checks everything that this package uses in Megatron-Core and mbridge, when a worker starts (MegatronStrategy.setup_distributed).

megatron_ext/support.py refuses other releases before Ray starts, by what pip knows. This module checks what is really imported. A clone of
Megatron-LM on PYTHONPATH, or a container's own build, may take precedence over the release.

megatron_ext/cpu.py holds the names that machines without a GPU replace, and checks them itself.
"""

import importlib
from types import SimpleNamespace

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.signatures import changed
from megatron_ext.support import CHECKED

# module: or module:class. -> names of which nothing is passed that has to be checked.
_NO_PARAMETERS = {
    "megatron.core.parallel_state:": "destroy_model_parallel get_context_parallel_group get_data_parallel_rank "
    "get_pipeline_model_parallel_group get_pipeline_model_parallel_last_rank get_pipeline_model_parallel_world_size "
    "is_pipeline_last_stage",
    "megatron.core.distributed:DistributedDataParallel.": "broadcast_params zero_grad_buffer offload_grad_buffers restore_grad_buffers",
    "megatron.core.optimizer:ChainedOptimizer.": "prepare_grads get_grad_norm step zero_grad offload_to_cpu restore_from_cpu",
}

# module:symbol -> parameters (or, for classes, those of __init__, which are the fields of a dataclass) that we pass, set or read: they
# have to be there, in this order, among others.
CALLED: dict[str, str] = {
    # model.py
    "mbridge:AutoBridge.from_config": "hf_config, kwargs",
    "mbridge.core.bridge:Bridge.__init__": "hf_config, dtype",
    "mbridge.core.bridge:Bridge.get_model": "wrap_with_ddp, bf16",
    "mbridge.core.bridge:Bridge.load_weights": "models, weights_path",
    "mbridge.core.bridge:Bridge.export_weights": "models",
    "mbridge.core.bridge:Bridge.set_extra_args": "kwargs",
    "mbridge.core.llm_bridge:GPTModel.__init__": "config, transformer_layer_spec, vocab_size, max_sequence_length, "
    "share_embeddings_and_output_weights, position_embedding_type, rotary_base, rope_scaling, rope_scaling_factor, vp_stage",
    "megatron.core.models.gpt.gpt_model:GPTModel.forward": "input_ids, position_ids, attention_mask, labels, packed_seq_params, "
    "padding_mask",
    "megatron.core.models.gpt.gpt_model:GPTModel.shared_embedding_or_output_weight": "",
    "megatron.core.parallel_state:initialize_model_parallel": "tensor_model_parallel_size, pipeline_model_parallel_size, "
    "virtual_pipeline_model_parallel_size, context_parallel_size, expert_model_parallel_size, expert_tensor_parallel_size, "
    "distributed_timeout_minutes, order",
    "megatron.core.tensor_parallel:model_parallel_cuda_manual_seed": "seed",
    "megatron.core.tensor_parallel:gather_from_sequence_parallel_region": "input_, group",
    "megatron.core.tensor_parallel:copy_to_tensor_model_parallel_region": "input_, group",
    "megatron.core.transformer.moe.router:get_tokens_per_expert_and_token_count": "",
    "megatron.core.transformer.transformer_config:TransformerConfig": "sequence_parallel, use_cpu_initialization, params_dtype, "
    "finalize_model_grads_func, grad_scale_func, gradient_accumulation_fusion, batch_p2p_comm, deallocate_pipeline_outputs, "
    "kv_channels, hidden_dropout, attention_dropout, layernorm_epsilon, num_moe_experts, qk_layernorm, bias_activation_fusion, "
    "masked_softmax_fusion, persist_layer_norm, bias_dropout_fusion, apply_rope_fusion, recompute_granularity, recompute_method, "
    "recompute_num_layers, moe_router_load_balancing_type, moe_aux_loss_coeff",
    # engine.py, trainer.py, parity
    "megatron.core.parallel_state:get_data_parallel_group": "with_context_parallel",
    "megatron.core.dist_checkpointing.dict_utils:dict_list_map_outplace": "f, x",
    "megatron.core.distributed:DistributedDataParallelConfig": "grad_reduce_in_fp32, use_distributed_optimizer",
    "megatron.core.distributed:DistributedDataParallel.__init__": "config, ddp_config, module, disable_bucketing",
    "megatron.core.distributed:finalize_model_grads": "model, num_tokens",
    "megatron.core.optimizer:OptimizerConfig": "lr, weight_decay, bf16, params_dtype, optimizer, adam_beta1, adam_beta2, adam_eps, "
    "use_distributed_optimizer, clip_grad",
    "megatron.core.optimizer:get_megatron_optimizer": "config, model_chunks",
    "megatron.core.optimizer:ChainedOptimizer.scale_loss": "loss",
    "megatron.core.packed_seq_params:PackedSeqParams": "qkv_format, cu_seqlens_q, cu_seqlens_kv, max_seqlen_q, max_seqlen_kv",
    "megatron.core.pipeline_parallel:get_forward_backward_func": "",
} | {
    f"megatron.core.pipeline_parallel.schedules:forward_backward_{schedule}": "forward_step_func, data_iterator, model, "
    "num_microbatches, seq_length, micro_batch_size, forward_only"
    for schedule in ("no_pipelining", "pipelining_without_interleaving", "pipelining_with_interleaving")
}
CALLED |= {
    # checkpoint.py
    "megatron.core.dist_checkpointing.core:CheckpointingConfig.__init__": "sharded_backend, sharded_backend_version",
    "megatron.core.dist_checkpointing.core:save_config": "config, checkpoint_dir",
    "megatron.core.dist_checkpointing:load": "sharded_state_dict, checkpoint_dir",
    "megatron.core.dist_checkpointing.dict_utils:nested_values": "x",
    "megatron.core.dist_checkpointing.mapping:ShardedTensor": "key, dtype, global_shape, replica_id",
    "megatron.core.dist_checkpointing.mapping:is_main_replica": "replica_id",
    "megatron.core.dist_checkpointing.serialization:load_tensors_metadata": "checkpoint_dir",
    "megatron.core.dist_checkpointing.state_dict_utils:load_preprocess": "sharded_state_dict",
    "megatron.core.dist_checkpointing.state_dict_utils:save_preprocess": "sharded_state_dict",
    "megatron.core.dist_checkpointing.strategies.torch:MCoreSavePlanner": "dedup_replicated_tensors, kwargs",
    "megatron.core.dist_checkpointing.strategies.torch:mcore_to_pyt_state_dict": "state_dict",
    "megatron.core.models.gpt.gpt_model:GPTModel.sharded_state_dict": "metadata",
    "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer.sharded_param_state_fully_reshardable": "model_sharded_state_dict, "
    "is_loading, metadata",
    "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer.load_parameter_state_from_fully_reshardable": "state_dict",
    # plain_modules.py
    "megatron.core.dist_checkpointing.utils:replace_prefix_for_sharding": "sharded_state_dict, old_prefix, new_prefix",
    "megatron.core.models.gpt.gpt_layer_specs:get_gpt_layer_local_spec": "qk_layernorm, normalization",
    "megatron.core.process_groups_config:ProcessGroupCollection.use_mpu_process_groups": "required_pgs",
    "megatron.core.tensor_parallel.layers:ColumnParallelLinear.__init__": "input_size, output_size, config",
    "megatron.core.transformer.attention:SelfAttentionSubmodules": "linear_qkv, core_attention, q_layernorm, k_layernorm",
    "megatron.core.transformer.identity_op:IdentityOp": "",
    "megatron.core.transformer.mlp:MLPSubmodules": "linear_fc1, linear_fc2",
    "megatron.core.transformer.moe.experts:TEGroupedMLP": "",
    "megatron.core.transformer.moe.moe_layer:MoELayer": "",
    "megatron.core.transformer.moe.moe_layer:MoESubmodules": "experts",
    "megatron.core.transformer.spec_utils:ModuleSpec": "module, submodules",
    "megatron.core.transformer.transformer_block:TransformerBlockSubmodules": "layer_specs, layer_norm",
    "megatron.core.transformer.transformer_block:get_num_layers_to_build": "config, vp_stage",
    "megatron.core.transformer.transformer_layer:TransformerLayerSubmodules": "input_layernorm, self_attention, pre_mlp_layernorm, mlp, "
    "sharded_state_dict_keys_map",
    "megatron.core.transformer.utils:make_sharded_tensors_for_checkpoint": "state_dict, prefix, tensor_parallel_layers_axis_map, "
    "sharded_offsets, tp_group, dp_cp_group",
}
CALLED |= {owner + name: "" for owner, names in _NO_PARAMETERS.items() for name in names.split()}

# What we override, or put a function or class of ours in the place of: exactly these parameters.
REPLACED: dict[str, str] = {
    "mbridge.core.llm_bridge:LLMBridge._get_gptmodel_args": "self",
    "mbridge.core.llm_bridge:LLMBridge._get_transformer_layer_spec": "self, vp_stage",
    "megatron.core.models.gpt.gpt_model:GPTModel._preprocess": "self, input_ids, position_ids, decoder_input, inference_context, "
    "packed_seq_params, padding_mask",
    "megatron.core.models.gpt.gpt_model:GPTModel._postprocess": "self, hidden_states, input_ids, position_ids, labels, rotary_pos_emb, "
    "rotary_pos_cos, rotary_pos_sin, mtp_in_postprocess, loss_mask, decoder_input, attention_mask, inference_params, "
    "packed_seq_params, sequence_len_offset, runtime_gather_output, extra_block_kwargs, inference_context",
    "megatron.core.tensor_parallel.layers:ColumnParallelLinear.forward": "self, input_, weight, runtime_gather_output",
    "megatron.core.tensor_parallel.layers:ColumnParallelLinear.sharded_state_dict": "self, prefix, sharded_offsets, metadata",
    "megatron.core.transformer.dot_product_attention:DotProductAttention.__init__": "self, config, layer_number, attn_mask_type, "
    "attention_type, attention_dropout, softmax_scale, cp_comm_type, pg_collection",
    "megatron.core.transformer.dot_product_attention:DotProductAttention.forward": "self, query, key, value, attention_mask, "
    "attn_mask_type, attention_bias, packed_seq_params",
    "megatron.core.transformer.module:MegatronModule.sharded_state_dict": "self, prefix, sharded_offsets, metadata",
}


def check() -> list[str]:
    """What is missing or changed in Megatron-Core and mbridge, one line each. Empty if this package can run on them.

    Imports both, which takes seconds. Changes nothing and needs no process group.
    """
    try:
        versions = {
            "megatron-core": importlib.import_module("megatron.core").__version__,
            "mbridge": importlib.import_module("mbridge").__version__,
        }
    except ImportError as error:
        return [f"Megatron-Core and mbridge cannot be imported ({error}); checked against {_checked()}"]
    problems = [
        f"{package} {version} is what Python imports; this package was checked against {_checked()}"
        for package, version in versions.items()
        if version != CHECKED[package]
    ]
    for table in (CALLED, REPLACED):
        for target, wanted in table.items():
            package = "mbridge" if target.startswith("mbridge") else "megatron-core"
            if problem := changed(target, wanted, exactly=table is REPLACED):
                problems.append(f"{package} {versions[package]} {problem}; checked against {_checked()}")
    if not problems:
        found = ", ".join(f"{package} {version}" for package, version in versions.items())
        behaviour = (_averages_losses(), _spares_norms(), _asks_the_bridge())
        problems = [f"{found}: {what}" for right, what in behaviour if not right]
    return problems


def _checked() -> str:
    return ", ".join(f"{package} {version}" for package, version in CHECKED.items())


# ── What a signature does not say: (whether it still holds, what if not) ──


def _averages_losses() -> tuple[bool, str]:
    """The engine's rule: a loss function's (loss, values) is times the context parallel ranks, by the number of micro batches."""
    import torch
    from megatron.core.pipeline_parallel.schedules import forward_step_calc_loss

    loss, _ = forward_step_calc_loss(
        model=None,
        output_tensor=torch.ones(()),
        loss_func=lambda output: (6 * output, {}),
        config=SimpleNamespace(timers=None, calculate_per_token_loss=False),
        vp_stage=None,
        collect_non_loss_data=False,
        num_microbatches=3,
        forward_data_store=[],
        cp_group_size=2,
        is_last_stage=True,
    )
    return (
        loss.item() == 4.0,
        f"a loss of 6 in 3 micro batches on 2 context parallel ranks counts {loss.item()}, wanted 4.0",
    )


def _spares_norms() -> tuple[bool, str]:
    """set_learning_rate multiplies the weight decay by wd_mult: set to 0 for what has one dimension, to nothing else for the rest."""
    import torch
    from megatron.core.optimizer import OptimizerConfig, get_standard_config_overrides

    overrides = get_standard_config_overrides(OptimizerConfig())
    found = {}
    for name, shape in (("layer.weight", (2, 2)), ("layer.bias", (2,)), ("norm.weight", (2,))):
        parameter = torch.nn.Parameter(torch.zeros(shape))
        found[name] = [override["wd_mult"] for key, override in overrides.items() if key.matches(parameter, name)]
    wanted = {"layer.weight": [], "layer.bias": [0.0], "norm.weight": [0.0]}
    return found == wanted, f"weight decay is multiplied by {found}, wanted {wanted}"


def _asks_the_bridge() -> tuple[bool, str]:
    """model.py builds its own class out of its own arguments and layers, under names of its own, by replacing what mbridge asks."""
    from mbridge import AutoBridge
    from mbridge.core import llm_bridge
    from mbridge.core.parallel_states import ParallelStates
    from transformers import Qwen2Config

    bridge = AutoBridge.from_config(Qwen2Config(), parallel_states=ParallelStates(vpp_size=None))
    bridge._DIRECT_MAPPING = {"output_layer.weight": "ours"}
    bridge._get_gptmodel_args = lambda: {"vocab_size": 8}
    bridge._get_transformer_layer_spec = lambda vp_stage: "our layers"
    with rebound(llm_bridge, "GPTModel", lambda **given: given):
        given = bridge._model_provider([])(pre_process=True, post_process=True)
    found = {
        "name": bridge._weight_name_mapping_mcore_to_hf("output_layer.weight"),
        "vocab_size": given["vocab_size"],
        "layers": given["transformer_layer_spec"],
    }
    wanted = {"name": ["ours"], "vocab_size": 8, "layers": "our layers"}
    return found == wanted, f"the bridge builds a model with {found}, wanted {wanted}"
