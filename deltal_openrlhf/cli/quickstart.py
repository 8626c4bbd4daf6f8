"""`deltal quickstart`: from nothing to a model that reinforcement learning with ∆L made better, on 2 CPU cores or a GPU."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf import cpu
from deltal_openrlhf.cli.model import FOLDER, SMOLLM2, make
from deltal_openrlhf.modes import MODES, mode
from deltal_openrlhf.runs.command import OneLineParser, check_numbers, interrupted, terminable
from deltal_openrlhf.runs.free_memory import available_memory
from deltal_openrlhf.runs.packages import EXTRAS, check_packages, check_report_packages

if TYPE_CHECKING:
    from deltal_openrlhf.quickstart.given import GivenModel


PROG = "deltal quickstart"
OUT = "runs/quickstart"
DESCRIPTION = """\
Train a small model with ∆L on the countdown task, on 2 CPU cores or a GPU, and show what it learned. The stages:

  supervised start  a tiny Llama learns from search traces how to answer
  before            its accuracy on 256 held-out problems, 4 samples each
  training          30 PPO steps with OpenRLHF (Ray, vLLM, DeepSpeed) and ∆L
  after             the accuracy of the trained model on the same problems
  report            a table, a plot, responses.jsonl, summary.json, report.html

With --model smollm2 it is a language model, SmolLM2-135M-Instruct, that learns to work out sums in steps.
"""
EPILOG = """\
Everything goes into --out. After an interruption the same command resumes. A stage whose settings changed is done again.

  deltal quickstart --loss_agg token-mean --out runs/quickstart-dapo
  deltal quickstart --model smollm2
"""


def parser() -> OneLineParser:
    made = OneLineParser(prog=PROG, usage="deltal quickstart [options]", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument(
        "--loss_agg",
        type=mode,
        choices=MODES,
        default="deltal",
        metavar="MODE",
        help=f"loss aggregation: {', '.join(MODES)} (default deltal)",
    )
    made.add_argument("--alpha", type=float, default=1.0, metavar="X", help="exponent of ∆L, 0 to 1 (default 1)")
    made.add_argument("--steps", type=int, metavar="N", help="PPO steps (default 30)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all stages (default 0)")
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder for everything (default {OUT}, with {SMOLLM2} {OUT}-{SMOLLM2})",
    )
    made.add_argument(
        "--shuffle_rewards", action="store_true", help="a control: a coin gives the rewards, whatever the answer"
    )
    made.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{SMOLLM2}: SmolLM2-135M-Instruct, which comes from PyPI. Or a folder or a name on the hub: train this model in place of the "
        "supervised start. It is asked in English, with its chat template if it has one. A model whose tokens are the task's words gets "
        "these.",
    )
    return made


def parse(argv: Sequence[str]) -> argparse.Namespace:
    command = parser()
    args = command.parse_args(argv)
    out = args.out or Path(f"{OUT}-{SMOLLM2}" if args.model == SMOLLM2 else OUT)
    args.out = out.absolute()
    try:
        if not 0 <= args.alpha <= 1:
            raise ValueError(f"--alpha is {args.alpha}, allowed is 0 to 1")
        check_numbers(args, {"seed": 0} | ({"steps": 1} if args.steps is not None else {}))
        if set(str(args.out)) & set(",@"):  # OpenRLHF splits the paths of data sets at these
            raise ValueError(f"--out is {args.out}; a path with , or @ cannot be used")
    except ValueError as error:
        command.error(str(error))
    return args


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 1 (the training failed), 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    args = parse(argv)
    cpu.set_environment()  # before transformers imports DeepSpeed, and for a quiet console
    kept = "nothing was done"
    try:
        try:
            check_report_packages()
            if args.model == SMOLLM2:
                check_packages(f"--model {SMOLLM2}", EXTRAS["models"])
            device = _device()
            check_memory(args, device)
            given = _given(args)
        except (ValueError, OSError) as error:  # OSError: the disk is full while SmolLM2 is made
            print(f"{PROG}: error: {error}", file=sys.stderr)
            return 2
        from deltal_openrlhf.quickstart.run import QuickStart
        from deltal_openrlhf.quickstart.training import TrainingFailed

        try:
            with terminable():
                run = QuickStart(args, device, given)
                try:
                    run.run()
                except KeyboardInterrupt:
                    kept = run.kept()
                    raise
        except TrainingFailed as failed:
            print(
                f"{PROG}: the training ended with exit code {failed.code}, for the reason above; once that is mended, the same "
                "command resumes from the last save, if there was one",
                file=sys.stderr,
            )
            return 1
    except KeyboardInterrupt as stop:
        return interrupted(PROG, stop, f"; {kept}")
    return 0


def _device() -> str:
    """What to train and evaluate on: cpu or cuda. Raises ValueError where torch was built for GPUs and there is none."""
    import torch

    if cpu.is_needed():
        return "cpu"
    if not torch.cuda.device_count():
        raise ValueError(
            "torch was built for GPUs and sees none; deltal doctor says more. Without a GPU, in a clone: "
            "DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/quickstart.sh"
        )
    return "cuda"


def _given(args: argparse.Namespace) -> "GivenModel | None":
    """The model that --model names. Raises ValueError, in one line, if it cannot be trained."""
    if args.model is None:
        return None
    from deltal_openrlhf.quickstart import given
    from deltal_openrlhf.quickstart.kinds import KINDS
    from deltal_openrlhf.quickstart.stages import in_child

    if args.model == SMOLLM2:
        folder = FOLDER / SMOLLM2
        in_child(make, folder)
        return in_child(given.find, str(folder), "sums")
    try:
        model = in_child(given.find, args.model)
    except ValueError as error:
        allowed = f"{SMOLLM2}, a folder or a hub name of a model"
        raise ValueError(f"--model is {args.model}, allowed is {allowed}: {error}") from error
    print(f"{PROG}: {args.model}: {KINDS[model.kind].says}", flush=True)
    return model


def check_memory(args: argparse.Namespace, device: str) -> None:
    """Raises ValueError, without a GPU, for less memory than the quick start was measured to take."""
    from deltal_openrlhf.quickstart.kinds import KINDS

    if device != "cpu" or args.model not in (None, SMOLLM2) or (args.out / "after.json").exists():
        return
    needed = KINDS["sums" if args.model else "words"].gigabytes
    free = available_memory() / 1e9
    if needed and free < needed:
        raise ValueError(
            f"the quick start takes up to {needed} GB of memory, and {free:.1f} GB are free; end other programs, or take a machine that "
            "has more"
        )
