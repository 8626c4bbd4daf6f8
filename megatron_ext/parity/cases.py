"""What is compared: a layout, a loss, a model, and the wrong ways that have to be noticed."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from deltal_openrlhf.parity.cases import VOCABULARY
from deltal_openrlhf.parity.cases import Case as LossCase
from megatron_ext.layout import ParallelLayout

MODELS = ("qwen2", "qwen3", "llama", "qwen3_moe")
WRONG = ("micro-batch", "scale")
# Adam: a clip that binds; eps keeps elements without signal from being blown up to a full step.
ADAM = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-3, "weight_decay": 0.01}
MAX_NORM = 0.5


@dataclass(frozen=True)
class ShardedCase:
    """loss: mode, scope, features and micro batch size, as in deltal_openrlhf.parity; its world and DeepSpeed settings have no meaning.

    max_tokens: token budget of a micro batch in place of loss.micro. wrong: a negative control.
    """

    layout: ParallelLayout = field(default_factory=ParallelLayout)
    data_parallel: int = 1
    loss: LossCase = field(default_factory=lambda: LossCase(micro=3))
    packed: bool = False
    max_tokens: int | None = None
    model: str = "qwen2"
    tied: bool = False
    recompute: bool = False
    dtype: str = "fp32"
    seed: int = 0
    wrong: str | None = None

    @property
    def world(self) -> int:
        return self.layout.replica * self.data_parallel

    def __str__(self) -> str:
        parts = [self.layout.describe(), f"data {self.data_parallel}", self.model, str(self.loss)]
        for name in ("packed", "tied", "recompute", "max_tokens", "wrong"):
            if getattr(self, name):
                parts.append(f"{name}={getattr(self, name)}")
        return "; ".join(parts)


def write_model(case: ShardedCase, folder: Path) -> None:
    """A tiny random model as a Hugging Face folder."""
    build_model(case).save_pretrained(folder)


def build_model(case: ShardedCase) -> torch.nn.Module:
    """4 layers, grouped-query attention, every parameter random (also biases and norms, which start as constants)."""
    import transformers

    torch.manual_seed(case.seed)
    name = {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama", "qwen3_moe": "Qwen3Moe"}[case.model]
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
    config = getattr(transformers, f"{name}Config")(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=case.tied,
        initializer_range=0.1,
        attn_implementation="sdpa",
        use_cache=False,
        **(experts if case.model == "qwen3_moe" else {}),
    )
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
