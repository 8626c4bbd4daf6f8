#!/usr/bin/env python3
"""Runs 2 PPO steps of each recipe without a GPU, and checks that the recipe's own settings took effect: python scripts/check_recipes.py

The pipeline and the reward files are the real ones. The model is tiny and random, and an overlay scales the sizes down: 4 prompts a
rollout, at most 24 tokens a response. An answer is one token of the model's vocabulary, so that its random responses are right at times.
Some prompts have no right answer, so that dynamic sampling has something to replace. The number of responses per prompt and of optimizer
steps per rollout stay the recipe's, and so does everything else that is not a size.

Writes docs/evidence/recipes.json and the table in docs/evidence/recipes.md. It takes about 20 minutes on 2 cores. Interrupted, it resumes
with the recipes that have not passed as they are now.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml
from recipe_findings import MAX_NEW_TOKENS, PROMPTS, findings, sources

from deltal_openrlhf import cpu
from deltal_openrlhf.data import countdown
from deltal_openrlhf.models.tiny import write_tiny_model
from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.runs.metrics_file import NAME as METRICS
from deltal_openrlhf.runs.metrics_file import read_metrics
from deltal_openrlhf.train.recipes import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "evidence" / "recipes.json"
PAGE = ROOT / "docs" / "evidence" / "recipes.md"
MARKS = "<!-- written by scripts/check_recipes.py -->", "<!-- end -->"

FORMAT = 1
"""Raise it when what is checked changes: all recipes are run again."""
TIME_LIMIT = 400
"""Seconds for one recipe; it takes about 60 on 2 idle cores."""
BUFFER = 16
"""2,048 of 3,072 tokens, scaled down."""
ANSWERS = {
    "countdown": {f"<answer>{text}</answer>": gold for text, gold in (("1+2", 3), ("1*2", 2), ("2-1", 1))},
    "math": {f"\\boxed{{{text}}}": text for text in ("1", "2", "\\frac{1}{2}")},
}
IMPOSSIBLE = 7
SOLVABLE_PROMPTS, IMPOSSIBLE_PROMPTS = 10, 4


def build_model(folder: Path, task: str) -> None:
    """A random Llama of 0.1M parameters over digits, Q and the task's answers: nearly uniform, so 13 tokens a response on average."""
    from tokenizers import Regex, pre_tokenizers

    words = ["<pad>", "<eos>", "<unk>", "Q", *"0123456789", *ANSWERS[task]]
    whole = "|".join(map(re.escape, ANSWERS[task]))
    write_tiny_model(folder, words, pre_tokenizers.Split(Regex(rf"{whole}|[\s\S]"), "isolated"))


def write_problems(path: Path, task: str, *, first: int, solvable: int, impossible: int) -> None:
    """Prompts Qnn, nn from first on; the host tells evaluation sets apart by their prompts."""
    golds = list(ANSWERS[task].values())
    rows = []
    for i in range(solvable + impossible):
        gold = golds[i % len(golds)] if i < solvable else IMPOSSIBLE
        label = countdown.label([1, 2], gold) if task == "countdown" else str(gold)
        rows.append(json.dumps({"input": f"Q{first + i:02}", "label": label, "datasource": path.stem}) + "\n")
    write_atomically(path, "".join(rows))


def overlay(name: str, recipe: dict, inputs: Path, out: Path) -> dict:
    """The sizes and paths of this check, in a recipe's keys."""
    task = EXPERIMENTS[name].task
    small = {
        "actor.model_name_or_path": inputs / task / "model",
        "data.prompt_dataset": inputs / task / "train.jsonl",
        "eval.dataset": [str(inputs / task / f"{source}.jsonl") for source in sources(recipe)],
        "eval.steps": 2,
        "train.num_episodes": 1,
        "rollout.batch_size": PROMPTS,
        "train.batch_size": PROMPTS * recipe["rollout.n_samples_per_prompt"] // 4,
        "rollout.max_new_tokens": MAX_NEW_TOKENS,
        "data.max_len": MAX_NEW_TOKENS + 8,
        "actor.num_gpus_per_node": 1,
        "vllm.num_engines": 1,
        "vllm.gpu_memory_utilization": 0.2,
        "ckpt.output_dir": out / "checkpoint",
        "ckpt.path": out / "ckpt",
    }
    scaled = {"deltal.max_length": MAX_NEW_TOKENS, "reward.overlong_buffer_len": BUFFER}
    small |= {key: value for key, value in scaled.items() if key in recipe}
    return {key: str(value) if isinstance(value, Path) else value for key, value in small.items()}


def run(command: list[str], console: Path) -> int:
    """Exit status. The command cleans up after itself; it gets Ctrl-C with us, and SIGTERM when its time is up."""
    with open(console, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            return process.wait(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
            return -signal.SIGTERM
        except KeyboardInterrupt:
            process.wait()
            raise


def check(name: str, inputs: Path, out: Path) -> dict:
    """Run one recipe; its entry in the result file."""
    file = ROOT / "configs" / f"{name}.yaml"
    recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    small = out / "small.yaml"
    shutil.rmtree(out, ignore_errors=True)  # what is found below has to be of this run
    write_atomically(small, yaml.safe_dump(overlay(name, recipe, inputs, out)))
    command = [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", "--config", str(file), "--config", str(small)]
    started = time.monotonic()
    status = run(command, out / "console.txt")
    seconds = time.monotonic() - started
    metrics, log = out / "checkpoint" / METRICS, out / "checkpoint" / "logs" / "train.log"
    rows = read_metrics(str(metrics)) if metrics.exists() else []
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    seen = {"exit status 0": status == 0} | findings(name, recipe, rows, text)
    entry = {"passed": all(seen.values()), "seconds": round(seconds), "fingerprint": fingerprint(name), "seen": seen}
    if len(rows) >= 2:
        entry["figures"] = {key: round(statistics.mean(row[key] for row in rows[:2]), 4) for key in FIGURES}
    return entry


FIGURES = (
    "score",
    "rollout/reward_mean",
    "rollout/truncated_rate",
    "deltal/filtered_share",
    "deltal/weight_sum_x_M",
    "deltal/ess",
)


def fingerprint(name: str) -> str:
    """A recipe whose settings changed is run again."""
    settings = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    # The file, which is the same whether a recipe gives its path or its name.
    settings["reward.remote_url"] = str(Path(named.located(settings["reward.remote_url"])).relative_to(ROOT))
    return hashlib.sha256(json.dumps([FORMAT, settings], sort_keys=True).encode()).hexdigest()[:16]


def table(results: dict[str, dict]) -> str:
    """In Markdown, in the order of the recipes."""
    rows = [
        "| recipe | checks | s | right | reward | cut off | filtered | sum of weights x M |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in EXPERIMENTS:
        entry = results.get(name)
        if entry is None:
            rows.append(f"| {name} | not run | | | | | | |")
            continue
        checks = f"{sum(entry['seen'].values())} of {len(entry['seen'])}"
        figures = [f"{entry['figures'][key]:.3f}" for key in FIGURES[:5]] if "figures" in entry else [""] * 5
        rows.append(f"| {name} | {checks} | {entry['seconds']} | {' | '.join(figures)} |")
    return "\n".join(rows)


def save(results: dict[str, dict]) -> None:
    ordered = {name: results[name] for name in EXPERIMENTS if name in results}
    write_atomically(RESULT, records(ordered, 1))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    write_atomically(PAGE, f"{before}{MARKS[0]}\n{table(ordered)}\n{MARKS[1]}{after}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="recipes to check (default: all that have not passed as they are now)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "check_recipes", help="folder for the runs")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in EXPERIMENTS]
    if unknown:
        parser.exit(2, f"check_recipes: unknown recipe {unknown[0]!r}, allowed are {', '.join(EXPERIMENTS)}\n")
    out = args.out.absolute()
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    done = {name for name, entry in results.items() if entry["passed"] and entry["fingerprint"] == fingerprint(name)}
    wanted = args.names or [name for name in EXPERIMENTS if name not in done]
    if not wanted:
        print(f"all {len(EXPERIMENTS)} recipes have passed as they are now; name those to run again")
        return 0
    os.environ.update(cpu.environment())  # a quiet console, here as in the runs
    print(
        f"{len(wanted)} of {len(EXPERIMENTS)} recipes to run, about {len(wanted)} minutes on 2 idle cores; in {out}",
        flush=True,
    )
    try:
        return _check_all(wanted, results, out)
    except KeyboardInterrupt:
        print("check_recipes: interrupted; the same command resumes with what has not passed", file=sys.stderr)
        return 130


def _check_all(wanted: list[str], results: dict[str, dict], out: Path) -> int:
    inputs = out / "inputs"
    for task in ANSWERS:
        build_model(inputs / task / "model", task)
        train = {"first": 0, "solvable": SOLVABLE_PROMPTS, "impossible": IMPOSSIBLE_PROMPTS}
        write_problems(inputs / task / "train.jsonl", task, **train)
        for i, name in enumerate(("test", "math500", "aime2024", "amc", "minerva")):
            write_problems(inputs / task / f"{name}.jsonl", task, first=20 + 3 * i, solvable=3, impossible=0)
    started = time.monotonic()
    for i, name in enumerate(wanted):
        results[name] = entry = check(name, inputs, out / name)
        save(results)
        left = (time.monotonic() - started) / (i + 1) * (len(wanted) - i - 1)
        verdict = (
            "passed"
            if entry["passed"]
            else f"FAILED: {', '.join(k for k, ok in entry['seen'].items() if not ok)}; see {out / name}"
        )
        print(
            f"{i + 1}/{len(wanted)} {name}: {entry['seconds']} s, {verdict}; about {left / 60:.0f} min left", flush=True
        )
    print(f"\n{table(results)}")
    return 0 if all(results[name]["passed"] for name in wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
