"""What a second thread gains in a run without a GPU: steps of `deltal train` with OMP_NUM_THREADS 1 and 2, in turns.

    python scripts/bench_threads.py --model models/smollm2 [--rounds 2] [--json FILE]
    python scripts/bench_threads.py --model runs/quickstart/start --prompts runs/quickstart/train.jsonl --reward deltal:countdown

A step has 4 prompts with 8 responses of at most 60 tokens. --prompts: rows with input and label; by default sums of two numbers, with an
example, which have about 60 of SmolLM2's tokens. Each run takes 3 steps, and the first is not counted. Prints the mean length of the
responses, the median seconds of a step and of its parts, and the ratio of the medians.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from deltal_openrlhf.host.checkpoint_size import parameters
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.metrics_file import NAME, read_metrics

PARTS = ("step_total", "generation", "make_experience", "ppo_train")
LENGTH = "deltal/response_length_mean"
ASKED = (
    "Work out the sum in steps, one line for each step, and write the result last. "
    "For example, 2 + 3 + 4 is 2 + 3 = 5, then 5 + 4 = 9. What is {} + {}?"
)
FLAGS = """--data.input_key input --data.label_key label --data.max_samples 12 --data.max_len 200 --rollout.max_new_tokens 60
    --rollout.batch_size 4 --rollout.n_samples_per_prompt 8 --train.batch_size 32 --train.micro_batch_size 8 --rollout.micro_batch_size 8
    --train.num_episodes 1 --algo.advantage.estimator group_norm --algo.kl.init_coef 0 --actor.adam.lr 1e-6 --ds.zero_stage 2
    --actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1 --vllm.sync_backend gloo --vllm.enforce_eager
    --ds.attn_implementation sdpa --loss_agg deltal""".split()


def sums() -> str:
    rng = random.Random(0)
    pairs = [(rng.randint(10, 99), rng.randint(10, 99)) for _ in range(12)]
    return "".join(json.dumps({"input": ASKED.format(*pair), "label": str(sum(pair))}) + "\n" for pair in pairs)


def steps(model: Path, prompts: Path, reward: str, threads: int) -> list[dict[str, float]]:
    """Seconds of the parts of each step but the first, and the mean length of its responses."""
    with tempfile.TemporaryDirectory() as out:
        given = ["--actor.model_name_or_path", model, "--data.prompt_dataset", prompts, "--reward.remote_url", reward]
        command = [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *FLAGS, *given, "--ckpt.output_dir", out]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(
            [*map(str, command), "--ckpt.path", f"{out}/ckpt"], env=environment, capture_output=True, text=True
        )
        if ended.returncode:
            raise RuntimeError(f"the training ended with {ended.returncode}: {ended.stdout[-2000:]}{ended.stderr}")
        rows = read_metrics(Path(out, NAME))[1:]
    return [{part: row[f"timing/{part}"] for part in PARTS} | {LENGTH: row[LENGTH]} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, help="rows with input and label; default: sums")
    parser.add_argument("--reward", default="deltal:math")
    parser.add_argument("--rounds", type=int, default=2, help="runs with each number of threads; default 2")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    seconds: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        prompts = args.prompts or Path(folder, "sums.jsonl")
        if not args.prompts:
            prompts.write_text(sums())
        for number in range(args.rounds):
            for threads in sorted(seconds, reverse=bool(number % 2)):
                seconds[threads] += steps(args.model.absolute(), prompts.absolute(), args.reward, threads)
    medians = {n: {part: statistics.median(row[part] for row in rows) for part in PARTS} for n, rows in seconds.items()}
    found = {
        "parameters": parameters(str(args.model)),
        "cores": os.cpu_count(),
        "steps": len(seconds[1]),
        "response_length": statistics.mean(row[LENGTH] for rows in seconds.values() for row in rows),
        "seconds": medians,
        "ratio": {part: medians[2][part] / medians[1][part] for part in PARTS},
    }
    print(json.dumps(found, indent=1))
    if args.json:
        write_atomically(args.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
