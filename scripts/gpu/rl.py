#!/usr/bin/env python
"""Reinforcement learning of a real language model on one GPU.

SmolLM2-135M from a GGUF file first learns the countdown task's search from traces for a while. Then `deltal compare`'s single-process loop
trains it, once with ∆L and once with token-mean.

    python scripts/gpu/rl.py --gguf smollm2.gguf --work FOLDER [--seconds N] [--json FILE]
    python scripts/gpu/rl.py --small --work FOLDER          a dry run in seconds: a tiny model of the task's own words, on any machine

It needs transformers and, for --gguf, the gguf package, but neither Ray nor vLLM nor flash-attn. Exit code 1 if a part failed; the next one
runs all the same.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.standins import ray_vllm

PART = "rl"
LOSSES: dict[str, dict[str, Any]] = {
    "deltal": {"loss_agg": "deltal", "alpha": 0.75, "deltal.max_length": 128},
    "token-mean": {"loss_agg": "token-mean"},
}
WARM_UP, TRAINING = 0.2, 0.33
"""Shares of --seconds: of the traces, and of each of the two runs."""
LEARNING_RATE = 3e-4
WARM_STEPS = 20


class Size(NamedTuple):
    prompts: int  # of a PPO step
    samples: int  # to each
    new_tokens: int
    steps: int  # PPO steps at most
    held_out: int
    evaluate_every: int
    traces: int  # in a batch of the warm-up
    trace_tokens: int


FULL = Size(32, 8, 320, 60, 256, 10, 64, 320)
SMALL = Size(2, 2, 24, 2, 4, 1, 4, 64)


class TimeIsUp(Exception):
    """Ends a run between two PPO steps."""


def main() -> int:
    args = _arguments()
    prepare()
    ray_vllm.install()
    sys.argv = sys.argv[:1]  # the host reads flags from it

    from deltal_openrlhf.quickstart.sizes import CPU
    from deltal_openrlhf.verify.outcome import Report, measured

    size = SMALL if args.small else FULL
    task = replace(CPU.task, max_attempts=10, hint=0.15)  # short traces: a step of a real model is not a quick start's
    args.work.mkdir(parents=True, exist_ok=True)
    begun, start = args.work / "model", args.work / "start"
    with Report(args.json) as report:
        with measured(PART, "model") as outcome:
            model = write_model(begun, args.gguf)
            outcome.said = f"{model['parameters']:,} parameters, a vocabulary of {model['vocabulary']:,}"
            outcome.values = model
            write_problems(task, args.work, size)
        report.add(outcome)
        with measured(PART, "warm-up on traces") as outcome:
            found = warm_up(begun, start, task, size, WARM_UP * args.seconds)
            outcome.ok = found["loss"] < found["first_loss"]
            outcome.said = (
                "loss {first_loss:.2f} to {loss:.2f} in {steps} steps, {tokens_per_second:,.0f} tokens/s".format(
                    **found
                )
            )
            outcome.values = found
        report.add(outcome)
        for name, loss in LOSSES.items():
            with measured(PART, name) as outcome:
                found = train(flags(start, args.work, loss, size), args.work / "runs" / name, TRAINING * args.seconds)
                outcome.ok = found["ppo_steps"] > 0 and all(map(math.isfinite, found["grad_norms"]))
                outcome.values = found
                outcome.said = (
                    f"{found['ppo_steps']} PPO steps, {found['seconds_per_step']:.2f} s each, reward {found['rewards'][0]:.3f} to "
                    f"{found['rewards'][-1]:.3f}"
                )
            report.add(outcome)
        return 1 if report.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, help="GGUF file of the model; its tokenizer is in it")
    parser.add_argument("--work", type=Path, required=True, help="folder for the model, the problems and the runs")
    parser.add_argument("--seconds", type=float, help="of warm-up and training together (default 120; of a dry run 20)")
    parser.add_argument("--json", type=Path, help="file for a line of JSON a part")
    parser.add_argument("--small", action="store_true", help="a dry run with a tiny model, without --gguf")
    args = parser.parse_args()
    if args.small == (args.gguf is not None):
        parser.error("give either --gguf FILE or --small")
    if args.gguf is not None and not args.gguf.is_file():
        parser.error(f"--gguf {args.gguf}: not there")
    if args.seconds is None:
        args.seconds = 20.0 if args.small else 120.0
    elif not args.seconds > 0:
        parser.error(f"--seconds is {args.seconds:g}, allowed is above 0")
    return args


def write_model(folder: Path, gguf: Path | None) -> dict[str, int]:
    """The GGUF file as a Hugging Face folder in float32; without one a tiny model of the task's words."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from deltal_openrlhf.quickstart.model import build_model, build_tokenizer

    if gguf is None:
        torch.manual_seed(0)
        tokenizer = build_tokenizer()
        model = build_model(tokenizer)
    else:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return {"parameters": model.num_parameters(), "vocabulary": model.config.vocab_size}


def write_problems(task: Any, folder: Path, size: Size) -> None:
    """train.jsonl and held_out.jsonl, the same in every run."""
    from deltal_openrlhf.data.countdown import label
    from deltal_openrlhf.data.output import Row, write
    from deltal_openrlhf.quickstart.task import held_out, prompt

    rng = random.Random("prompts")
    train = [task.draw(rng, "train") for _ in range(size.prompts * size.steps)]
    files = {"train": train, "held_out": held_out(task.draw, size.held_out)}
    write({name: [Row(prompt(*p), label(*p), "countdown") for p in files[name]] for name in files}, folder, "jsonl")


def warm_up(folder: Path, target: Path, task: Any, size: Size, seconds: float) -> dict[str, float]:
    """Supervised AdamW steps on search traces, WARM_STEPS at least and then until the time is up; the model goes to `target`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from deltal_openrlhf.quickstart.supervised import token_losses, updater

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.to(device).train()
    update = updater(model, LEARNING_RATE, lambda step: min(1.0, (step + 1) / WARM_STEPS))
    rng, begun, trained = random.Random(0), time.monotonic(), 0
    losses: list[torch.Tensor] = []
    while len(losses) < WARM_STEPS or time.monotonic() - begun < seconds:
        tokens, learned = traces(tokenizer, task, rng, size)
        trained += int(learned.sum())
        loss = token_losses(model, tokens.to(device), bf16=device == "cuda")[learned[:, 1:].to(device)].mean()
        model.zero_grad()
        loss.backward()
        update()
        losses.append(loss.detach())
    first, last = (float(torch.stack(part).mean()) for part in (losses[:3], losses[-3:]))
    took = time.monotonic() - begun  # after float(): the device is done
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return {"steps": len(losses), "first_loss": first, "loss": last, "tokens_per_second": trained / took}


def traces(tokenizer: Any, task: Any, rng: random.Random, size: Size) -> tuple:
    """Padded tokens [traces, T], and which of them are to be learned: not prompts and padding."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from deltal_openrlhf.quickstart.task import prompt

    rows, learned = [], []
    for _ in range(size.traces):
        problem = task.draw(rng, "train")
        question, answer = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt(*problem), " " + task.trace(problem, rng))
        )
        rows.append(torch.tensor((question + answer + [tokenizer.eos_token_id])[: size.trace_tokens]))
        learned.append(torch.arange(len(rows[-1])) >= len(question))
    return pad_sequence(rows, batch_first=True), pad_sequence(learned, batch_first=True)


def flags(start: Path, data: Path, loss: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Flags of `deltal train`, for the loop."""
    import deltal_openrlhf

    return {
        "actor.model_name_or_path": str(start),
        "data.prompt_dataset": str(data / "train.jsonl"),
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_samples": size.prompts * size.steps,
        "data.max_len": size.new_tokens + 32,
        "eval.dataset": str(data / "held_out.jsonl"),
        "eval.steps": size.evaluate_every,
        "eval.n_samples_per_prompt": 2,
        "eval.temperature": 1.0,
        "reward.remote_url": str(Path(deltal_openrlhf.__file__).parent / "rewards/countdown_reward.py"),
        "rollout.batch_size": size.prompts,
        "rollout.n_samples_per_prompt": size.samples,
        "rollout.max_new_tokens": size.new_tokens,
        "rollout.temperature": 1.0,
        "train.batch_size": size.prompts * size.samples,
        "train.num_episodes": 1,
        "train.max_epochs": 1,
        "train.seed": 0,
        "algo.advantage.estimator": "group_norm",
        "algo.kl.init_coef": 0,
        "actor.adam.lr": 1e-5,
        "actor.max_norm": 0,
        "actor.lr_scheduler": "constant",
        "actor.lr_warmup_ratio": 0,
        **loss,
    }


def train(given: Mapping[str, Any], folder: Path, seconds: float) -> dict[str, Any]:
    """One run of the loop until its prompts are used or the time is up. Rewards and lengths by PPO step, held-out accuracy, memory."""
    import torch

    from deltal_openrlhf.comparison import loop

    begun = time.monotonic()

    def stop_in_time(step: int, steps: int) -> None:
        if time.monotonic() - begun > seconds:
            raise TimeIsUp

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        loop.run(given, folder, stop_in_time)
    except TimeIsUp:
        pass
    rows = [json.loads(line) for line in (folder / loop.METRICS).read_text(encoding="utf-8").splitlines()]
    evaluations = [json.loads(line) for line in (folder / loop.EVALS).read_text(encoding="utf-8").splitlines()]
    return {
        "ppo_steps": len(rows),
        "seconds_per_step": statistics.median(row["timing/step_total"] for row in rows),
        "rewards": [row["rollout/reward_mean"] for row in rows],
        "response_lengths": [row["deltal/response_length_mean"] for row in rows],
        "grad_norms": [row["deltal/grad_norm"] for row in rows],
        "ess": [row["deltal/ess"] for row in rows],
        "held_out": [[row["step"], row["eval_countdown_pass1"]] for row in evaluations],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None,
    }


if __name__ == "__main__":
    sys.exit(main())
