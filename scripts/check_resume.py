#!/usr/bin/env python3
"""Kills a run at random moments (kill -9), in the real pipeline: python scripts/check_resume.py --out runs/check_resume

A run of 24 PPO steps (24 prompts, 4 episodes, rollouts of 4) with a checkpoint after each step, on a tiny random model, takes place three
times:

    whole     without an interruption
    again     the same command once more: what one seed fixes
    killed    its driver, a training worker or an engine is killed at 10 seeded random moments, each time the same command resumes it

Then `again` and `killed` are compared with `whole`: the prompts and the responses of every step, the number of steps, and the parameters of
the exported models. --async runs the host's asynchronous training, whose responses depend on timing; there only the prompts are compared.
Interrupted, the script resumes. --kills and --seed change the moments.

It takes about a minute for each of 13 starts on 2 idle cores. Exit status 1 if something differs that has to be equal.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.metrics_file import read_metrics

STEPS, EPISODES, PROMPTS, SAMPLES = 24, 4, 24, 4
TARGETS = {
    "driver": (),
    "worker": ("ray::DeltaLPolicyModelActor", "ray::PolicyModelActor."),
    "engine": ("ray::DeltaLRolloutRayActor", "ray::RolloutRayActor."),
    "engine core": ("VLLM::EngineCore",),
}
"""What is killed, and how its process is named, idle and in one of the host's methods; the driver is the command itself."""
START = (1.0, 40.0)
"""Seconds after the command within which a kill before the next step falls: start, rollout or update."""
TIME_LIMIT, ENDS_WITHIN = 900, 300
SAME = 1e-6
REWARD = """
import torch

def reward_func(queries, prompts, labels, **kwargs):
    rewards = [sum(c.isdigit() for c in q[len(p):]) / max(1, len(q) - len(p)) for q, p in zip(queries, prompts)]
    rewards = torch.tensor(rewards)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
"""


def make_inputs(folder: Path, **sizes: int) -> None:
    """sizes: of the model, as in its config.json."""
    from tokenizers import Regex, pre_tokenizers

    from deltal_openrlhf.models.tiny import write_tiny_model

    if not (folder / "reward.py").exists():
        words = ["<pad>", "<eos>", "<unk>", *"0123456789abcdefghijklmnopqrstuvwxyz +-=?.!"]
        write_tiny_model(folder / "model", words, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), **sizes)
        rows = [json.dumps({"input": f"{i}+{i % 7}=", "label": ""}) + "\n" for i in range(PROMPTS)]
        write_atomically(folder / "prompts.jsonl", "".join(rows))
        write_atomically(folder / "reward.py", REWARD)


FLAGS = """
--loss_agg deltal --actor.model_name_or_path {inputs}/model --reward.remote_url {inputs}/reward.py
--data.prompt_dataset {inputs}/prompts.jsonl --data.input_key input --data.label_key label --data.max_len 40
--actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1 --actor.adam.lr 1e-3 --actor.lr_scheduler constant
--algo.advantage.estimator group_norm --algo.kl.init_coef 0 --rollout.max_new_tokens 24 --rollout.n_samples_per_prompt {samples}
--rollout.batch_size 4 --rollout.micro_batch_size 4 --train.batch_size 8 --train.micro_batch_size 2 --train.num_episodes {episodes}
--ckpt.save_steps 1 --ckpt.load_enable --ckpt.path {out}/ckpt --ckpt.output_dir {out}/hf --deltal.save_rollouts 1
--deltal.stall_timeout 240
"""
AHEAD = "--train.async_enable --train.async_queue_size 2 --rollout.vllm_generate_batch_size 12".split()


def command(inputs: Path, out: Path, more: Sequence[str]) -> list[str]:
    flags = FLAGS.format(inputs=inputs, out=out, samples=SAMPLES, episodes=EPISODES).split()
    return [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *flags, *more]


@contextmanager
def started(words: list[str], out: Path) -> Iterator[subprocess.Popen]:
    """The command in a session of its own; whatever it started and left is ended with the block."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "console.txt", "a", encoding="utf-8") as console:
        process = subprocess.Popen(words, stdout=console, stderr=subprocess.STDOUT, start_new_session=True)
    family: set[psutil.Process] = set()
    process.family = family  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        look(process)
        for one in family:
            if one.is_running():
                one.kill()
        psutil.wait_procs(family, timeout=20)
        process.wait(timeout=20)


def look(process: Any) -> None:
    """Note the processes of the run that are there now."""
    try:
        root = psutil.Process(process.pid)
        process.family.update([root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return


def steps_done(out: Path) -> int:
    rows = read_metrics(out / "hf" / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def seconds_of_a_step(out: Path) -> float:
    times = [row["time"] for row in read_metrics(out / "hf" / "metrics.jsonl")]
    return statistics.median(later - before for before, later in pairwise(times))


def wait(process: Any, until: float, out: Path, step: int = STEPS + 1) -> bool:
    """Until the run has done the step, or the moment has come. Returns whether it still runs. Raises RuntimeError after TIME_LIMIT."""
    begun = time.monotonic()
    while process.poll() is None:
        look(process)
        if time.monotonic() >= until or steps_done(out) >= step:
            return True
        if time.monotonic() - begun > TIME_LIMIT:
            raise RuntimeError(f"neither step {step} nor an end after {TIME_LIMIT} s: {out / 'console.txt'}")
        time.sleep(0.1)
    return False


def kill(process: Any, target: str) -> str | None:
    """kill -9 of one process. Returns what was killed; None if there is no such process (any more)."""
    if target == "driver":
        os.kill(process.pid, signal.SIGKILL)
        return target
    look(process)
    for one in process.family:
        try:
            if one.is_running() and " ".join(one.cmdline()).startswith(TARGETS[target]):
                one.kill()
                return target
        except psutil.NoSuchProcess:
            continue
    return None


def ends(process: Any) -> int:
    """How the run ends by itself once a process of it is gone. Weight sync waits for a dead engine until --deltal.stall_timeout."""
    try:
        return process.wait(timeout=ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"the run did not end within {ENDS_WITHIN} s after one of its processes was killed"
        ) from None


def last_line(out: Path) -> str:
    """What the run said last, "" before its first start."""
    path = out / "console.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return lines[-1] if lines else ""


def was_slow(out: Path) -> bool:
    """Whether Ray gave up its own start, for which it takes 30 seconds at most: on a busy machine the command is started again."""
    return "node timed out during startup" in last_line(out)


def train(words: list[str], out: Path) -> None:
    """Without an interruption. A finished run is kept."""
    while not last_line(out).startswith("deltal train: done"):
        with started(words, out) as process:
            wait(process, float("inf"), out)
        if process.returncode and not was_slow(out):
            raise RuntimeError(f"exit code {process.returncode}: {out / 'console.txt'}")


def train_with_kills(words: list[str], out: Path, number: int, seed: int, later: float) -> list[dict]:
    """Killed that often at moments of this seed, and then left alone. Returns the kills.

    later: seconds after a step within which a kill falls, those of one step: few kills would fall before the end otherwise.
    """
    record = out / "kills.json"
    kills: list[dict] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    while len(kills) < number:
        chance = random.Random(f"{seed} {len(kills)}")
        target, ahead = chance.choice(list(TARGETS)), chance.choice((0, 1, 1, 2))
        delay = chance.uniform(*START) if ahead == 0 else chance.uniform(0.0, later)
        before = steps_done(out)
        with started(words, out) as process:
            runs = ahead == 0 or wait(process, float("inf"), out, min(before + ahead, STEPS - 1))
            runs = runs and wait(process, time.monotonic() + delay, out, before + 1 if ahead == 0 else STEPS)
            if not runs and was_slow(out):
                continue
            if not runs:
                raise RuntimeError(f"the run ended by itself before kill {len(kills) + 1}: {out / 'console.txt'}")
            hit = kill(process, target)
            if hit is None and before < steps_done(out) < STEPS:
                raise RuntimeError(f"no process of the run is called {TARGETS[target]}")
            # Before the workers are there, the driver is all that can be killed.
            hit = hit or kill(process, "driver")
            code = ends(process)
        kills.append({"target": hit, "after_step": steps_done(out), "seconds": round(delay, 2), "exit": code})
        write_atomically(record, json.dumps(kills))
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    train(words, out)
    return kills


# ── What is compared ──


def rollouts(out: Path) -> dict[int, list[dict]]:
    """The responses that each step trained on."""
    found = {}
    for path in sorted((out / "hf" / "rollouts").glob("step_*.jsonl")):
        _header, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        found[int(path.stem.removeprefix("step_"))] = rows
    return found


def prompts(responses: dict[int, list[dict]]) -> dict[int, list[str]]:
    return {step: [row["prompt"] for row in rows[::SAMPLES]] for step, rows in responses.items()}


def largest_difference(one: Path, other: Path) -> float:
    """Of a parameter of the exported models."""
    from safetensors.torch import load_file

    left, right = (load_file(out / "hf" / "model.safetensors") for out in (one, other))
    return max((left[name].double() - right[name].double()).abs().max().item() for name in left.keys() | right.keys())


def check(out: Path, whole: Path, *, sampling: bool) -> dict[str, Any]:
    """The figures of one run, and whether all that has to be equal is."""
    found, wanted = rollouts(out), rollouts(whole)
    times = Counter(prompt for chosen in prompts(found).values() for prompt in chosen)
    steps = [row["step"] for row in read_metrics(out / "hf" / "metrics.jsonl")]
    tokens = {step: [row["token_ids"] for row in rows] for step, rows in found.items()}
    other = [step for step in wanted if tokens.get(step) != [row["token_ids"] for row in wanted[step]]]
    figures: dict[str, Any] = {
        "steps": len(steps),
        "same prompts in every step": prompts(found) == prompts(wanted),
        "every prompt once an episode": len(times) == PROMPTS and set(times.values()) == {EPISODES},
        "first step with other responses": min(other, default=None),
        "largest difference of a parameter": largest_difference(out, whole),
    }
    right = steps == list(range(1, STEPS + 1)) and all(figures[name] for name in list(figures)[1:3])
    if sampling:
        right = right and figures["largest difference of a parameter"] <= SAME
    return {**figures, "right": right}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and result.json")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and what is killed")
    parser.add_argument(
        "--async", dest="asynchronous", action="store_true", help="asynchronous training that samples ahead"
    )
    given = parser.parse_args()
    out = given.out.resolve()
    make_inputs(out)
    words = {
        name: command(out, out / name, AHEAD if given.asynchronous else []) for name in ("whole", "again", "killed")
    }
    begun = time.monotonic()
    train(words["whole"], out / "whole")
    train(words["again"], out / "again")
    later = seconds_of_a_step(out / "whole")
    kills = train_with_kills(words["killed"], out / "killed", given.kills, given.seed, later)
    result: dict[str, Any] = {"kills": kills}
    for name in ("again", "killed"):
        result[name] = check(out / name, out / "whole", sampling=not given.asynchronous)
    write_atomically(out / "result.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: result[name] for name in ("again", "killed")}, indent=1))
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if all(result[name]["right"] for name in ("again", "killed")) else 1


if __name__ == "__main__":
    sys.exit(main())
