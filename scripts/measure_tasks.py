"""Measures how often a model solves easy tasks of reasoning-gym with worked examples in the prompt: a choice of tasks to train it on.

    deltal model smollm2 --out models/smollm2
    python scripts/measure_tasks.py --model models/smollm2 --out runs/tasks

A group-relative method learns where some of a group's responses are right and some wrong, so neither 0 nor 1. Makes the problems of TASKS
with `deltal data reasoning-gym`, samples one response to each with `deltal eval`, and prints the share of full marks with the
95 % interval that deltal eval gives, the mean length and the share of responses that were cut off. --out gets tasks.json, the prompts and
the evaluation. After an interruption the same command resumes. Other --problems and --demos need another --out.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from deltal_openrlhf.cli import data
from deltal_openrlhf.reports.numbers import columns

TASKS = {
    "chain_sum": "min_terms=2 max_terms=3 max_digits=1",
    "basic_arithmetic": "min_terms=2 max_terms=2 max_digits=1 operators=+,- allow_parentheses=false allow_negation=false",
    "products": "max_digits=1",
    "gcd": "max_value=20",
    "lcm": "max_value=10",
    "simple_equations": "min_terms=2 max_terms=2 max_value=9 operators=+,- operators_weights=0.5,0.5",
    "leg_counting": "min_animals=1 max_animals=2 max_instances=4",
    "number_sequence": "min_value=0 max_value=10 max_complexity=1",
    "letter_counting": "min_words=2 max_words=3",
    "spell_backward": "min_word_len=3 max_word_len=4",
    "word_sorting": "min_words=3 max_words=3 max_word_length=6",
    "word_sequence_reversal": "min_words=3 max_words=4",
    "number_filtering": "min_numbers=3 max_numbers=4 max_decimals=0",
    "sentence_reordering": "min_words_in_sentence=3 max_words_in_sentence=5",
    "count_bits": "max_n=64",
}
"""Task -> its easy configuration."""


def prompts(task: str, args: argparse.Namespace) -> Path:
    """The file of the task's problems, made where it is not there."""
    folder = args.out / "data" / task
    if not (folder / "test.jsonl").exists():
        flags = ["--task", task, "--config", *TASKS[task].split(), "--train", "0", "--test", str(args.problems)]
        flags += ["--demos", str(args.demos), "--template", "chat", "--out", str(folder)]
        if data.main(["reasoning-gym", *flags]):
            sys.exit(f"measure_tasks: no problems of {task}")
    return folder / "test.jsonl"


def keep_settings(args: argparse.Namespace) -> None:
    """Note what the problems of --out are made with. Ends where it is something else."""
    settings = {"problems": args.problems, "demos": args.demos, "tasks": TASKS}
    file = args.out / "settings.json"
    if file.exists() or (args.out / "data").exists():
        try:
            made = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            made = {}
        if other := [name for name in settings if made.get(name) != settings[name]]:
            refuse(
                f"--out {args.out}: its problems were made with other settings ({', '.join(other)}); name another folder"
            )
        return
    args.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def refuse(why: str) -> NoReturn:
    print(f"measure_tasks: {why}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="a model folder with a chat template")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--problems", type=int, default=24, help="problems of each task (default 24)")
    parser.add_argument("--demos", type=int, default=4, help="worked examples (default 4)")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="longest response in tokens (default 64)")
    args = parser.parse_args()
    for name, least in (("problems", 1), ("demos", 0)):
        if (value := getattr(args, name)) < least:
            refuse(f"--{name} is {value}, allowed is {least} or more")
    keep_settings(args)
    files = [str(prompts(task, args)) for task in TASKS]
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "eval", "--model", args.model, "--data", *files]
    command += ["--out", str(args.out / "eval"), "--n", "1", "--max_new_tokens", str(args.max_new_tokens)]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)  # it has said why

    sets = json.loads((args.out / "eval" / "results.json").read_text(encoding="utf-8"))["sets"]
    found = {
        task: {"config": TASKS[task], **sets[task]} for task in sorted(TASKS, key=lambda t: -sets[t]["avg"]["value"])
    }
    (args.out / "tasks.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = [["task", "full marks", "95 % interval", "mean tokens", "cut off"]]
    for task, one in found.items():
        value, low, high = (one["avg"][key] for key in ("value", "low", "high"))
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        rows.append([task, f"{value:.2f}", interval, f"{one['length']['mean']:.0f}", f"{one['truncated']:.2f}"])
    print(*map("  ".join, columns(rows)), sep="\n")


if __name__ == "__main__":
    main()
