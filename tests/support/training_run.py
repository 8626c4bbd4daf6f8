"""Folders of training runs, as a run leaves them: metrics, evaluations, settings and saved responses. The values are made up."""

import json
import math
import random

import torch

from deltal_openrlhf.aggregation import Aggregation
from deltal_openrlhf.runs import rollouts, run_settings
from deltal_openrlhf.runs.rollouts import Header, Rollout

LOSS = {"mode": "deltal", "alpha": 0.75, "scope": "step", "max_length": 64, "overlong_filtering": False, "sgd": False}
FLAGS = {
    "actor.model_name_or_path": "runs/base",
    "actor.adam.lr": 2e-4,
    "rollout.batch_size": 4,
    "rollout.n_samples_per_prompt": 4,
    "train.batch_size": 16,
    "train.seed": 0,
}


def responses(step, prompts=4, n=4, longest=64, text="<think> try 3 + 4 </think> 7"):
    """Of one PPO step; long ones are wrong more often."""
    rng = random.Random(step)
    made = []
    for i in range(prompts * n):
        length = rng.randint(4, longest)
        prompt, tokens = f"make {7 + i // n} of 3 4", [5, 6, 7, *(10 + t % 80 for t in range(length))]
        mask = [0, 0, *[1] * length]
        reward = float(rng.random() > length / longest)
        made.append(Rollout(i // n, i % n, prompt, "7 3 4", tokens, mask, reward, length == longest, response=text))
    return made


def metrics(step, of_step, loss, optimizer_steps=1):
    lengths = torch.tensor([response.length for response in of_step], dtype=torch.float64)
    weights = Aggregation(
        loss["mode"], alpha=loss["alpha"], scope=loss["scope"], max_length=loss["max_length"]
    ).weights(lengths, [response.prompt_index for response in of_step])
    return {
        "step": step,
        "total_steps": 30,
        "time": 1.7e9 + 60 * step,
        "rollout/reward_mean": sum(response.reward for response in of_step) / len(of_step),
        "rollout/num_samples": float(len(of_step)),
        "rollout/truncated_rate": 0.25,
        "deltal/response_length_mean": lengths.mean().item(),
        **{f"deltal/response_length_p{q}": lengths.quantile(q / 100).item() for q in (50, 95)},
        "deltal/response_length_max": lengths.max().item(),
        "deltal/filtered_share": 0.0,
        "deltal/groups_without_signal": 0.25,
        "deltal/ess": (weights.sum() ** 2 / weights.square().sum()).item() / optimizer_steps,
        "deltal/weight_sum_x_M": weights.sum().item() * loss["max_length"],
        "deltal/grad_norm": 0.1 + 1 / step,
        "deltal/clip_share": 0.0,
        "deltal/optimizer_steps": float(optimizer_steps),
        "ppo_clip_ratio": 0.01,
        "ppo_kl": 1e-4 * step,
        "entropy_loss": 1 / (1 + step),
        "grade/equal": 0.5,
        "grade/different": 0.4,
        "grade/unparsable": 0.1,
        "grade/timeout": 0.0,
        "timing/generation": 6.0 + math.sin(step),
        "timing/ppo_train": 2.0,
        "timing/make_experience": 0.5,
        "timing/broadcast": 0.25,
        "timing/step_total": 8.75 + math.sin(step),
    }


def write(folder, steps=30, *, every=5, loss=None, evals=True, **responses_of):
    """A run of `steps` PPO steps. every: 0 saves no responses."""
    folder.mkdir(parents=True, exist_ok=True)
    loss = LOSS | (loss or {})
    rows = []
    for step in range(1, steps + 1):
        of_step = responses(step, **responses_of)
        rows.append(metrics(step, of_step, loss))
        if every and (step - 1) % every == 0:
            header = Header(step, "runs/base", 1.0, responses_of.get("n", 4), 64, loss)
            rollouts.write(folder / "rollouts" / f"step_{step:06d}.jsonl", header, of_step)
    append(folder / "metrics.jsonl", rows)
    if evals:
        found = [(step, 0.2 + step / 100) for step in range(5, steps + 1, 5)]
        append(
            folder / "evals.jsonl",
            [
                {"step": step, "eval_math_pass1": v, "eval_math_pass1_low": v - 0.05, "eval_math_pass1_high": v + 0.04}
                for step, v in found
            ],
        )
    settings = {"version": "0.2.0", "loss": loss, "flags": FLAGS}
    (folder / run_settings.NAME).write_text(json.dumps(settings))
    return folder


def append(path, rows):
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
