"""TRL's side of scripts/adapter_check.py, in TRL's environment: GRPOTrainer trains a tiny model with our adapter.

Before each optimizer step its gradient is compared with brute force over the responses that all ranks sampled. A generation batch has two
optimizer steps of 8 responses, so that the second one is off-policy and clipped.
"""

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import adapter_reference as reference
import torch
import torch.distributed as dist
from adapter_reference import AGGREGATIONS, MAX_LENGTH, Response
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig

from deltal_openrlhf import Aggregation
from deltal_openrlhf.adapters.trl import AggregationTrainer

RESPONSES, SAMPLES, STEPS = 8, 4, 4
"""Responses of an optimizer step over all ranks, responses to a prompt, optimizer steps."""
WORLD = int(os.environ.get("WORLD_SIZE", "1"))


class PerMicroBatch(AggregationTrainer):
    """The mistake: weights of each micro batch by itself."""

    def _weigh(self, batches: list[dict[str, Any]]) -> None:
        for batch in batches:
            x = self.aggregation.weights(batch["completion_mask"].sum(1))
            batch["advantages"] = batch["advantages"] * (x * len(x) * self.max_completion_length).float()


class Compared(TrainerCallback):
    """Keeps what the trainer sampled and trains on, and compares each gradient."""

    def __init__(self, trainer: AggregationTrainer, aggregation: dict[str, Any], kind: str) -> None:
        self.trainer, self.aggregation, self.kind = trainer, aggregation, kind
        self.sampled: list[Response] = []
        self.trained: list[Response] = []
        self.differences: list[float] = []
        self.off_policy = 0.0
        self._generate, self._compute = trainer._generate_and_score_completions, trainer._compute_loss
        trainer._generate_and_score_completions, trainer._compute_loss = self.generate, self.compute
        trainer.add_callback(self)

    def generate(self, inputs: Any) -> Any:
        made = self._generate(inputs)
        made["raw"] = made["advantages"].clone()
        self.sampled = everywhere(responses(made))
        return made

    def compute(self, model: Any, inputs: Any) -> Any:
        self.trained += responses(inputs)
        return self._compute(model, inputs)

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        step, self.trained = everywhere(self.trained), []
        assert len(step) == RESPONSES
        got = reference.flat(parameter.grad for parameter in model.parameters())
        wanted = reference.gradient(model, self.aggregation, step, self.sampled, self.kind)
        self.differences.append(reference.difference(got, wanted))
        with torch.no_grad():
            for one in (one for one in step if one.length and one.old):
                ratio = (reference.chosen(model, one) - torch.tensor(one.old)).exp()
                self.off_policy = max(self.off_policy, float((ratio - 1).abs().max()))


def responses(inputs: Any) -> list[Response]:
    old = inputs.get("old_per_token_logps")
    return [
        Response(
            tuple(inputs["prompt_ids"][row][inputs["prompt_mask"][row] == 1].tolist()),
            tuple(inputs["completion_ids"][row].tolist()),
            tuple(inputs["completion_mask"][row].bool().tolist()),
            float(inputs["raw"][row]),
            None if old is None else tuple(old[row].tolist()),
        )
        for row in range(len(inputs["completion_ids"]))
    ]


def everywhere(ours: list[Response]) -> list[Response]:
    """Of all ranks."""
    found: list[list[Response]] = [ours] * WORLD
    if WORLD > 1:
        dist.all_gather_object(found, ours)
    return list(itertools.chain.from_iterable(found))


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<eos>", "<unk>", *(f"w{number}" for number in range(29))]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def prompts() -> Dataset:
    rng = random.Random(0)
    texts = (" ".join(f"w{rng.randrange(29)}" for _ in range(rng.randint(3, 6))) for _ in range(16))
    return Dataset.from_list([{"prompt": text} for text in texts])


def reward(completions: list[str], **_: Any) -> list[float]:
    return [float(len(text.split()) % 3) for text in completions]


def run(aggregation: dict[str, Any], micro: int, wrong: bool, loss_type: str, **settings: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=RESPONSES // micro // WORLD,
            gradient_accumulation_steps=micro,
            steps_per_generation=2 * micro,
            num_generations=SAMPLES,
            max_completion_length=MAX_LENGTH,
            loss_type=loss_type,
            epsilon_high=1.2 if loss_type == "cispo" else 0.2,
            scale_rewards="none",
            learning_rate=1.0,
            optim="sgd",
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            max_steps=STEPS,
            use_cpu=True,
            ddp_backend="gloo",
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            **settings,
        )
        trainer = (PerMicroBatch if wrong else AggregationTrainer)(
            model=reference.make_model(),
            reward_funcs=reward,
            args=args,
            train_dataset=prompts(),
            processing_class=tokenizer(),
            aggregation=Aggregation(**aggregation),
        )
        compared = Compared(trainer, aggregation, "cispo from above" if loss_type == "cispo" else "ppo")
        trainer.train()
    assert len(compared.differences) == STEPS and compared.off_policy > 0.2, compared.off_policy
    return {"relative_difference": max(compared.differences), "furthest_ratio": 1 + compared.off_policy}


def cases(few: bool) -> Iterator[dict[str, Any]]:
    def case(name: str, micro: int, wrong: bool = False, loss_type: str = "dr_grpo", **settings: Any) -> dict[str, Any]:
        said = ", ".join(
            [name, *([loss_type] if loss_type != "dr_grpo" else []), *settings, *(["wrong"] if wrong else [])]
        )
        found = run(AGGREGATIONS[name], micro, wrong, loss_type, **settings)
        return {"case": said, "ranks": WORLD, "micro_batches": micro, "wrong": wrong, **found}

    for micro in (1, 2, 4):
        yield case("deltal", micro)
    yield case("deltal", 2, wrong=True)
    yield case("balanced", 2)
    if not few:
        for name in AGGREGATIONS:
            if name not in ("deltal", "balanced"):
                yield case(name, 2)
        yield case("deltal", 2, loss_type="cispo")
        yield case("deltal", 2, mask_truncated_completions=True)
        yield case("deltal", 2, num_iterations=2)


if __name__ == "__main__":
    reference.main(cases)
