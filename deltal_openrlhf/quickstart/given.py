"""A model of the user's in place of the supervised start: what --model names, and how the task is put to it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.data.prompt_tokens import as_text, load_tokenizer
from deltal_openrlhf.models import checkpoint, remote_code
from deltal_openrlhf.quickstart.kinds import KINDS, Kind
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.runs.errors import first_line

SUMS = "quickstart-sums"
"""A file in the start of a quick start with SmolLM2: the model has learned to work out sums."""


class GivenModel(NamedTuple):
    """A checked model.

    kind: a key of KINDS. longest_prompt: tokens. identity: what changes when the weights do, as JSON. learns: whether it has to learn the
    form of an answer first, in a supervised start.
    """

    folder: str
    kind: str
    longest_prompt: int
    identity: list
    learns: bool = False


def find(name: str, kind: str | None = None) -> GivenModel:
    """The model of this folder or of this name on the Hugging Face hub, downloaded if it is new.

    kind: what it has to learn first; None for a model that is trained as it is. Raises ValueError, in one line, where there is none, where
    it lacks tokenizer or weights, or where it cannot do the task.
    """
    from deltal_openrlhf.models.sampling import end_tokens

    if not os.path.isdir(name) and not os.path.isabs(name):
        load_tokenizer(name, chat=False, trust_remote_code=False)  # before gigabytes of weights come from the hub
    folder = checkpoint.locate(name)
    remote_code.check(str(folder))
    tokenizer = load_tokenizer(str(folder), chat=False)
    learns = kind is not None
    kind = kind or _kind(folder, tokenizer)
    try:
        longest = longest_prompt(KINDS[kind], tokenizer)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    _check_config(name, folder, longest + KINDS[kind].max_new_tokens)
    end_tokens(folder, tokenizer)  # raises where there is none: no response would end
    weights = sorted(path for pattern in checkpoint.WEIGHTS for path in folder.glob(pattern))
    identity = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weights]
    return GivenModel(str(folder.absolute()), kind, longest, identity, learns)


def _kind(folder: Path, tokenizer: Any) -> str:
    if (folder / SUMS).exists():
        return "sums"
    if set(CPU.task.words) <= tokenizer.get_vocab().keys():
        return "words"
    return "chat" if tokenizer.chat_template else "base"


def longest_prompt(kind: Kind, tokenizer: Any) -> int:
    """Tokens. Raises ValueError for prompts that do not survive their tokens."""
    try:
        texts = [as_text(kind.prompt(*problem), tokenizer) for problem in kind.longest()]
    except Exception as error:  # a template is a program of its own, which may refuse a system's message
        raise ValueError(f"its chat template refuses the prompts: {first_line(error)}") from error
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for text, tokens in zip(texts, ids, strict=True):
        # The reward cuts the prompt off the text of prompt and response.
        if (back := tokenizer.decode(tokens, skip_special_tokens=False)) != text:
            raise ValueError(
                f"its tokenizer turns the prompt {text!r} into {back!r}; a response could not be told apart"
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
