"""Starting points and data of the countdown bench: one supervised start a seed, prompts, held-out problems.

    python scripts/make_starts.py --seeds 0 1 2 --out runs/starts                  for configs/compare/countdown.yaml
    python scripts/make_starts.py --size gpu --seeds 0 1 2 --out runs/starts-gpu   for configs/compare/countdown-gpu.yaml; not tried

Writes OUT/start<seed>/ (a Hugging Face folder; about two minutes each on one core with --size cpu), OUT/train.jsonl and OUT/held_out.jsonl.
What is there is kept.
"""

import json
import random
import time
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.data.countdown import label
from deltal_openrlhf.quickstart.run import supervised_start
from deltal_openrlhf.quickstart.sizes import SIZES
from deltal_openrlhf.quickstart.task import HELD_OUT, Task, held_out, prompt
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.files import write_atomically

TRAIN_PROMPTS = 4096


def write_data(task: Task, out: Path) -> None:
    """out/train.jsonl and out/held_out.jsonl, as --data.prompt_dataset and --eval.dataset take them. Raises ValueError for other ones."""
    rng = random.Random("prompts")
    train = [task.draw(rng, "train") for _ in range(TRAIN_PROMPTS)]
    for name, problems in (("train", train), ("held_out", held_out(task.draw, HELD_OUT))):
        rows = [{"input": prompt(*p), "label": label(*p), "datasource": "countdown"} for p in problems]
        path, text = out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"--out is {out}, where {path.name} holds other problems (of another --size?); take another folder"
            )
        write_atomically(path, text)


def main() -> None:
    parser = OneLineParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=SIZES, default="cpu", help="of task and model; gpu needs a GPU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one starting point each")
    parser.add_argument("--out", type=Path, default=Path("runs/starts"))
    args = parser.parse_args()
    size = SIZES[args.size]
    import torch  # takes seconds: after the flags

    if size.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--size is {args.size}; without a GPU allowed is cpu")
    cpu.set_environment()
    try:
        write_data(size.task, args.out)
    except ValueError as error:
        parser.error(str(error))
    for seed in args.seeds:
        folder = args.out / f"start{seed}"
        if folder.exists():
            print(f"{folder}: there, kept", flush=True)
            continue
        begun = time.monotonic()
        supervised_start(size, seed, folder)
        print(f"{folder}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
