"""The ways to train on one small batch, the batch itself, and the model. They are the same in every process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

NUM_RESPONSES, GROUP_SIZE, LONGEST, VOCABULARY = 16, 4, 24, 64
EMPTY, NEUTRAL, TRUNCATED = 5, 14, (2, 9, 10)  # without a trained token, with an advantage of 0, cut off
BIG_M = 3.0  # small, so that the largest change of a parameter is well above rounding
NUM_SHORT = 12  # responses of a rollout that fell short
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


@dataclass(frozen=True)
class Case:
    """One way to train on the batch."""

    mode: str = "deltal"
    scope: str | None = None
    alpha: float | None = None
    world: int = 1
    micro: int = 4
    zero: int = 2
    dynamic: bool = False  # with packing, as the host does
    packing: bool = False
    steps: int = 1  # optimizer steps per rollout
    epochs: int = 1
    filtering: bool = False
    kl: bool = False
    entropy: bool = False
    gspo: bool = False
    dual_clip: float | None = None
    correction: str = "off"
    lora: bool = False
    ema: bool = False
    holes: bool = False
    short: bool = False
    bf16: bool = False  # the host's default; for the guards, too coarse to compare
    decay: bool = False  # a learning-rate schedule that moves in every step
    adamw: bool = False  # AdamW at 1e-3 instead of SGD at 1
    wrong: str | None = None  # negative controls: "micro-batch" weights, or "scale": the loss times 2

    def __str__(self) -> str:
        default = Case()
        shown = {k: v for k, v in vars(self).items() if k == "mode" or v != getattr(default, k)}
        return " ".join(f"{k}={v}" for k, v in shown.items())


def learning_rate(case: Case) -> float:
    """Of SGD. Several steps in a row multiply rounding by curvature, so they are shorter."""
    return {1: 1.0, 2: 0.25}.get(case.steps * case.epochs, 0.1)


def make_batch(holes: bool, seed: int = 0) -> list[dict]:
    """NUM_RESPONSES responses of length 1 to LONGEST to NUM_RESPONSES / GROUP_SIZE prompts, the same in every process."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *size: int) -> torch.Tensor:
        return torch.randint(low, high, size or (1,), generator=generator)

    rows = []
    for i in range(NUM_RESPONSES):
        prompt, length = 3 + int(integers(0, 4)), int(integers(1, LONGEST + 1))
        tokens = prompt + length
        mask = torch.zeros(tokens - 1, dtype=torch.bool)
        if i != EMPTY:
            mask[prompt - 1 :] = True
            if holes and length > 3:
                mask[prompt : prompt + 2] = False
        noise = 0.1 * torch.randn(3, tokens - 1, generator=generator)
        rows.append(
            {
                "ids": integers(4, VOCABULARY, tokens),
                "mask": mask,
                "advantage": float(torch.randn(1, generator=generator)) * (i != NEUTRAL),
                "old": -4.2 + noise[0] * mask,
                "base": -4.2 + noise[1] * mask,
                "rollout": -4.2 + 3 * noise[2] * mask,
                "truncated": i in TRUNCATED,
            }
        )
    return rows


def make_model(lora: bool, sizes: Mapping[str, Any] = TINY) -> torch.nn.Module:
    """A Llama in fp32, the same in every process. sizes: arguments of LlamaConfig."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings: dict[str, Any] = {"attn_implementation": "sdpa", "use_cache": False, "max_position_embeddings": 128}
    model = LlamaForCausalLM(LlamaConfig(**settings, **sizes))
    if not lora:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False))
