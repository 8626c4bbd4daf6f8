"""`python -m megatron_ext.parity`: one sharded step against one process, on this machine. Exit code 0 where they agree, else 1."""

import argparse
import os
import sys

from deltal_openrlhf import cpu
from deltal_openrlhf.aggregation import MODES, SCOPES
from deltal_openrlhf.parity.cases import Case
from deltal_openrlhf.runs.command import OneLineParser
from megatron_ext.layout import ParallelLayout
from megatron_ext.modules import MODULES, Modules, chosen
from megatron_ext.parity.cases import DTYPE, MODELS, TOLERANCES, WRONG, ShardedCase

# What is called otherwise by `deltal train`, or has no dashes in the library.
FLAGS = (
    ("modules is", "--modules is"),
    ("--megatron.virtual_pipeline_parallel_size", "--vpp"),
    ("--megatron.tensor_parallel_size", "--tp"),
    ("--megatron.pipeline_parallel_size", "--pp"),
    ("--megatron.context_parallel_size", "--cp"),
    ("--megatron.expert_parallel_size", "--ep"),
    ("--megatron.sequence_parallel", "--sp"),
)
PROG = "python -m megatron_ext.parity"


def parser() -> OneLineParser:
    parser = OneLineParser(
        prog=PROG,
        description="One optimizer step of ∆L cut over ranks against the same step in one process (transformers and autograd), on a tiny "
        "model: the gradient before clipping, the loss, and the parameters after an SGD step and after a clipped AdamW step. Starts its "
        "own processes: gloo on CPUs, NCCL on GPUs. Exits with 1 if they differ.",
    )
    layout = parser.add_argument_group("layout, in ranks")
    layout.add_argument("--tp", type=int, default=1, help="tensor parallel size (default 1)")
    layout.add_argument("--pp", type=int, default=1, help="pipeline parallel size (default 1)")
    layout.add_argument("--vpp", type=int, help="model chunks per pipeline rank, 2 or more: the interleaved schedule")
    layout.add_argument("--cp", type=int, default=1, help="context parallel size (default 1)")
    layout.add_argument("--ep", type=int, default=1, help="expert parallel size (default 1), with --model qwen3_moe")
    layout.add_argument(
        "--dp", type=int, default=1, help="data parallel size (default 1), with the distributed optimizer"
    )
    layout.add_argument("--sp", action="store_true", help="sequence parallelism, with --tp 2 or more")
    batch = parser.add_argument_group("batch and loss")
    batch.add_argument("--packed", action="store_true", help="packed micro batches (thd) instead of padded ones")
    batch.add_argument("--micro-batch-size", type=int, default=3, help="responses of a micro batch (default 3)")
    batch.add_argument("--max-tokens", type=int, help="token budget of a micro batch, in place of --micro-batch-size")
    batch.add_argument("--mode", choices=MODES, default="deltal", help="loss aggregation (default deltal)")
    batch.add_argument("--alpha", type=float, help="exponent of deltal (default 0.75)")
    batch.add_argument("--scope", choices=SCOPES, help="over what deltal normalises (default step)")
    batch.add_argument("--kl", action="store_true", help="with the k3 KL loss")
    batch.add_argument("--entropy", action="store_true", help="with the entropy term")
    batch.add_argument("--dual-clip", type=float, help="with dual clipping at this bound, above 1")
    batch.add_argument("--correction", choices=("token", "seq"), help="with the importance-sampling correction")
    model = parser.add_argument_group("model")
    model.add_argument("--model", choices=MODELS, default="qwen2", help="family of the tiny model (default qwen2)")
    model.add_argument("--tied", action="store_true", help="input and output embeddings are one tensor")
    model.add_argument("--recompute", action="store_true", help="activations are computed again in backward")
    model.add_argument(
        "--modules",
        choices=MODULES,
        help="of the sharded model: Transformer Engine's (default on GPUs), or plain torch in their place (default without GPUs, where "
        "nothing else runs)",
    )
    model.add_argument(
        "--dtype",
        choices=tuple(TOLERANCES),
        help="of the sharded model; default fp32 with plain modules and bf16 with Transformer Engine's, which do not compute in fp32",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="instead of one case all of a covering set (1, 2 and 4 ranks, with negative controls), as a Markdown table; minutes",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the model and the batch (default 0)")
    parser.add_argument(
        "--negative-control",
        choices=WRONG,
        help="a mistake that has to be noticed, so the exit code has to be 1: weights normalised in each micro batch, or the loss times 2",
    )
    parser.add_argument(
        "--timeout", type=float, default=600, help="seconds after which all processes are ended (default 600)"
    )
    return parser


def _in_our_flags(message: str) -> str:
    for flag in FLAGS:
        message = message.replace(*flag)
    return message


def main(argv: list[str] | None = None) -> int:
    arguments = parser()
    args = arguments.parse_args(argv)
    if args.all and (
        given := [
            word
            for word in argv or sys.argv[1:]
            if word.startswith("--") and word.partition("=")[0] not in ("--all", "--timeout", "--dtype", "--modules")
        ]
    ):
        arguments.error(
            f"{given[0]} is given with --all, which has cases of its own; only --modules, --dtype and --timeout go with it"
        )
    if cpu.is_needed():
        os.environ.update(cpu.environment())
    try:
        modules = chosen(args.modules, cpu.is_needed())
    except ValueError as error:
        arguments.error(_in_our_flags(str(error)))
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    from megatron_ext.parity import cases_for, run_cases

    cases = cases_for(modules, args.dtype) if args.all else [_case(args, modules)]
    try:
        for case in cases:
            case.check()
    except ValueError as error:
        arguments.error(_in_our_flags(str(error)))
    if args.all:
        return _run_all(cases, modules, args.timeout)
    case = cases[0]
    print(f"{case}\n{case.world} processes, {modules} modules", flush=True)
    try:
        result = run_cases([case], timeout=args.timeout)[0]
    except RuntimeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    print(result.report())
    return 0 if result.fits() else 1


def _case(args: argparse.Namespace, modules: Modules) -> ShardedCase:
    loss = Case(
        mode=args.mode,
        alpha=args.alpha,
        scope=args.scope,
        micro=args.micro_batch_size,
        kl=args.kl,
        entropy=args.entropy,
        dual_clip=args.dual_clip,
        correction=args.correction or "off",
    )
    return ShardedCase(
        layout=ParallelLayout(args.tp, args.pp, args.vpp, args.cp, args.ep, args.sp),
        data_parallel=args.dp,
        loss=loss,
        packed=args.packed,
        max_tokens=args.max_tokens,
        model=args.model,
        tied=args.tied,
        recompute=args.recompute,
        dtype=args.dtype or DTYPE[modules],
        seed=args.seed,
        wrong=args.negative_control,
        modules=modules,
    )


def _run_all(cases: list[ShardedCase], modules: Modules, timeout: float) -> int:
    from megatron_ext.parity import run_cases

    print(
        f"{modules} modules\n\n| case | gradient, relative | loss | after SGD | after AdamW | |\n|---|---|---|---|---|---|",
        flush=True,
    )
    as_wanted = True
    for world in sorted({case.world for case in cases}):
        for result in run_cases([case for case in cases if case.world == world], timeout=timeout):
            numbers = " | ".join(f"{value:.0e}" for value in (result.gradient, result.loss, result.sgd, result.adam))
            agrees = result.fits()
            as_wanted &= agrees == (result.case.wrong is None)
            print(f"| {result.case} | {numbers} | {'agrees' if agrees else 'differs'} |", flush=True)
    print("as it should be" if as_wanted else "NOT as it should be: a case differs, or a negative control agrees")
    return 0 if as_wanted else 1


if __name__ == "__main__":
    sys.exit(main())
