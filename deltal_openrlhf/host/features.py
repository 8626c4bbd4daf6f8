"""What each feature of the host does to the loss of this package: exact, refused or untouched. Start-up checks this table.

exact      the gradient is the brute-force gradient of aggregation.py; the named test shows it. colocate_all and asynchronous training
           change who runs when, not the trainer that test_gradients.py checks: tests/end_to_end runs them in the real pipeline
refused    start-up stops with the reason
untouched  the feature does not meet the loss's weights; it does what the host does
`python -m deltal_openrlhf.host.features` prints the table that stands in docs/reference/features.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deltal_openrlhf.arguments import ALL_ROWS, Arguments
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs.redaction import redacted

EXACT, REFUSED, UNTOUCHED = "exact", "refused", "untouched"


@dataclass(frozen=True)
class Feature:
    """One row of the table. why: the test of an exact feature, the reason of another. on: whether a run uses it."""

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
    Feature("importance-sampling correction", EXACT, GRADIENT_TEST, "--algo.advantage.is_correction_level"),
    Feature("LoRA", EXACT, GRADIENT_TEST, "--ds.lora.rank"),
    Feature("EMA", EXACT, GRADIENT_TEST, "--train.enable_ema"),
    Feature("multi-turn masks with holes", EXACT, GRADIENT_TEST, "--train.agent_func_path"),
    Feature("short last rollout, static batches", EXACT, GRADIENT_TEST),
    Feature("colocate_all", EXACT, "tests/end_to_end", "--train.colocate_all"),
    Feature("asynchronous training, partial rollout", EXACT, "tests/end_to_end", "--train.async_enable"),
    Feature(
        "ring attention",
        REFUSED,
        "its gradient under these weights was not measured (it needs flash-attn on GPUs); long responses: packing, dynamic batch, ZeRO-3",
        "--ds.ring_attn_size",
        lambda args: args.ds.ring_attn_size > 1,
    ),
    Feature(
        "tensor parallel (AutoTP)",
        REFUSED,
        "its gradient under these weights was not measured (DeepSpeed's AutoTP needs CUDA)",
        "--ds.tensor_parallel_size",
        lambda args: args.ds.tensor_parallel_size > 1,
    ),
    Feature(
        "deepcompile",
        REFUSED,
        "it reduces gradients inside a compiled graph, which the guards do not see",
        "--ds.deepcompile",
        lambda args: args.ds.deepcompile,
    ),
    Feature(
        "GSPO",
        UNTOUCHED,
        "with --loss_agg token-mean or seq-mean-token-mean it is the host's own sequence mean; refused with deltal and "
        "seq-mean-token-sum-norm, since its ratio is one per sequence",
        "--actor.policy_loss_type gspo",
    ),
    Feature(
        "Muon", UNTOUCHED, "it gets the exact gradient; its update has no scale, so M cancels", "--actor.optim muon"
    ),
    Feature("optimizer offload", UNTOUCHED, "it gets the exact gradient, on another device", "--ds.adam_offload"),
    Feature("MoE auxiliary loss", UNTOUCHED, "the host adds it next to the policy loss", "--actor.aux_loss_coef"),
    Feature("fp16", UNTOUCHED, "steps that overflow are left out and count as skipped", "--ds.param_dtype fp16"),
    Feature(
        "short last rollout, dynamic batches",
        UNTOUCHED,
        "the host leaves out what does not fill an optimizer step; a warning says how many",
        "--train.dynamic_batch_enable",
    ),
    Feature(
        "VLM", UNTOUCHED, "image tokens are no action tokens: the masks are the same", "--data.max_images_per_prompt"
    ),
    Feature("gae with critic", UNTOUCHED, "advantages enter as given; the critic's loss is the host's", "gae"),
)


def has_credentials(args: Arguments) -> bool:
    return bool(args.logger.wandb.key) or redacted(args.reward.remote_url or "") != (args.reward.remote_url or "")


# The host's faults, what is done about them, and when a run meets them.
FAULTS: tuple[tuple[str, Callable[[Arguments], bool]], ...] = (
    (
        "dynamic batch with ZeRO-1/2 kept only the last micro batch's gradient: DeepSpeed's managed accumulation is switched off",
        lambda args: args.train.dynamic_batch_enable and args.ds.zero_stage in (1, 2),
    ),
    ("micro batches without a trained token: averaged instead of divided by zero", lambda args: True),
    (
        "policy loss, KL and entropy were logged as shares of micro batches, and so drove the adaptive KL: they are the means",
        lambda args: True,
    ),
    ("incomplete optimizer steps of a short rollout: completed, not carried over", lambda args: True),
    (
        "the learning rate was planned for fewer steps than short rollouts take, so that it rose again: for as many",
        lambda args: True,
    ),
    (
        "the average of the weights lost small changes in bf16, all of them with ZeRO-3, and its past on resume: float32, and saved",
        lambda args: args.train.enable_ema,
    ),
    (
        "a resume ignored the command line's learning rate, weight decay and betas: others are refused, or taken if that is allowed",
        lambda args: args.ckpt.load_enable,
    ),
    (
        "a run that had ended exported over its model when it was given again: it ends at once",
        lambda args: args.ckpt.load_enable,
    ),
    (
        "an adaptive KL coefficient began anew on resume: it is saved",
        lambda args: bool(args.algo.kl.target),
    ),
    (
        "checkpoints: the new one is complete before an old one is deleted",
        lambda args: args.backend == "deepspeed" and (args.ckpt.save_steps > 0 or args.eval.steps > 0),
    ),
    (
        "a damaged checkpoint was trained on: checksums tell, and the run resumes from the newest whole one",
        lambda args: args.ckpt.save_steps > 0 or args.eval.steps > 0 or args.ckpt.load_enable,
    ),
    ("semaphores, sockets and files of killed processes stayed behind: the run removes its own", lambda args: True),
    (
        "asynchronous training saved as best the weights of a later step, and left out the last evaluation: it waits for evaluations",
        lambda args: args.train.async_enable and bool(args.eval.dataset) and args.eval.steps > 0,
    ),
    (
        "--train.seed did not fix the order of the prompts, nor the responses: it does, also after a resume",
        lambda args: True,
    ),
    (
        "prompts generated for later steps were lost on resume, and a short last rollout repeated its episode: each is trained once",
        lambda args: args.ckpt.save_steps > 0 or args.ckpt.load_enable,
    ),
    ("LoRA: vLLM gets the merged weights under their own names", lambda args: args.ds.lora.rank > 0),
    (
        "a reward function that raises, exits or never returns: stops the run",
        lambda args: bool(args.reward.remote_url),
    ),
    ("SIGTERM ended a run without a word, and nothing was saved: it saves, and exits with 143", lambda args: True),
    (
        "a reward or score that is no finite number was trained on, or filtered all data: stops the run",
        lambda args: bool(args.reward.remote_url or args.train.agent_func_path),
    ),
    (
        "extra_logs that are no numbers, or that not all responses have, ended the run: left out, or means over those that have them",
        lambda args: bool(args.reward.remote_url or args.train.agent_func_path),
    ),
    (
        "an episode that the context length cuts counted as finished: it counts as cut off",
        lambda args: bool(args.train.agent_func_path),
    ),
    (
        "the soft punishment let responses off that the context length cuts: they are punished as the longest",
        lambda args: args.reward.overlong_buffer_len is not None,
    ),
    ("a run that trained nothing ended as done: it ends with the reason", lambda args: True),
    (
        "the wandb key, and passwords in reward addresses, stood in the log and in wandb's config: hidden",
        has_credentials,
    ),
    (
        "Python that a model's folder brings along was always run: only with --deltal.trust_remote_code",
        lambda args: not args.deltal.trust_remote_code,
    ),
    (
        "--data.max_samples cut the evaluation sets too: they are read whole",
        lambda args: bool(args.eval.dataset) and args.data.max_samples < ALL_ROWS,
    ),
    (
        "a prompt in two evaluation sets counted for the last one only: it counts for each",
        lambda args: bool(args.eval.dataset),
    ),
    (
        "a resume trained on whatever rows it found: they are compared with the checkpoint's, others are refused",
        lambda args: args.ckpt.load_enable,
    ),
    ("NaN or inf in a loss or gradient norm: stops the run before the update", lambda args: True),
)


def check_features(args: Arguments, settings: LossSettings) -> None:
    """Raise ValueError for a feature that DeepSpeed runs refuse. The host's own loss without our weights keeps them all."""
    for feature in FEATURES:
        if feature.status == REFUSED and settings.weighted and feature.on(args):
            raise ValueError(f"{feature.flag} ({feature.name}) does not go with {settings.describe()}: {feature.why}")
    if args.train.dynamic_batch_enable and args.ds.zero_stage == 1 and args.ds.overlap_comm:
        raise ValueError("--ds.overlap_comm with --train.dynamic_batch_enable needs --ds.zero_stage 2 or 3, it is 1")
    if args.train.enable_ema and args.ds.tensor_parallel_size > 1:
        raise ValueError(
            f"--train.enable_ema with --ds.tensor_parallel_size {args.ds.tensor_parallel_size}: the average is divided over ranks "
            "that have the same parameters; leave out --train.enable_ema"
        )
    if args.ds.lora.rank > 0:
        _check_lora(args)
    if args.ds.deepcompile and args.train.dynamic_batch_enable and args.ds.zero_stage in (1, 2):
        raise ValueError(
            "--ds.deepcompile does not go with --train.dynamic_batch_enable and --ds.zero_stage 1 or 2 in DeepSpeed"
        )
    if args.ds.grad_accum_dtype == "fp32" and args.ds.zero_stage == 1 and args.ds.param_dtype == "bf16":
        raise ValueError(
            "--ds.grad_accum_dtype fp32 with --ds.zero_stage 1 makes DeepSpeed assert a gradient norm above 0, so a rollout without "
            "signal would end the run; use --ds.zero_stage 2 or 3"
        )


def _check_lora(args: Arguments) -> None:
    """The host's own LoRA runs end at the first weight sync; lora.py mends that, but not together with these."""
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
    if args.data.max_images_per_prompt > 0:
        raise ValueError(
            f"{rank} with --data.max_images_per_prompt {args.data.max_images_per_prompt}: LoRA weights of a VLM are untested"
        )


def announcements(args: Arguments) -> list[str]:
    """One line for each fault of the host that this run meets."""
    return [text for text, met in FAULTS if met(args)]


def table(features: Sequence[Feature] = FEATURES) -> str:
    """The feature table in Markdown."""
    rows = ["| feature | flag | status | test or reason |", "|---|---|---|---|"]
    rows += [f"| {f.name} | {f'`{f.flag}`' if f.flag else ''} | {f.status} | {f.why} |" for f in features]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
