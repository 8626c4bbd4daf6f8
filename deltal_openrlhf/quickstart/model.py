"""The model: a Llama whose tokens are the words of the task, of 187 thousand parameters in the quick start."""

import functools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from deltal_openrlhf.quickstart.sizes import CPU, Size
from deltal_openrlhf.quickstart.task import prompt

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build_tokenizer(size: Size = CPU) -> PreTrainedTokenizerFast:
    """One token a word, split at spaces."""
    vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNKNOWN, *size.task.words])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN)


def build_model(tokenizer: PreTrainedTokenizerFast, size: Size = CPU) -> LlamaForCausalLM:
    """fp32, fresh weights from torch's global generator.

    Llama with biases and not Qwen2: for that model_type transformers puts its own tokenizer class in place of ours, which loses words.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        attention_bias=True,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{"attn_implementation": "sdpa", **size.llama},
    )
    return LlamaForCausalLM(config)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, size: Size = CPU) -> None:
    """Write a bfloat16 checkpoint, whole or not at all. Raises ValueError if the saved tokenizer does not round-trip."""
    save_checked(model, tokenizer, folder, functools.partial(check_round_trip, size=size))


def save_checked(model: PreTrainedModel, tokenizer: Any, folder: Path, check: Callable[[Path], None]) -> None:
    """Write a bfloat16 checkpoint, which gets its name after check(a folder that holds it)."""
    beside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(beside)  # type: ignore[arg-type]  # transformers wraps Module.to
    tokenizer.save_pretrained(beside)
    check(beside)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)


def check_round_trip(folder: Path, size: Size) -> None:
    """The tokenizer that others will load from `folder` gives prompts and responses back as the reward needs them.

    What the host decodes from the tokens of a prompt and a response has to be the prompt's text followed by the response's. Raises
    ValueError with the first text for which it is not.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng = random.Random(0)
    for split in ("train", "test") * 32:
        problem = size.task.draw(rng, split)
        question, response = prompt(*problem), f" {size.task.trace(problem, rng)} {EOS}"
        ids = [i for text in (question, response) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        if decoded != question + response:
            raise ValueError(f"the tokenizer in {folder} turns {question + response!r} into {decoded!r}")
