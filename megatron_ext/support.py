"""The models, and the versions of Megatron-Core and mbridge, that this backend supports. No torch."""

from typing import Any

from packaging.specifiers import SpecifierSet

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.runs.packages import installed_version
from megatron_ext.layout import ParallelLayout, num_experts

FAMILIES = ("qwen2", "qwen3", "llama", "qwen3_moe")
LLAMA3_ROPE = {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
"""Fixed in Megatron-Core 0.16.1 (RotaryEmbedding._apply_scaling); the factor is not."""

CHECKED = {"megatron-core": "0.16.1", "mbridge": "0.15.1"}
INSTALL = "pip install --no-deps " + " ".join(f"{name}=={version}" for name, version in CHECKED.items())
TRANSFORMER_ENGINE = ">=2.9,<2.21"
"""Megatron-Core 0.16.1 asks for a version below 2.12. The sources of each minor version up to 2.20.2 were read, and none was run on a GPU.
Up to 2.20 they have everything that Megatron-Core and mbridge import, as in 2.11. No argument that these pass is gone or moved, with one
exception: FP8GlobalStateManager.set_skip_fp8_weight_update_tensor (2.15, 2.16), which only CUDA graphs call."""


def check_installed(on_cpu: bool) -> None:
    """Raise ValueError for a package that is missing or has another version. Without a GPU Transformer Engine is not needed."""
    for name, checked in CHECKED.items():
        version = installed_version(name)
        if version is None:
            raise ValueError(f"--backend megatron needs {name} {checked}, which is not installed: {INSTALL}")
        if version != checked:
            raise ValueError(
                f"--backend megatron was checked against {name} {checked}, installed is {version}: {INSTALL}"
            )
    if on_cpu:
        return
    engine, wanted = installed_version("transformer-engine"), f"transformer-engine{TRANSFORMER_ENGINE}"
    # With the headers of torch's CUDA packages: a toolkit often lacks those of cuDNN and NCCL.
    remedy = "NVTE_BUILD_USE_NVIDIA_WHEELS=1 pip install --no-build-isolation "
    remedy += f"'transformer-engine[pytorch]{TRANSFORMER_ENGINE}'"
    if engine is None:
        raise ValueError(f"--backend megatron on GPUs needs {wanted}, which is not installed: {remedy}")
    if engine not in SpecifierSet(TRANSFORMER_ENGINE):
        raise ValueError(f"--backend megatron on GPUs needs {wanted}, installed is {engine}: {remedy}")


def check_model(args: Arguments, layout: ParallelLayout) -> None:
    """Raise ValueError for a model that is not available, is of another kind, or cannot be cut this way. args: hierarchical."""
    from transformers import AutoConfig

    name = args.actor.model_name_or_path
    allowed = f"--actor.model_name_or_path is {name}, allowed is a folder with a config.json or a model of the Hugging Face hub"
    if not name:
        raise ValueError(allowed)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=args.deltal.trust_remote_code)
    except (OSError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{allowed}: {why}") from error
    check_model_family(config)
    layout.check_model(config)
    if args.actor.aux_loss_coef > 0 and not num_experts(config):
        raise ValueError(
            f"--actor.aux_loss_coef is {args.actor.aux_loss_coef:g}, but the model ({config.model_type}) has no experts; allowed is 0"
        )


def check_model_family(config: Any) -> None:
    """Raise ValueError for a model that Megatron-Core would compute differently. config: the model's Hugging Face configuration."""
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"--backend megatron does not know the model type {config.model_type}, allowed are {', '.join(FAMILIES)}"
        )
    _check_positions(config)
    for name, allowed in (
        ("use_sliding_window", False),
        ("hidden_act", "silu"),
        ("attention_dropout", 0),
        ("quantization_config", None),
    ):
        _check(config, name, getattr(config, name, allowed), allowed)
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        _check(config, "layer_types", "sliding_attention", "full_attention")
    if config.model_type != "qwen2":
        # Megatron-Core has biases for queries, keys and values (Qwen2's) or for all linear layers, none for the attention alone.
        _check(config, "attention_bias", config.attention_bias, False)
    if config.model_type == "llama":
        _check(config, "mlp_bias", config.mlp_bias, False)
    if num_experts(config):
        _check(config, "decoder_sparse_step", config.decoder_sparse_step, 1)
        _check(config, "mlp_only_layers", config.mlp_only_layers, [])
        # Megatron-Core takes the softmax over the chosen experts: the same as over all, and then divided by the sum.
        _check(config, "norm_topk_prob", config.norm_topk_prob, True)


def _check_positions(config: Any) -> None:
    rope = config.rope_parameters
    kind = rope["rope_type"]
    if kind == "llama3" and config.model_type == "llama":
        for name, allowed in LLAMA3_ROPE.items():
            _check(config, f"rope_parameters {name}", rope[name], allowed)
    elif kind != "default":
        kinds = "default or llama3" if config.model_type == "llama" else "default"
        _check(config, "rope_parameters rope_type", kind, kinds)
    _check(config, "partial_rotary_factor", rope.get("partial_rotary_factor", 1), 1)


def _check(config: Any, name: str, value: Any, allowed: Any) -> None:
    if value != allowed:
        raise ValueError(
            f"the model ({config.model_type}) has {name} {value}; with --backend megatron only {allowed} is allowed"
        )
