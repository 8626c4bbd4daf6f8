"""TRL's side of scripts/bench_trl.py, in TRL's own environment: one training run, and when each of its steps ended.

    python trl_side.py SETTINGS.json

SETTINGS.json holds model (a folder), prompts (a file with a text under "input" on each line), config (arguments of GRPOConfig) and result,
the file to write.
"""

import hashlib
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def reward(prompts: list[str], completions: list[str], **_: object) -> list[float]:
    """1 or 0, each with a chance of one half, by a hash of the text, as quickstart/coin_reward.py gives them to texts that
    differ.
    """
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    return [float(hashlib.sha256(text.encode()).digest()[0] < 128) for text in texts]


def now() -> float:
    """Seconds, once the GPU has done what it was asked to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Timed(GRPOTrainer):
    """Notes of each step how long sampling and rewards took, and which lengths the responses have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.generation: list[float] = []
        self.lengths: list[list[int]] = []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        began = now()
        made = super()._generate_and_score_completions(inputs)
        self.generation.append(now() - began)
        self.lengths.append(made["completion_mask"].sum(1).tolist())
        return made


class Ends(TrainerCallback):
    """When each optimizer step ended. Each has responses of its own, so it is a whole GRPO step."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.at.append(now())


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    # The folder names no end token, and TRL needs one. min_new_tokens keeps it from being sampled; vLLM does not stop at it.
    tokenizer.eos_token = tokenizer.pad_token
    lines = Path(settings["prompts"]).read_text(encoding="utf-8").splitlines()
    ends = Ends()
    trainer = Timed(
        model=settings["model"],
        reward_funcs=reward,
        args=GRPOConfig(**settings["config"]),
        train_dataset=Dataset.from_list([{"prompt": json.loads(line)["input"]} for line in lines]),
        processing_class=tokenizer,
        callbacks=[ends],
    )
    trainer.train()
    packages = (
        ("torch", "transformers", "trl", "vllm") if settings["config"]["use_vllm"] else ("torch", "transformers", "trl")
    )
    result = {
        "ended": ends.at,
        "generation": trainer.generation,
        "lengths": trainer.lengths,
        "threads": torch.get_num_threads(),
        "dtype": str(trainer.model.dtype).removeprefix("torch."),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }
    Path(settings["result"]).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
