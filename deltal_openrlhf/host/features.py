"""The features of the host and what each means for this package's loss: exact, refused or untouched. The start checks this table.

exact      The gradient equals the brute-force gradient of aggregation.py. The named test shows it.
refused    The start stops with the reason.
untouched  The loss's weights do not affect the feature. It does what the host does.

colocate_all and asynchronous training change the timing, not the trainer that tests/parity/test_gradients.py checks. tests/end_to_end runs
them in the real pipeline. `python -m deltal_openrlhf.host.features` prints the table of docs/reference/features.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs.faults import Refused

EXACT, REFUSED, UNTOUCHED = "exact", "refused", "untouched"


@dataclass(frozen=True)
class Feature:
    """One row of the table.

    why: the test of an exact feature, the reason for the status of another. on: whether a run uses it.
    """

    name: str
    status: str
    why: str
    flag: str = ""
    on: Callable[[Arguments], bool] = lambda args: False


GRADIENT_TEST = "tests/parity/test_gradients.py"
FEATURES = (
    Feature("1 and 2 data-parallel ranks", EXACT, GRADIENT_TEST),
    Feature("gradient accumulation, uneven micro batches", EXACT, GRADIENT_TEST),
    Feature("ZeRO 0, 1, 2, 3", EXACT, GRADIENT_TEST, "--ds.zero_stage"),
    Feature("packing", EXACT, GRADIENT_TEST, "--ds.packing_samples"),
    Feature("dynamic batch", EXACT, GRADIENT_TEST, "--train.dynamic_batch_enable"),
    Feature("max_epochs > 1", EXACT, GRADIENT_TEST, "--train.max_epochs"),
    Feature("k3 KL loss", EXACT, GRADIENT_TEST, "--algo.kl.use_loss"),
    Feature("entropy term", EXACT, GRADIENT_TEST, "--actor.entropy_coef"),
    Feature("dual clip", EXACT, GRADIENT_TEST, "--actor.dual_clip"),
    Feature("GSPO, with the other modes", EXACT, GRADIENT_TEST, "--actor.policy_loss_type gspo"),
    Feature("importance-sampling correction", EXACT, GRADIENT_TEST, "--algo.advantage.is_correction_level"),
    Feature("LoRA", EXACT, GRADIENT_TEST, "--ds.lora.rank"),
    Feature("EMA", EXACT, GRADIENT_TEST, "--train.enable_ema"),
    Feature("multi-turn masks with holes", EXACT, GRADIENT_TEST, "--train.agent_func_path"),
    Feature("short last rollout, static batches", EXACT, GRADIENT_TEST),
    Feature("VLM", EXACT, "tests/parity/test_image_gradients.py", "--data.max_images_per_prompt"),
    Feature("colocate_all", EXACT, "tests/end_to_end", "--train.colocate_all"),
    Feature("asynchronous training, partial rollout", EXACT, "tests/end_to_end", "--train.async_enable"),
    Feature(
        "ring attention",
        REFUSED,
        "its gradient with these weights was not measured, since it needs flash-attn on GPUs. For long responses, use packing, "
        "dynamic batches or ZeRO-3",
        "--ds.ring_attn_size",
        lambda args: args.ds.ring_attn_size > 1,
    ),
    Feature(
        "tensor parallel (AutoTP)",
        REFUSED,
        "its gradient with these weights was not measured, since DeepSpeed's AutoTP needs CUDA",
        "--ds.tensor_parallel_size",
        lambda args: args.ds.tensor_parallel_size > 1,
    ),
    Feature(
        "deepcompile",
        REFUSED,
        "it reduces gradients inside a compiled graph, where the guards cannot check them",
        "--ds.deepcompile",
        lambda args: args.ds.deepcompile,
    ),
    Feature(
        "GSPO, with OpenRLHF's own modes",
        UNTOUCHED,
        "the host takes the mean over responses whatever --loss_agg says, token-mean too",
        "--actor.policy_loss_type gspo",
    ),
    Feature(
        "Muon", UNTOUCHED, "it gets the exact gradient. Its update has no scale, so M cancels", "--actor.optim muon"
    ),
    Feature("optimizer offload", UNTOUCHED, "it gets the exact gradient, on another device", "--ds.adam_offload"),
    Feature("MoE auxiliary loss", UNTOUCHED, "the host adds it next to the policy loss", "--actor.aux_loss_coef"),
    Feature("fp16", UNTOUCHED, "a step that overflows is left out and counts as skipped", "--ds.param_dtype fp16"),
    Feature(
        "short last rollout, dynamic batches",
        UNTOUCHED,
        "the host leaves out responses that do not fill an optimizer step. A warning says how many",
        "--train.dynamic_batch_enable",
    ),
    Feature(
        "gae with critic", UNTOUCHED, "the loss takes the advantages as given. The critic's loss is the host's", "gae"
    ),
)


def check_features(args: Arguments, settings: LossSettings) -> None:
    """Raise ValueError for a feature that DeepSpeed runs refuse. The host's own loss, without this package's weights, allows them all."""
    if refused := [
        ValueError(f"{feature.flag} ({feature.name}) does not go with {settings.describe()}: {feature.why}")
        for feature in FEATURES
        if feature.status == REFUSED and settings.weighted and feature.on(args)
    ]:
        raise Refused(refused)
    if args.train.dynamic_batch_enable and args.ds.zero_stage == 1 and args.ds.overlap_comm:
        raise ValueError("--ds.overlap_comm with --train.dynamic_batch_enable needs --ds.zero_stage 2 or 3, it is 1")
    if args.train.enable_ema and args.ds.tensor_parallel_size > 1:
        raise ValueError(
            f"--train.enable_ema with --ds.tensor_parallel_size {args.ds.tensor_parallel_size}: the average needs ranks that have the "
            "same parameters; leave out --train.enable_ema"
        )
    if args.ds.lora.rank > 0:
        _check_lora(args)
    if args.ds.deepcompile and args.train.dynamic_batch_enable and args.ds.zero_stage in (1, 2):
        raise ValueError(
            "--ds.deepcompile does not go with --train.dynamic_batch_enable and --ds.zero_stage 1 or 2 in DeepSpeed"
        )
    if args.ds.grad_accum_dtype == "fp32" and args.ds.zero_stage == 1 and args.ds.param_dtype == "bf16":
        raise ValueError(
            "--ds.grad_accum_dtype fp32 with --ds.zero_stage 1: DeepSpeed asserts a gradient norm above 0, so a rollout without signal "
            "would end the run; use --ds.zero_stage 2 or 3"
        )


def _check_lora(args: Arguments) -> None:
    """Refuse flags with which lora.py cannot mend the host's LoRA. (The host's own LoRA runs end at the first weight sync.)"""
    rank = f"--ds.lora.rank is {args.ds.lora.rank}"
    if args.ds.zero_stage == 3:
        raise ValueError(f"{rank} with --ds.zero_stage 3: LoRA weights reach vLLM with --ds.zero_stage 0, 1 and 2 only")
    if args.ds.load_in_4bit:
        raise ValueError(
            f"{rank} with --ds.load_in_4bit: 4-bit weights cannot be merged for vLLM; leave out --ds.load_in_4bit"
        )
    if args.train.enable_ema:
        raise ValueError(
            f"{rank} with --train.enable_ema: the host averages an EMA model without adapters; leave out --train.enable_ema"
        )
    if args.data.max_images_per_prompt > 0 and args.actor.freeze_visual_encoder:
        raise ValueError(
            f"{rank} with --actor.freeze_visual_encoder: OpenRLHF gives the frozen vision tower adapters, and trains them; leave it out"
        )


def table(features: Sequence[Feature] = FEATURES) -> str:
    """The feature table in Markdown."""
    rows = ["| feature | flag | status | test or reason |", "|---|---|---|---|"]
    rows += [f"| {f.name} | {f'`{f.flag}`' if f.flag else ''} | {f.status} | {f.why} |" for f in features]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
