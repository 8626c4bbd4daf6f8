"""The number of positions of a model, by vLLM's rule. vLLM refuses to sample beyond them (vllm/config/model.py,
_get_and_verify_max_len).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SCALED_ALREADY = ("su", "longrope", "llama3")
"""Kinds of RoPE scaling that max_position_embeddings counts already."""


def num_positions(config: "PretrainedConfig") -> int | None:
    """Tokens of the longest sequence, RoPE scaling included; None where the configuration does not say."""
    text = config.get_text_config()
    most = getattr(text, "max_position_embeddings", None)
    if most is None:
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    # One set for all layers, or one for each kind of layer. Gemma 3 counts its scaling already.
    kinds = [rope] if "rope_type" in rope else [kind for kind in rope.values() if isinstance(kind, dict)]
    factor = 1.0
    for kind in kinds if "gemma3" not in text.model_type else ():
        if kind["rope_type"] not in SCALED_ALREADY:
            factor = kind.get("factor") or factor
        if kind["rope_type"] == "yarn":
            most = kind.get("original_max_position_embeddings", most)
    return max(int(most * factor), getattr(config, "model_max_length", None) or 0)
