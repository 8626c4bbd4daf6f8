"""A model of the user's in place of the supervised start: what --model names, and how the task is put to it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.data import countdown
from deltal_openrlhf.data.prompt_tokens import as_text, load_tokenizer
from deltal_openrlhf.data.templates import Messages
from deltal_openrlhf.models import checkpoint, remote_code
from deltal_openrlhf.quickstart import task
from deltal_openrlhf.quickstart.sizes import Size
from deltal_openrlhf.runs.errors import first_line

PROMPTS: dict[str, Callable[..., str | Messages]] = {"words": task.prompt, **countdown.TEMPLATES}
"""The task's own words, or the question in English that `deltal data countdown` asks a base or a chat model."""
SAYS = {
    "words": "its tokens are the task's words: problems are put to it in them",
    "chat": "problems are put to it in English, through its chat template",
    "base": "it has no chat template: problems are put to it in English, as the start of a conversation in plain text",
}
MAX_NEW_TOKENS = 512
"""Longest answer in English, in which a word or a number may take several tokens."""


class GivenModel(NamedTuple):
    """A checked model. prompts: a key of PROMPTS. longest_prompt: tokens. identity: what changes when the weights do, as JSON."""

    folder: str
    prompts: str
    longest_prompt: int
    max_new_tokens: int
    identity: list


def find(name: str, size: Size) -> GivenModel:
    """The model of this folder or of this name on the Hugging Face hub, downloaded if it is new.

    Raises ValueError, in one line, where there is none, where it lacks tokenizer or weights, or where it cannot do the task.
    """
    from deltal_openrlhf.models.sampling import end_tokens

    if not os.path.isdir(name) and not os.path.isabs(name):
        load_tokenizer(name, chat=False, trust_remote_code=False)  # before gigabytes of weights come from the hub
    folder = checkpoint.locate(name)
    remote_code.check(str(folder))
    tokenizer = load_tokenizer(str(folder), chat=False)
    if set(size.task.words) <= tokenizer.get_vocab().keys():
        prompts = "words"
    else:
        prompts = "chat" if tokenizer.chat_template else "base"
    max_new_tokens = size.task.max_new_tokens if prompts == "words" else MAX_NEW_TOKENS
    longest = _longest_prompt(name, prompts, tokenizer, size)
    _check_config(name, folder, longest + max_new_tokens)
    end_tokens(folder, tokenizer)  # raises where there is none: no response would end
    weights = sorted(path for pattern in checkpoint.WEIGHTS for path in folder.glob(pattern))
    identity = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weights]
    return GivenModel(str(folder.absolute()), prompts, longest, max_new_tokens, identity)


def _longest_prompt(name: str, prompts: str, tokenizer: Any, size: Size) -> int:
    """Tokens, over problems with every number and every target. Raises ValueError for prompts that do not survive their tokens."""
    problems = [
        countdown.Problem((number,) * size.task.most, target)
        for number in range(1, size.task.highest + 1)
        for target in range(1, size.task.largest + 1)
    ]
    try:
        texts = [as_text(PROMPTS[prompts](*problem), tokenizer) for problem in problems]
    except Exception as error:  # a template is a program of its own, which may refuse a system's message
        raise ValueError(f"{name}: its chat template refuses the prompts: {first_line(error)}") from error
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for text, tokens in zip(texts, ids, strict=True):
        # The reward cuts the prompt off the text of prompt and response.
        if (back := tokenizer.decode(tokens, skip_special_tokens=False)) != text:
            raise ValueError(
                f"{name}: its tokenizer turns the prompt {text!r} into {back!r}; a response could not be told apart"
            )
    return max(map(len, ids))


def _check_config(name: str, folder: Path, tokens: int) -> None:
    """Raises ValueError for a model that generates no text, or has fewer positions than `tokens`."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = checkpoint.read_config(folder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{name}: is a {config.model_type}, allowed are causal language models of transformers")
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and positions < tokens:
        raise ValueError(f"{name}: has {positions} positions, the task needs {tokens}")
