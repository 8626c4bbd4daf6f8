"""The two sizes of the countdown experiment: task, model and supervised start.

CPU is the quick start's and that of configs/compare/countdown.yaml. GPU is that of configs/compare/countdown-gpu.yaml: three or four
numbers, 34 million parameters, responses of up to 2,048 tokens. Its model and its supervised training are chosen by reasoning and were not
tried.
"""

from dataclasses import dataclass
from typing import Any

from deltal_openrlhf.quickstart.task import Task


@dataclass(frozen=True)
class Size:
    task: Task
    llama: dict[str, Any]
    """Arguments of transformers' LlamaConfig, those of the vocabulary apart."""

    # The supervised start
    steps: int
    batch: int
    """Traces of an optimizer step."""
    micro_batch: int
    """Traces of a forward pass, a divisor of batch."""
    learning_rate: float
    warmup: int
    """Steps."""
    max_tokens: int
    """Prompt and response; longer traces are cut here."""
    mean_weight: float
    """About the mean sum of a trace's loss weights. A constant: dividing by each batch's own sum would give tokens of short traces more
    weight, and the model would give up too early."""
    device: str
    """That the start is trained on: of the CPU size always the CPU, for the same start on every machine."""
    bf16: bool
    """Forward passes under bfloat16 autocast, with float32 weights."""


CPU = Size(
    # The longest trace has 249 words: 23 misses of 10, a hit of 9, its answer of 9, the end.
    task=Task(least=3, most=3, highest=7, largest=42, max_attempts=24, give_up=0.2, hint=0.15, max_new_tokens=256),
    llama={
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,  # the smallest that vLLM's CPU attention takes
        "max_position_embeddings": 512,
        "initializer_range": 0.1,  # with the usual 0.02 a model this small does not learn the task in time
    },
    steps=1200,
    batch=64,
    micro_batch=64,
    learning_rate=4e-3,
    warmup=50,
    max_tokens=128,  # later attempts teach nothing new and cost padding
    mean_weight=86.0,
    device="cpu",
    bf16=False,
)

GPU = Size(
    # The longest trace has 2,029 words: 143 misses of 14, a hit of 13, its answer of 13, the end. Half of the traces have an answer,
    # without hints: in so many attempts random ones hit often enough.
    task=Task(least=3, most=4, highest=9, largest=99, max_attempts=144, give_up=0.03, hint=0.0, max_new_tokens=2048),
    llama={
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,  # long responses: a small cache in sampling
        "head_dim": 64,
        "max_position_embeddings": 4096,
        "initializer_range": 0.02,
    },
    steps=6000,
    batch=64,
    micro_batch=16,  # rows of 2,055 tokens come together
    learning_rate=6e-4,
    warmup=200,
    max_tokens=2055,  # nothing is cut: a target has to be found again over the whole length of a response
    mean_weight=420.0,
    device="cuda",
    bf16=True,
)

SIZES = {"cpu": CPU, "gpu": GPU}
