"""Starting points and data of the comparisons: one supervised start a seed, prompts, held-out problems.

    python scripts/make_starts.py --seeds 0 1 2 --out runs/starts                     for configs/compare/countdown.yaml
    python scripts/make_starts.py --size smollm2 --seeds 0 1 2 --out runs/starts-lm   for configs/compare/smollm2.yaml
    python scripts/make_starts.py --size gpu --seeds 0 1 2 --out runs/starts-gpu      for configs/compare/countdown-gpu.yaml; not tried

Writes OUT/start<seed>/ (a Hugging Face folder; on one core about two minutes each with --size cpu, six with smollm2), OUT/train.jsonl and
OUT/held_out.jsonl. What is there is kept. smollm2 is taken from models/smollm2, which `deltal model smollm2` makes.
"""

import json
import random
import time
from dataclasses import replace
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.cli.model import FOLDER, SMOLLM2, make
from deltal_openrlhf.quickstart.kinds import KINDS, Kind
from deltal_openrlhf.quickstart.run import learn_sums, supervised_start
from deltal_openrlhf.quickstart.sizes import SIZES
from deltal_openrlhf.quickstart.task import HELD_OUT, held_out
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.files import write_atomically

TRAIN_PROMPTS = 4096


def write_data(kind: Kind, out: Path) -> None:
    """out/train.jsonl and out/held_out.jsonl, as --data.prompt_dataset and --eval.dataset take them. Raises ValueError for other ones."""
    rng = random.Random("prompts")
    train = [kind.draw(rng, "train") for _ in range(TRAIN_PROMPTS)]
    source = kind.title.lower()
    for name, problems in (("train", train), ("held_out", held_out(kind.draw, HELD_OUT))):
        rows = [{"input": kind.prompt(*p), "label": kind.label(*p), "datasource": source} for p in problems]
        path, text = out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"--out is {out}, where {path.name} holds other problems (of another --size?); take another folder"
            )
        write_atomically(path, text)


def main() -> None:
    parser = OneLineParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=(*SIZES, SMOLLM2), default="cpu", help="of task and model; gpu needs a GPU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one starting point each")
    parser.add_argument("--out", type=Path, default=Path("runs/starts"))
    args = parser.parse_args()
    import torch  # takes seconds: after the flags

    if args.size in SIZES and SIZES[args.size].device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--size is {args.size}; without a GPU allowed are cpu and {SMOLLM2}")
    cpu.set_environment()
    if args.size == SMOLLM2:
        make(FOLDER / SMOLLM2)
        kind = KINDS["sums"]
    else:
        kind = replace(KINDS["words"], draw=SIZES[args.size].task.draw)
    try:
        write_data(kind, args.out)
    except ValueError as error:
        parser.error(str(error))
    for seed in args.seeds:
        folder = args.out / f"start{seed}"
        if folder.exists():
            print(f"{folder}: there, kept", flush=True)
            continue
        begun = time.monotonic()
        if args.size == SMOLLM2:
            learn_sums(FOLDER / SMOLLM2, folder, seed, "cuda" if torch.cuda.is_available() else "cpu")
        else:
            supervised_start(SIZES[args.size], seed, folder)
        print(f"{folder}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
