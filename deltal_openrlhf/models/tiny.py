"""A random Llama of 0.1M parameters with a word-level tokenizer, as a Hugging Face folder: for checks and tests."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer


def write_tiny_model(folder: Path, words: list[str], pre_tokenizer: "PreTokenizer", **config: Any) -> None:
    """words: the vocabulary; <pad>, <eos> and <unk> first. config: more arguments of LlamaConfig."""
    import torch
    from tokenizers import Tokenizer, decoders, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 256}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ids = {"vocab_size": len(words), "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    settings: dict[str, Any] = sizes | heads | ids | config
    model: Any = LlamaForCausalLM(LlamaConfig(**settings))  # what transformers says of its `to` is of other classes
    model.to(torch.bfloat16).save_pretrained(folder)
