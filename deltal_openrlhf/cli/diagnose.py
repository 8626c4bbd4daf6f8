"""`deltal diagnose`: bias and variance of the aggregation methods on one's own model, with intervals."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.models.remote_code import ALLOWS, TRUST_HELP, check
from deltal_openrlhf.runs.command import OneLineParser, check_folder, check_numbers, run_command
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.journal import SETTINGS
from deltal_openrlhf.runs.packages import check_report_packages

PROG = "deltal diagnose"
ADVANTAGES = ("group_norm", "dr_grpo", "rloo")
EPILOG = """\
--out gets report.html, plots/ and findings.json. After an interruption the same command resumes. A larger --prompts adds prompts to the
folder. Another model, other data, another sampling or another projection needs another folder. --batch_prompts, --advantage and
--max_length may change, since they only concern the statistics. --rollouts reads what a training run saved with --deltal.save_rollouts.
Then --model is the checkpoint that sampled them.

  deltal diagnose --model runs/base --data data/countdown/train.jsonl \\
      --out runs/base/diagnose
"""
DEFAULTS = {"prompts": 128, "n": 8, "max_new_tokens": 1024, "temperature": 1.0, "reward": "auto", "batch_size": 64}
"""Defaults of flags that only --data takes (--prompts apart). The parser has None, so that one given with --rollouts is seen."""

QUIET = ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal diagnose --model FOLDER --data FILE [FILE ...] --out DIR [options]\n"
        "       deltal diagnose --model FOLDER --rollouts FILE.jsonl --out DIR [options]",
        description="Measure the gradients of single responses: how their variance grows with length, and the bias and variance of each "
        "aggregation method.",
        epilog=EPILOG,
    )
    made.add_argument("--model", required=True, help="folder of a checkpoint, or a name on the Hugging Face hub")
    made.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help=".jsonl or .parquet files as deltal data writes; prompts are taken at random",
    )
    made.add_argument("--rollouts", type=Path, metavar="FILE", help="responses that a training run saved")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    made.add_argument(
        "--prompts", type=int, metavar="N", help="number of prompts, which may grow (default 128, or all of --rollouts)"
    )
    made.add_argument("--n", type=int, metavar="N", help="responses to each prompt (default 8)")
    made.add_argument("--max_new_tokens", type=int, metavar="N", help="longest response in tokens (default 1024)")
    made.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="temperature of sampling and of the gradients, above 0 (default 1)",
    )
    made.add_argument(
        "--reward",
        metavar="REWARD",
        help="auto (default): by the label, as deltal eval grades; or what --reward.remote_url takes: deltal:NAME or a "
        "file with reward_func",
    )
    made.add_argument("--batch_size", type=int, metavar="N", help="responses sampled at a time (default 64)")
    made.add_argument(
        "--batch_prompts",
        type=int,
        default=16,
        metavar="N",
        help="prompts of one optimizer step (default 16); 4 batches are needed",
    )
    made.add_argument(
        "--advantage",
        choices=ADVANTAGES,
        default="group_norm",
        help="advantage estimator, as OpenRLHF names it (default group_norm)",
    )
    made.add_argument(
        "--max_length",
        type=float,
        metavar="M",
        help="M in tokens (default --max_new_tokens, or M of the run that saved the rollouts)",
    )
    made.add_argument(
        "--projection",
        default="auto",
        metavar="WIDTH",
        help="a random sketch of WIDTH values, a power of two, for each layer type; full: whole gradients; auto (default): what fits, or "
        "what --out has",
    )
    made.add_argument(
        "--memory_gb",
        type=float,
        default=4.0,
        metavar="GB",
        help="memory beyond the model and the activations of one response (default 4)",
    )
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of prompts, responses, projection and bootstrap (default 0)",
    )
    made.add_argument("--trust_remote_code", action="store_true", help=TRUST_HELP)
    made.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto (default: a GPU if there is one), cpu, cuda or cuda:N"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM), 1 (a reward file failed, or memory did not suffice)."""
    command = parser()
    args = command.parse_args(argv)
    line = shlex.join([*PROG.split(), *argv])
    return run_command(command, lambda: _diagnose(args, line), lambda: (args.out / SETTINGS).exists())


def _diagnose(args: argparse.Namespace, command: str) -> int:
    _check_flags(args)
    check_report_packages()
    # Here, so that --help and wrong flags do not wait for torch.
    import torch

    from deltal_openrlhf import cpu

    variables = cpu.environment()  # taken before transformers is imported
    os.environ.update({name: variables[name] for name in (*QUIET, *(("DS_ACCELERATOR",) if cpu.is_needed() else ()))})

    from deltal_openrlhf.diagnostics import rewarding
    from deltal_openrlhf.diagnostics.responses import Sampling
    from deltal_openrlhf.diagnostics.run import Request, diagnose
    from deltal_openrlhf.diagnostics.sources import from_prompts, from_saved
    from deltal_openrlhf.host import remote_code
    from deltal_openrlhf.models import checkpoint

    remote_code.install()
    remote_code.choose(args.trust_remote_code)
    device = _device(args.device)
    if not args.rollouts:
        rewarding.check_reward(args.reward)
    folder = checkpoint.locate(args.model)
    if not args.trust_remote_code:
        check(str(folder), ALLOWS, flag="--model")
    if args.rollouts:
        source = from_saved(args.rollouts, args.prompts, args.seed)
    else:
        how = Sampling(args.prompts, args.n, args.max_new_tokens, args.temperature, args.batch_size, args.seed)
        source = from_prompts(args.model, folder, args.data, how, args.reward)
    request = Request(
        model=args.model,
        folder=folder,
        out=args.out,
        batch_prompts=args.batch_prompts,
        advantage=args.advantage,
        max_length=args.max_length,
        projection=args.projection,
        memory_gb=args.memory_gb,
        seed=args.seed,
        device=torch.device(device),
        command=command,
    )
    try:
        diagnose(request, source)
    except (rewarding.RewardFailed, torch.OutOfMemoryError) as error:
        print(f"{PROG}: stopped: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    if bool(args.data) == bool(args.rollouts):
        raise ValueError("one of --data and --rollouts is needed" + (", not both" if args.data else ""))
    if args.rollouts:
        for name in DEFAULTS:
            if name != "prompts" and getattr(args, name) is not None:
                raise ValueError(f"--{name} goes with --data only: --rollouts {args.rollouts} holds the responses")
    else:
        for name, value in DEFAULTS.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
    least = {"prompts": 1, "n": 2, "max_new_tokens": 1, "batch_size": 1, "batch_prompts": 1, "seed": 0}
    check_numbers(args, least, positive=("temperature", "max_length", "memory_gb"))
    if args.projection not in ("auto", "full") and not _is_power_of_two(args.projection):
        raise ValueError(
            f"--projection is {args.projection}, allowed are auto, full and a width that is a power of two"
        )
    check_folder(args.out)


def _is_power_of_two(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) >= 2 and int(text).bit_count() == 1


def _device(name: str) -> str:
    import torch

    gpus = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if gpus else "cpu"
    allowed = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if name not in allowed:
        raise ValueError(f"--device is {name}, allowed here are auto, {', '.join(allowed)}")
    return name
