"""The quick start's model: a Llama of 187 thousand parameters whose tokens are the words of the task."""

import os
import random
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deltal_openrlhf.quickstart import task

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, split at spaces."""
    vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNKNOWN, *task.WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN)


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """fp32, fresh weights from torch's global generator.

    Llama with biases and not Qwen2: for that model_type transformers puts its own tokenizer class in place of ours, which loses words.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,  # the smallest that vLLM's CPU attention takes
        attention_bias=True,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.1,  # with the usual 0.02 a model this small does not learn the task in time
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a bfloat16 checkpoint, checked, whole or not at all. Raises ValueError if the saved tokenizer does not round-trip."""
    beside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    check_round_trip(beside)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)


def check_round_trip(folder: Path, problems: int = 64) -> None:
    """The tokenizer that others will load from `folder` gives prompts and responses back as the reward needs them.

    What the host decodes from the tokens of a prompt and a response has to be the prompt's text followed by the response's. Raises
    ValueError with the first text for which it is not.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng = random.Random(0)
    for split in ("train", "test") * (problems // 2):
        problem = task.draw(rng, split)
        prompt, response = task.prompt(*problem), f" {task.trace(problem, rng)} {EOS}"
        ids = [i for text in (prompt, response) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        if decoded != prompt + response:
            raise ValueError(f"the tokenizer in {folder} turns {prompt + response!r} into {decoded!r}")
