"""What --backend megatron does with each feature of the host: exact, refused or untouched. The start checks this table.

deltal_openrlhf/host/features.py defines the statuses. A flag that only DeepSpeed or the Hugging Face model would read is refused unless it
has its default value, so nothing that was asked for is silently left out. `python -m megatron_ext.features` prints the table of
docs/reference/megatron_features.md.
"""

from collections.abc import Mapping
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.features import EXACT, REFUSED, UNTOUCHED, Feature, table
from deltal_openrlhf.runs.faults import Refused

PARITY_TEST, PIPELINE_TEST = "tests/megatron_ext/test_parity.py", "tests/end_to_end/test_megatron_run.py"
CHECKPOINT_TEST = "tests/megatron_ext/test_checkpoint.py"

DONE = (
    Feature("tensor parallel", EXACT, PARITY_TEST, "--megatron.tensor_parallel_size"),
    Feature("sequence parallel", EXACT, PARITY_TEST, "--megatron.sequence_parallel"),
    Feature("pipeline parallel, 1F1B", EXACT, PARITY_TEST, "--megatron.pipeline_parallel_size"),
    Feature("pipeline parallel, interleaved", EXACT, PARITY_TEST, "--megatron.virtual_pipeline_parallel_size"),
    Feature("context parallel", EXACT, PARITY_TEST, "--megatron.context_parallel_size"),
    Feature("data parallel, distributed optimizer", EXACT, PARITY_TEST, "--actor.num_gpus_per_node"),
    Feature("expert parallel (MoE)", EXACT, PARITY_TEST, "--megatron.expert_parallel_size"),
    Feature("gradient accumulation, uneven micro batches", EXACT, PARITY_TEST, "--train.micro_batch_size"),
    Feature("micro batches by token budget", EXACT, PARITY_TEST, "--megatron.max_tokens_per_micro_batch"),
    Feature("packing", EXACT, PARITY_TEST, "--ds.packing_samples"),
    Feature("activation recompute", EXACT, PARITY_TEST, "--actor.gradient_checkpointing_enable"),
    Feature("tied embeddings", EXACT, PARITY_TEST),
    Feature("every mode of the loss", EXACT, PARITY_TEST, "--loss_agg"),
    Feature("every scope of deltal", EXACT, PARITY_TEST, "--deltal.scope"),
    Feature("GSPO, with the other modes", EXACT, PARITY_TEST, "--actor.policy_loss_type gspo"),
    Feature("overlong filtering", EXACT, PARITY_TEST, "--deltal.overlong_filtering"),
    Feature("PPO clip", EXACT, PARITY_TEST, "--actor.eps_clip_low_high"),
    Feature("dual clip", EXACT, PARITY_TEST, "--actor.dual_clip"),
    Feature("importance-sampling correction", EXACT, PARITY_TEST, "--algo.advantage.is_correction_level"),
    Feature("KL loss", EXACT, PARITY_TEST, "--algo.kl.use_loss"),
    Feature("entropy term", EXACT, PARITY_TEST, "--actor.entropy_coef"),
    Feature("multi-turn masks with holes", EXACT, PARITY_TEST, "--train.agent_func_path"),
    Feature("max_epochs > 1", EXACT, "tests/megatron_ext/test_against_deepspeed.py", "--train.max_epochs"),
    Feature("short last rollout", EXACT, "tests/megatron_ext/test_trainer.py"),
    Feature("checkpoints resumed with another layout", EXACT, CHECKPOINT_TEST, "--ckpt.load_enable"),
    Feature("reference model, split like the policy", EXACT, PIPELINE_TEST, "--algo.kl.init_coef"),
    Feature(
        "MoE auxiliary loss",
        UNTOUCHED,
        "Megatron-Core's own: computed for every layer and micro batch, summed over layers, averaged over micro batches and ranks "
        "(tests/megatron_ext/test_moe.py). transformers, and so DeepSpeed, defines it differently: a coefficient does not carry over",
        "--actor.aux_loss_coef",
    ),
    Feature(
        "states in the CPU's memory while vLLM samples",
        UNTOUCHED,
        "Megatron-Core moves them. The next step is the same in tests/megatron_ext/test_engine.py, where without a GPU only gradients move",
        "--ds.enable_sleep",
    ),
    Feature(
        "GSPO, with OpenRLHF's own modes",
        UNTOUCHED,
        "the host takes the mean over responses whatever --loss_agg says, token-mean too",
        "--actor.policy_loss_type gspo",
    ),
    Feature(
        "asynchronous training, partial rollout",
        UNTOUCHED,
        "the timing differs, the trainer is the same",
        "--train.async_enable",
    ),
)

# Name, flags, reason: refused when a flag has another value than the parser's default.
REFUSED_FLAGS: tuple[tuple[str, str, str], ...] = (
    (
        "ZeRO",
        "ds.zero_stage ds.zpg ds.overlap_comm",
        "Megatron-Core's distributed optimizer divides the optimizer states and gradients over the data parallel ranks",
    ),
    ("optimizer offload", "ds.adam_offload", "the optimizer runs on the device of the model"),
    ("dtype of gradients", "ds.grad_accum_dtype", "gradients are added up in float32"),
    ("fp16", "ds.param_dtype", "parameters are bf16, with float32 gradients and main weights"),
    ("4-bit weights", "ds.load_in_4bit", "Megatron-Core trains bf16 parameters"),
    (
        "LoRA",
        "ds.lora.rank ds.lora.alpha ds.lora.target_modules ds.lora.dropout",
        "Megatron-Core trains all parameters",
    ),
    ("EMA", "train.enable_ema train.ema_beta", "this backend keeps no second model for the average"),
    (
        "Muon",
        "actor.optim actor.muon.lr actor.muon.momentum actor.muon.ns_steps",
        "the distributed optimizer is Adam",
    ),
    (
        "dynamic batch",
        "train.dynamic_batch_enable train.max_tokens_per_gpu rollout.max_tokens_per_gpu",
        "use --megatron.max_tokens_per_micro_batch",
    ),
    (
        "ring attention",
        "ds.ring_attn_size ds.ring_attn_head_stride",
        "use --megatron.context_parallel_size to split responses",
    ),
    ("AutoTP", "ds.tensor_parallel_size", "use --megatron.tensor_parallel_size to split layers"),
    ("deepcompile", "ds.deepcompile", "it compiles DeepSpeed's engine"),
    (
        "Liger kernels",
        "ds.use_liger_kernel",
        "they replace layers of the Hugging Face model, and this backend has Megatron-Core's",
    ),
    (
        "attention and expert kernels",
        "ds.attn_implementation ds.experts_implementation",
        "Megatron-Core and Transformer Engine have their own kernels",
    ),
    (
        "reentrant checkpointing",
        "actor.gradient_checkpointing_reentrant",
        "Megatron-Core recomputes whole layers in its own way",
    ),
    ("universal checkpoints", "ds.use_universal_ckpt", "every checkpoint of this backend loads under any layout"),
    ("offload of the reference model", "ref.offload", "the reference model stays on its device"),
    ("VLM", "data.max_images_per_prompt actor.freeze_visual_encoder", "this backend trains text models only"),
    ("value head", "ds.value_head_prefix", "there is no value model and no reward model on GPUs"),
    ("local rank", "local_rank", "Ray places the ranks"),
)

IGNORED = frozenset(flag for _, flags, _ in REFUSED_FLAGS for flag in flags.split())
"""Flags that are refused unless they have their default value, so the default itself does not matter."""

WITHOUT_A_FLAG = (
    Feature(
        "critic",
        REFUSED,
        "there is no value model. gae is OpenRLHF's default; set group_norm, rloo, reinforce_baseline, dr_grpo or reinforce",
        "--algo.advantage.estimator gae",
        lambda args: args.algo.advantage.estimator == "gae",
    ),
    Feature(
        "reward model on GPUs",
        REFUSED,
        "set --reward.remote_url or --train.agent_func_path. Rewards come from a file, a service or an agent",
        "--reward.model_name_or_path",
        lambda args: not (args.reward.remote_url or args.train.agent_func_path),
    ),
)

FEATURES = (
    *DONE,
    *(
        Feature(name, REFUSED, why, ", ".join(f"--{flag}" for flag in flags.split()))
        for name, flags, why in REFUSED_FLAGS
    ),
    *WITHOUT_A_FLAG,
)


def check_features(args: Arguments, defaults: Mapping[str, Any]) -> None:
    """Raise Refused, a ValueError, for the features that this backend refuses.

    defaults: the parser's default of every flag that the run sets, by dest.
    """
    refused = [
        f"--{flag} is {cpu.lookup(args, flag)}, but --backend is megatron: {why}; it is allowed with --backend deepspeed only"
        for _, flags, why in REFUSED_FLAGS
        for flag in flags.split()
        if flag in defaults and cpu.lookup(args, flag) != defaults[flag]
    ]
    refused += [
        f"{feature.flag} ({feature.name}) does not go with --backend megatron: {feature.why}"
        for feature in WITHOUT_A_FLAG
        if feature.on(args)
    ]
    if refused:
        raise Refused(map(ValueError, refused))


if __name__ == "__main__":
    print(table(FEATURES))
