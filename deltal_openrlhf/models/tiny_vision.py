"""A random Qwen2.5-VL of 0.2M parameters with a processor of its own, as a Hugging Face folder: for checks and tests.

The architecture, the processor and the names of the parameters are those of the real model, whose position ids have three axes. Tokens are
bytes and the model's special tokens.
"""

from pathlib import Path
from typing import Any

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", IMAGE, VIDEO)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    f"{{% if part.type == 'image' %}}<|vision_start|>{IMAGE}<|vision_end|>{{% else %}}{{{{ part.text }}}}{{% endif %}}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's, without its system message, numbered pictures and videos."""
PATCH, MERGED = 14, 2
SIDE = 2 * PATCH * MERGED
"""Pixels of a side to which a square picture is scaled, which makes it four tokens."""


def write_tiny_vision_model(folder: Path) -> None:
    """Write the model in bfloat16, its processor and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    ids = {token: number for number, token in enumerate(alphabet)}
    tokens = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens.decoder = decoders.ByteLevel()
    tokens.add_special_tokens(list(SPECIAL))
    PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    _write_processor(folder)

    text: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": len(ids),
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": False,
        # Of 16 pairs of dimensions, so many turn with the time, the row and the column.
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": text["hidden_size"],
        "patch_size": PATCH,
        "spatial_merge_size": MERGED,
        "window_size": SIDE,
        "fullatt_block_indexes": [1],
    }
    media: dict[str, Any] = {
        "image_token_id": ids[IMAGE],
        "video_token_id": ids[VIDEO],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **media)
    model: Any = Qwen2_5_VLForConditionalGeneration(config)
    model.to(torch.bfloat16).save_pretrained(folder)


def _write_processor(folder: Path) -> None:
    """Write the files of the processor as Qwen2.5-VL has them."""
    import json

    pixels = {"shortest_edge": SIDE**2, "longest_edge": SIDE**2}
    processor = {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": pixels,
        "patch_size": PATCH,
        "merge_size": MERGED,
        "temporal_patch_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
