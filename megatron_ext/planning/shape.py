"""A model's sizes from its Hugging Face configuration, and its exact number of parameters, in total and on one rank of a layout.
No torch.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs import shipped
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.yaml_values import dotted, plain_value, read_with_lines
from megatron_ext.layout import ParallelLayout
from megatron_ext.support import FAMILIES

REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
OF_EXPERTS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
FIXED = {"attention_bias": False, "mlp_bias": False, "decoder_sparse_step": 1, "mlp_only_layers": []}
"""The only values that the Megatron backend knows."""


@dataclass(frozen=True)
class ModelShape:
    """Names as in the Hugging Face configuration; num_experts is 0 for a dense model. qkv_bias, qk_norm: what the family has."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ModelShape":
        """config: the contents of a config.json. Raises ValueError for a model that the Megatron backend does not know."""
        kind = config.get("model_type")
        config = {"num_experts": config.get("num_local_experts")} | config  # as transformers 5 writes it
        if kind not in FAMILIES:
            raise ValueError(f"model_type is {kind}, allowed are {', '.join(FAMILIES)}")
        names = REQUIRED + (OF_EXPERTS if kind == "qwen3_moe" else ())
        sizes: dict[str, Any] = {name: config.get(name) for name in names}
        sizes["num_key_value_heads"] = config.get("num_key_value_heads") or sizes["num_attention_heads"]
        for name, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value}, allowed is a whole number of 1 or more")
        for name, allowed in FIXED.items():
            if config.get(name, allowed) not in (allowed, None):
                raise ValueError(f"{name} is {config[name]}, allowed is {allowed}: the Megatron backend knows no other")
        return cls(
            model_type=kind,
            **sizes,
            head_dim=config.get("head_dim") or sizes["hidden_size"] // sizes["num_attention_heads"],
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=kind == "qwen2",
            qk_norm=kind in ("qwen3", "qwen3_moe"),
        )

    @property
    def query_size(self) -> int:
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        """Features of all keys; values have as many."""
        return self.num_key_value_heads * self.head_dim

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, as transformers counts them."""
        (buffer,) = rank_parameters(self, ParallelLayout(), stage=0)
        return sum(buffer.dense) + sum(buffer.expert)

    @property
    def active_parameters(self) -> int:
        """Parameters that multiply one token: without the embedding, the norms and the experts that are not chosen."""
        attention = self.hidden_size * 2 * (self.query_size + self.key_value_size)
        if self.num_experts:
            mlp = 3 * self.hidden_size * self.moe_intermediate_size * self.num_experts_per_tok
            mlp += self.hidden_size * self.num_experts
        else:
            mlp = 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * (attention + mlp) + self.output_parameters

    @property
    def output_parameters(self) -> int:
        return self.vocab_size * self.hidden_size


@dataclass(frozen=True)
class ChunkParameters:
    """Sizes of the parameters of one model chunk on one rank. dense: reduced over data x context parallel ranks; expert: of experts,
    reduced over the ranks that hold the same experts; shared: the tied embedding, which Megatron-Core gives a bucket of its own."""

    dense: list[int]
    expert: list[int]
    shared: list[int]

    def buckets(self, ranks: int, expert_ranks: int) -> tuple[int, int]:
        """Elements of the dense buffer and of the experts' one, padding included."""
        return padded(self.dense, ranks) + padded(self.shared, ranks), padded(self.expert, expert_ranks)


def padded(sizes: Iterable[int], ranks: int) -> int:
    """Elements of a bucket of these parameters, cut over `ranks`.

    With the distributed optimizer each parameter starts at a multiple of 64 and a bucket ends at a multiple of 128 and of the ranks
    (megatron-core 0.16.1, param_and_grad_buffer.py). Without overlapped reduction there is one bucket.
    """
    unit = math.lcm(ranks, 128)
    return -(-sum(-(-size // 64) * 64 for size in sizes) // unit) * unit


def rank_parameters(shape: ModelShape, layout: ParallelLayout, stage: int) -> list[ChunkParameters]:
    """The model chunks of a rank of pipeline stage `stage`, in order; each tensor parallel rank has the same sizes.

    Norms, the router and the biases behind no split stand on every tensor parallel rank; everything else is split.
    """
    pieces = layout.virtual_pipeline or 1
    layers = shape.num_hidden_layers // (layout.pipeline * pieces)
    embedding = shape.output_parameters // layout.tensor
    chunks = []
    for piece in range(pieces):
        first, last = (stage, piece) == (0, 0), (stage, piece) == (layout.pipeline - 1, pieces - 1)
        dense, expert = _layer(shape, layout)
        dense, expert = dense * layers, expert * layers
        shared: list[int] = []
        # On one stage a tied output layer is the embedding; on two, each has a copy.
        ends = shared if shape.tie_word_embeddings and layout.pipeline > 1 else dense
        if first:
            ends.append(embedding)
        if last:
            dense.append(shape.hidden_size)
            if layout.pipeline > 1 or not shape.tie_word_embeddings:
                ends.append(embedding)
        chunks.append(ChunkParameters(dense, expert, shared))
    return chunks


def _layer(shape: ModelShape, layout: ParallelLayout) -> tuple[list[int], list[int]]:
    """Sizes of the parameters of one transformer layer on one rank: (dense, expert)."""
    h, qkv = shape.hidden_size, shape.query_size + 2 * shape.key_value_size
    dense = [h, h * qkv // layout.tensor, h * shape.query_size // layout.tensor, h]
    dense += [qkv // layout.tensor] if shape.qkv_bias else []
    dense += [shape.head_dim, shape.head_dim] if shape.qk_norm else []
    if not shape.num_experts:
        size = h * shape.intermediate_size // layout.tensor
        return [*dense, 2 * size, size], []
    size = h * shape.moe_intermediate_size // layout.expert_tensor
    return [*dense, h * shape.num_experts], [2 * size, size] * (shape.num_experts // layout.expert)


def read_shape(source: str) -> ModelShape:
    """From a config.json, a Hugging Face folder, a YAML file of settings (its actor.model_name_or_path) or a name on the hub.

    Shipped files are found by their names. Raises ValueError, in one line, for what cannot be read.
    """
    file = None if Path(source).exists() else shipped.find(source)
    name = str(file or source)
    name = _named_in(source) if name.endswith((".yaml", ".yml")) else name
    path = Path(name)
    try:
        if path.is_dir() or path.suffix == ".json":
            config = json.loads((path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it holds no settings")
        else:
            config = _from_hub(name)
        return ModelShape.from_config(config)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"--model {source}: {why}") from error


def _named_in(settings: str) -> str:
    found = dict(dotted(read_with_lines(settings))).get("actor.model_name_or_path")
    name = plain_value(found) if found else None
    if not isinstance(name, str):
        raise ValueError(f"--model {settings}: it sets no actor.model_name_or_path")
    return name


def _from_hub(name: str) -> dict[str, Any]:
    """transformers is imported here, because it takes seconds."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
    except ValueError as error:  # such as a model that needs Python of its own
        raise ValueError(first_line(error)) from error
    except OSError as error:
        sizes = [known for known in shipped.names() if known.startswith("models/")]
        raise ValueError(
            f"the configuration of {name} is neither here nor to be had from the hub; allowed are {', '.join(sizes)} and a config.json too"
        ) from error
