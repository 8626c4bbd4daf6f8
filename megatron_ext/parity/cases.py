"""The compared cases: a layout, a loss, a model, and the mistakes that have to be noticed."""

import math
import os
from dataclasses import dataclass, field
from typing import Any

import torch

from deltal_openrlhf import cpu
from deltal_openrlhf.parity.cases import NUM_RESPONSES, VOCABULARY, make_batch
from deltal_openrlhf.parity.cases import Case as LossCase
from megatron_ext.layout import ParallelLayout
from megatron_ext.modules import Modules, chosen
from megatron_ext.parity_choices import MODELS

# Adam: a clip that binds; eps keeps elements without signal from being blown up to a full step.
ADAM: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-3, "weight_decay": 0.01}
MAX_NORM = 0.5
RANKS_A_DEVICE = 4
"""Most ranks that share a GPU, or without GPUs a core."""


@dataclass(frozen=True)
class ShardedCase:
    """loss: mode, scope, features and micro batch size, as in deltal_openrlhf.parity; its world and DeepSpeed settings have no meaning.

    max_tokens: token budget of a micro batch in place of loss.micro. wrong: a negative control. modules: as in ModelSettings.
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
    modules: Modules | None = None

    @property
    def world(self) -> int:
        return self.layout.replica * self.data_parallel

    def check(self) -> None:
        """Raise ValueError, one line, for what this machine cannot run, and what the tiny model or the batch cannot be cut into."""
        modules = chosen(self.modules, cpu.is_needed())
        if modules == "transformer-engine" and self.dtype == "fp32":
            raise ValueError(
                "--dtype is fp32 with Transformer Engine, which multiplies fp32 matrices in TF32; allowed is bf16, or --modules plain"
            )
        if not 1 <= self.data_parallel <= NUM_RESPONSES:
            raise ValueError(
                f"--dp is {self.data_parallel}, allowed is 1 to {NUM_RESPONSES}, the responses of the batch"
            )
        self.layout.check_sizes()
        most = RANKS_A_DEVICE * (torch.cuda.device_count() or os.cpu_count() or 1)
        if self.world > most:
            raise ValueError(
                f"the layout has {self.world} ranks, allowed are up to {most} here: {RANKS_A_DEVICE} a GPU of this machine, or "
                f"without GPUs {RANKS_A_DEVICE} a core"
            )
        self.layout.check_world(self.world)
        self.layout.check_model(model_config(self))
        loss = self.loss
        for flag, value in (("--alpha", loss.alpha), ("--scope", loss.scope)):
            if value is not None and loss.mode != "deltal":
                raise ValueError(f"{flag} is {value} with --mode {loss.mode}; it is allowed with deltal only")
        if loss.alpha is not None and not 0 <= loss.alpha <= 1:
            raise ValueError(f"--alpha is {loss.alpha:g}, allowed is a number from 0 to 1")
        if loss.dual_clip is not None and not loss.dual_clip > 1:
            raise ValueError(f"--dual_clip is {loss.dual_clip:g}, allowed is a number above 1")
        if self.wrong == "micro-batch" and loss.mode != "deltal":
            raise ValueError(
                f"--negative_control micro-batch with --mode {loss.mode} is not noticed for sure; it is allowed with deltal only"
            )
        if (
            self.wrong == "micro-batch"
            and loss.micro >= NUM_RESPONSES // self.data_parallel
            and self.max_tokens is None
        ):
            raise ValueError(
                f"--negative_control micro-batch with --micro_batch_size {loss.micro} is one micro batch, which is no mistake; allowed is "
                f"less than {NUM_RESPONSES // self.data_parallel}, the responses of a rank"
            )
        if loss.micro < 1:
            raise ValueError(f"--micro_batch_size is {loss.micro}, allowed is 1 or more")
        longest = max(len(row["ids"]) for row in make_batch(False, self.seed)) + self.layout.row_multiple
        if self.max_tokens is not None and self.max_tokens < longest:
            raise ValueError(
                f"--max_tokens is {self.max_tokens}, allowed is {longest} or more: the longest response, padded"
            )

    def __str__(self) -> str:
        parts = [self.layout.describe(), f"data {self.data_parallel}", self.model, str(self.loss)]
        parts += [name for name in ("packed", "tied", "recompute") if getattr(self, name)]
        parts += [f"{name} {getattr(self, name)}" for name in ("max_tokens", "wrong") if getattr(self, name)]
        return "; ".join(parts + ([self.dtype] if self.dtype != "fp32" else []))


def make_rows(case: ShardedCase) -> list[dict]:
    """The batch. In bf16 the old log-probabilities are the model's own, moved by 0 or 0.5, so that rounding carries no ratio over a
    clip at 0.8 or 1.2."""
    rows = make_batch(case.loss.holes, case.seed)
    if case.dtype == "bf16":
        model = build_model(case)
        for number, row in enumerate(rows):
            with torch.no_grad():
                log_probs = model(row["ids"][None]).logits[0, :-1].log_softmax(-1)
            now = log_probs.gather(-1, row["ids"][1:, None]).squeeze(-1)
            row["old"] = (now + (0.5, 0.0, -0.5)[number % 3]) * row["mask"]
    return rows


def model_config(case: ShardedCase) -> Any:
    """4 layers and 4 heads, 2 of keys and values; more where the layout needs more."""
    import transformers

    layout = case.layout
    stages = layout.pipeline * (layout.virtual_pipeline or 1)
    key_value_heads = math.lcm(2, layout.tensor)
    width = math.ceil(32 / layout.expert_tensor) * layout.expert_tensor
    experts = {"num_experts": math.lcm(4, layout.expert), "moe_intermediate_size": width, "norm_topk_prob": True}
    # In bf16 every token goes to all experts: rounding would send some to others.
    experts["num_experts_per_tok"] = experts["num_experts"] if case.dtype == "bf16" else 2
    return getattr(transformers, f"{MODELS[case.model]}Config")(
        vocab_size=math.ceil(VOCABULARY / layout.tensor) * layout.tensor,
        hidden_size=32,
        intermediate_size=math.ceil(64 / layout.tensor) * layout.tensor,
        num_hidden_layers=math.ceil(4 / stages) * stages,
        num_attention_heads=2 * key_value_heads,
        num_key_value_heads=key_value_heads,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=case.tied,
        initializer_range=0.1,
        attn_implementation="sdpa",
        use_cache=False,
        **(experts if case.model == "qwen3_moe" else {}),
    )


def build_model(case: ShardedCase) -> Any:
    """Every parameter random, also biases and norms, which start as constants."""
    import transformers

    torch.manual_seed(case.seed)
    model = getattr(transformers, f"{MODELS[case.model]}ForCausalLM")(model_config(case))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if case.dtype == "bf16":  # values that both sides can hold
                parameter.copy_(parameter.bfloat16())
    return model
