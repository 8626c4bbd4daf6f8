"""Random models of benchmarks: arguments of transformers' LlamaConfig, those of the vocabulary apart."""

from typing import Any

from deltal_openrlhf.quickstart.sizes import CPU

LLAMAS: dict[str, dict[str, Any]] = {
    "tiny": CPU.llama,  # the quick start's
    "10M": {
        "hidden_size": 320,
        "intermediate_size": 896,
        "num_hidden_layers": 8,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 64,
    },
}
