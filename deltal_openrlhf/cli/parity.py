"""`deltal parity`: one sharded step against one process, on this machine. Exit status 0 where they agree, else 1."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from deltal_openrlhf import cpu
from deltal_openrlhf.modes import MODES, SCOPES, mode
from deltal_openrlhf.runs.command import OneLineParser
from megatron_ext.layout import ParallelLayout
from megatron_ext.modules import MODULES, Modules, chosen
from megatron_ext.parity_choices import DTYPE, MODELS, TOLERANCES, WRONG
from megatron_ext.support import check_installed

if TYPE_CHECKING:
    from megatron_ext.parity import ShardedCase

PROG = "deltal parity"
# What is called otherwise by `deltal train`, or has no dashes in the library.
FLAGS = {
    "modules is": "--modules is",
    "--backend megatron": PROG,
    "--megatron.virtual_pipeline_parallel_size": "--vpp",
    "--megatron.tensor_parallel_size": "--tp",
    "--megatron.pipeline_parallel_size": "--pp",
    "--megatron.context_parallel_size": "--cp",
    "--megatron.expert_parallel_size": "--ep",
    "--megatron.sequence_parallel": "--sp",
}
WITH_ALL = ("all", "timeout", "dtype", "modules")
DESCRIPTION = """\
Compare one optimizer step of ∆L that Megatron cuts over ranks with the same step in one process (transformers and autograd), on a tiny
model. It compares the gradient before clipping, the loss, and the parameters after a step of SGD and of clipped AdamW.
"""
EPILOG = """\
It starts its own processes, with gloo on CPUs and NCCL on GPUs. The exit status is 1 if the two differ.

  deltal parity --tp 2 --pp 2 --sp --packed
  deltal parity --all
"""


def parser() -> OneLineParser:
    """The dests are the names of the fields of ParallelLayout, Case and ShardedCase."""
    made = OneLineParser(prog=PROG, usage="deltal parity [options]", description=DESCRIPTION, epilog=EPILOG)
    add = made.add_argument_group("layout, in ranks").add_argument
    size: dict[str, Any] = {"type": int, "default": 1, "metavar": "N"}
    add("--tp", dest="tensor", **size, help="tensor parallel size (default 1)")
    add("--pp", dest="pipeline", **size, help="pipeline parallel size (default 1)")
    add(
        "--vpp", dest="virtual_pipeline", type=int, metavar="N", help="interleaved: chunks per pipeline rank, 2 or more"
    )
    add("--cp", dest="context", **size, help="context parallel size (default 1)")
    add("--ep", dest="expert", **size, help="expert parallel size (default 1), with --model qwen3_moe")
    add("--dp", dest="data_parallel", **size, help="data parallel size (default 1)")
    add("--sp", dest="sequence_parallel", action="store_true", help="sequence parallelism, with --tp 2 or more")
    add = made.add_argument_group("batch and loss").add_argument
    add("--packed", action="store_true", help="packed micro batches (thd) instead of padded ones")
    add(
        "--micro_batch_size",
        dest="micro",
        type=int,
        default=3,
        metavar="N",
        help="responses of a micro batch (default 3)",
    )
    add("--max_tokens", type=int, metavar="N", help="tokens of a micro batch, in place of --micro_batch_size")
    add("--mode", type=mode, choices=MODES, default="deltal", metavar="MODE", help="a --loss_agg (default deltal)")
    add("--alpha", type=float, metavar="X", help="exponent of deltal (default 0.75)")
    add("--scope", choices=SCOPES, help="responses over which deltal normalises (default step)")
    add("--kl", action="store_true", help="add the k3 KL loss")
    add("--entropy", action="store_true", help="add the entropy term")
    add("--dual_clip", type=float, metavar="X", help="bound of dual clipping, above 1")
    add("--correction", choices=("token", "seq"), default="off", help="importance-sampling correction (default off)")
    add = made.add_argument_group("model").add_argument
    add("--model", choices=MODELS, default="qwen2", help="family of the tiny model (default qwen2)")
    add("--tied", action="store_true", help="input and output embeddings are one tensor")
    add("--recompute", action="store_true", help="recompute activations in backward")
    kinds = "Transformer Engine's modules (default on GPUs) or plain torch (the only ones without a GPU)"
    add("--modules", choices=MODULES, help=kinds)
    dtype = "default fp32 with plain modules, and bf16 with Transformer Engine's, which do not compute in fp32"
    add("--dtype", choices=tuple(TOLERANCES), help=dtype)
    made.add_argument("--all", action="store_true", help="a covering set of cases as a Markdown table; takes minutes")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the model and the batch (default 0)")
    mistake = "make a mistake that has to be noticed, so that the exit status is 1: weights of each micro batch, or twice the loss"
    made.add_argument("--negative_control", dest="wrong", choices=WRONG, help=mistake)
    limit = "seconds until all processes are ended (default 600)"
    made.add_argument("--timeout", type=float, default=600, metavar="S", help=limit)
    return made


def _in_our_flags(message: str) -> str:
    for theirs, ours in FLAGS.items():
        message = message.replace(theirs, ours)
    return message


def main(argv: Sequence[str]) -> int:
    command = parser()
    args = command.parse_args(argv)
    given = [word for word in argv if word.startswith("--") and word[2:].partition("=")[0] not in WITH_ALL]
    if args.all and given:
        said = "has cases of its own; only --modules, --dtype and --timeout go with it"
        command.error(f"{given[0]} is given with --all, which {said}")
    cpu.set_environment()
    from transformers.utils.logging import disable_progress_bar

    from megatron_ext import parity  # imports torch

    disable_progress_bar()
    try:
        modules = chosen(args.modules, cpu.is_needed())
        check_installed(on_cpu=True)  # chosen() has looked for Transformer Engine
        cases = parity.cases_for(modules, args.dtype) if args.all else [_case(args, modules)]
        for case in cases:
            case.check()
    except ValueError as error:
        command.error(_in_our_flags(str(error)))
    try:
        return _run_all(cases, modules, args.timeout) if args.all else _run(cases[0], modules, args.timeout)
    except RuntimeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1


def _case(args: argparse.Namespace, modules: Modules) -> "ShardedCase":
    from deltal_openrlhf.parity.cases import Case
    from megatron_ext.parity import ShardedCase

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


def _run(case: "ShardedCase", modules: Modules, timeout: float) -> int:
    from megatron_ext import parity

    print(f"{case}\n{case.world} processes, {modules} modules", flush=True)
    (result,) = parity.run_cases([case], timeout=timeout)
    print(result.report())
    return 0 if result.fits() else 1


def _run_all(cases: "list[ShardedCase]", modules: Modules, timeout: float) -> int:
    from megatron_ext import parity

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
