"""`python -m megatron_ext.parity`: one sharded step against one process, on this machine. Exit code 0 where they agree, else 1."""

import argparse
import sys
from dataclasses import fields
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.aggregation import MODES, SCOPES
from deltal_openrlhf.parity.cases import Case
from deltal_openrlhf.runs.command import OneLineParser
from megatron_ext import parity
from megatron_ext.layout import ParallelLayout
from megatron_ext.modules import MODULES, Modules, chosen
from megatron_ext.parity.cases import DTYPE, MODELS, TOLERANCES, WRONG, ShardedCase

# What is called otherwise by `deltal train`, or has no dashes in the library.
FLAGS = {
    "modules is": "--modules is",
    "--megatron.virtual_pipeline_parallel_size": "--vpp",
    "--megatron.tensor_parallel_size": "--tp",
    "--megatron.pipeline_parallel_size": "--pp",
    "--megatron.context_parallel_size": "--cp",
    "--megatron.expert_parallel_size": "--ep",
    "--megatron.sequence_parallel": "--sp",
}
WITH_ALL = ("--all", "--timeout", "--dtype", "--modules")
PROG = "python -m megatron_ext.parity"


def parser() -> OneLineParser:
    """The dests are the names of the fields of ParallelLayout, Case and ShardedCase."""
    parser = OneLineParser(
        prog=PROG,
        description="One optimizer step of ∆L cut over ranks against the same step in one process (transformers and autograd), on a tiny "
        "model: the gradient before clipping, the loss, and the parameters after an SGD step and after a clipped AdamW step. Starts its "
        "own processes: gloo on CPUs, NCCL on GPUs. Exits with 1 if they differ.",
    )
    add = parser.add_argument_group("layout, in ranks").add_argument
    size: dict[str, Any] = {"type": int, "default": 1, "metavar": "N"}
    add("--tp", dest="tensor", **size, help="tensor parallel size (default 1)")
    add("--pp", dest="pipeline", **size, help="pipeline parallel size (default 1)")
    interleaved = "model chunks per pipeline rank, 2 or more: the interleaved schedule"
    add("--vpp", dest="virtual_pipeline", type=int, metavar="N", help=interleaved)
    add("--cp", dest="context", **size, help="context parallel size (default 1)")
    add("--ep", dest="expert", **size, help="expert parallel size (default 1), with --model qwen3_moe")
    add("--dp", dest="data_parallel", **size, help="data parallel size (default 1), with the distributed optimizer")
    add("--sp", dest="sequence_parallel", action="store_true", help="sequence parallelism, with --tp 2 or more")
    add = parser.add_argument_group("batch and loss").add_argument
    add("--packed", action="store_true", help="packed micro batches (thd) instead of padded ones")
    add("--micro-batch-size", dest="micro", type=int, default=3, help="responses of a micro batch (default 3)")
    add("--max-tokens", type=int, help="token budget of a micro batch, in place of --micro-batch-size")
    add("--mode", choices=MODES, default="deltal", help="loss aggregation (default deltal)")
    add("--alpha", type=float, help="exponent of deltal (default 0.75)")
    add("--scope", choices=SCOPES, help="over what deltal normalises (default step)")
    add("--kl", action="store_true", help="with the k3 KL loss")
    add("--entropy", action="store_true", help="with the entropy term")
    add("--dual-clip", type=float, help="with dual clipping at this bound, above 1")
    correction = "with the importance-sampling correction"
    add("--correction", choices=("token", "seq"), default="off", help=correction)
    add = parser.add_argument_group("model").add_argument
    add("--model", choices=MODELS, default="qwen2", help="family of the tiny model (default qwen2)")
    add("--tied", action="store_true", help="input and output embeddings are one tensor")
    add("--recompute", action="store_true", help="activations are computed again in backward")
    kinds = "of the sharded model: Transformer Engine's (default on GPUs), or plain torch in their place (default without GPUs, where "
    add("--modules", choices=MODULES, help=f"{kinds}nothing else runs)")
    dtype = "of the sharded model; default fp32 with plain modules and bf16 with Transformer Engine's, which do not compute in fp32"
    add("--dtype", choices=tuple(TOLERANCES), help=dtype)
    covering = "instead of one case all of a covering set (1, 2 and 4 ranks, with negative controls), as a Markdown table; minutes"
    parser.add_argument("--all", action="store_true", help=covering)
    parser.add_argument("--seed", type=int, default=0, help="of the model and the batch (default 0)")
    mistake = "a mistake that has to be noticed, so the exit code has to be 1: weights normalised in each micro batch, or the loss times 2"
    parser.add_argument("--negative-control", dest="wrong", choices=WRONG, help=mistake)
    limit = "seconds after which all processes are ended (default 600)"
    parser.add_argument("--timeout", type=float, default=600, help=limit)
    return parser


def _in_our_flags(message: str) -> str:
    for theirs, ours in FLAGS.items():
        message = message.replace(theirs, ours)
    return message


def main(argv: list[str] | None = None) -> int:
    flags = parser()
    args = flags.parse_args(argv)
    given = [word for word in argv or sys.argv[1:] if word.startswith("--") and word.partition("=")[0] not in WITH_ALL]
    if args.all and given:
        said = "has cases of its own; only --modules, --dtype and --timeout go with it"
        flags.error(f"{given[0]} is given with --all, which {said}")
    cpu.set_environment()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        modules = chosen(args.modules, cpu.is_needed())
        cases = parity.cases_for(modules, args.dtype) if args.all else [_case(args, modules)]
        for case in cases:
            case.check()
    except ValueError as error:
        flags.error(_in_our_flags(str(error)))
    try:
        return _run_all(cases, modules, args.timeout) if args.all else _run(cases[0], modules, args.timeout)
    except RuntimeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1


def _case(args: argparse.Namespace, modules: Modules) -> ShardedCase:
    of_the_loss = ("mode", "alpha", "scope", "micro", "kl", "entropy", "dual_clip", "correction")
    layout = ParallelLayout(**{field.name: getattr(args, field.name) for field in fields(ParallelLayout)})
    own = ("data_parallel", "packed", "max_tokens", "model", "tied", "recompute", "seed", "wrong")
    return ShardedCase(
        layout=layout,
        loss=Case(**{name: getattr(args, name) for name in of_the_loss}),
        dtype=args.dtype or DTYPE[modules],
        modules=modules,
        **{name: getattr(args, name) for name in own},
    )


def _run(case: ShardedCase, modules: Modules, timeout: float) -> int:
    print(f"{case}\n{case.world} processes, {modules} modules", flush=True)
    (result,) = parity.run_cases([case], timeout=timeout)
    print(result.report())
    return 0 if result.fits() else 1


def _run_all(cases: list[ShardedCase], modules: Modules, timeout: float) -> int:
    header = "| case | gradient, relative | loss | after SGD | after AdamW | |\n|---|---|---|---|---|---|"
    print(f"{modules} modules\n\n{header}", flush=True)
    as_wanted = True
    for result in parity.run_cases(cases, timeout=timeout):
        numbers = " | ".join(f"{value:.0e}" for value in (result.gradient, result.loss, result.sgd, result.adam))
        agrees = result.fits()
        as_wanted &= agrees == (result.case.wrong is None)
        print(f"| {result.case} | {numbers} | {'agrees' if agrees else 'differs'} |", flush=True)
    print("as it should be" if as_wanted else "NOT as it should be: a case differs, or a negative control agrees")
    return 0 if as_wanted else 1


if __name__ == "__main__":
    sys.exit(main())
