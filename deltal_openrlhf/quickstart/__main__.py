"""`python -m deltal_openrlhf.quickstart`: from nothing to a model that reinforcement learning with ∆L made better, on 2 CPU cores or a GPU.

1. supervised start  a tiny Llama learns from search traces how to search and answer  -> start/
2. before            its accuracy on 256 held-out problems, 4 samples each
3. training          OpenRLHF (Ray, vLLM, DeepSpeed) with ∆L, 30 PPO steps            -> checkpoint/, with metrics.jsonl
4. after             accuracy of the trained checkpoint on the same problems
5. report            plot.png, summary.json and a table

--model takes a model of yours in place of 1. All of it lies in --out. An interrupted run resumes; a stage whose settings
changed is done again.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf import cpu
from deltal_openrlhf.aggregation import MODES
from deltal_openrlhf.runs.command import OneLineParser, check_numbers, interrupted, terminable

if TYPE_CHECKING:
    from deltal_openrlhf.quickstart.given import GivenModel


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(prog="python -m deltal_openrlhf.quickstart", description=__doc__.split("\n\n")[0])
    parser.add_argument("--loss_agg", choices=MODES, default="deltal", help="loss aggregation")
    parser.add_argument("--alpha", type=float, default=1.0, help="exponent of ∆L, 0 to 1; only for --loss_agg deltal")
    parser.add_argument("--steps", type=int, default=30, help="PPO steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the supervised start and of the training")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder for everything")
    parser.add_argument(
        "--shuffle_rewards", action="store_true", help="control: rewards that ignore the answer; nothing is learned"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a folder or a name of the Hugging Face hub to train in place of the supervised start; asked in English through its chat "
        "template if it has one, unless its tokens are the task's words",
    )
    args = parser.parse_args(argv)
    args.out = args.out.absolute()
    try:
        if not 0 <= args.alpha <= 1:
            raise ValueError(f"--alpha is {args.alpha}, allowed is 0 to 1")
        check_numbers(args, {"steps": 1, "seed": 0})
        if set(str(args.out)) & set(",@"):  # OpenRLHF splits the paths of data sets at these
            raise ValueError(f"--out is {args.out}; a path with , or @ cannot be used")
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, 1 (the training failed), 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    args = parse(argv)
    cpu.set_environment()  # before transformers imports DeepSpeed, and for a quiet console
    kept = "nothing was done"
    try:
        try:
            device, given = _device(), _given(args)
        except ValueError as error:
            print(f"quickstart: error: {error}", file=sys.stderr)
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
                f"quickstart: the training ended with exit code {failed.code}, for the reason above; once that is mended, the same "
                "command resumes from the last save, if there was one",
                file=sys.stderr,
            )
            return 1
    except KeyboardInterrupt as stop:
        return interrupted("quickstart", stop, f"; {kept}")
    return 0


def _device() -> str:
    """What to train and evaluate on: cpu or cuda. Raises ValueError where torch was built for GPUs and there is none."""
    import torch

    if cpu.is_needed():
        return "cpu"
    if not torch.cuda.device_count():
        raise ValueError(
            "torch was built for GPUs and sees none; deltal doctor says more. Without a GPU: "
            "DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/quickstart.sh"
        )
    return "cuda"


def _given(args: argparse.Namespace) -> "GivenModel | None":
    """The model that --model names. Raises ValueError, in one line, if it cannot be trained."""
    if args.model is None:
        return None
    from deltal_openrlhf.quickstart import given, sizes
    from deltal_openrlhf.quickstart.stages import in_child

    try:
        model = in_child(given.find, args.model, sizes.CPU)
    except ValueError as error:
        raise ValueError(f"--model is {args.model}, allowed is a folder or a hub name of a model: {error}") from error
    print(f"quickstart: {args.model}: {given.SAYS[model.prompts]}", flush=True)
    return model


if __name__ == "__main__":
    sys.exit(main())
