"""Lengths of prompts in tokens, as the host feeds them to the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deltal_openrlhf.data.sources import quiet_hub
from deltal_openrlhf.data.templates import Messages
from deltal_openrlhf.runs.errors import first_line

_BATCH = 1000


def load_tokenizer(name: str, *, chat: bool, trust_remote_code: bool | None = None) -> Any:
    """Load a tokenizer by hub name or folder. Raises ValueError, in one line, if it cannot be read or lacks the chat template.

    trust_remote_code: whether its own Python may run. None takes the choice of the process (host/remote_code.py).
    """
    from transformers import AutoTokenizer

    try:
        with quiet_hub():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    # Missing file, broken JSON, unreachable hub, unknown class: each raises its own kind.
    except Exception as error:
        where = "" if Path(name).is_dir() else ", neither as a folder here nor from the hub"
        raise ValueError(f"{name}: the tokenizer cannot be loaded{where}: {first_line(error)}") from error
    if chat and not tokenizer.chat_template:
        raise ValueError(f"{name}: the tokenizer has no chat template; --template base needs none")
    return tokenizer


def as_text(prompt: str | Messages, tokenizer: Any) -> str:
    """The prompt as the host's rollouts make it. A text stays as it is. Messages go through the chat template, up to the
    assistant's turn.
    """
    if isinstance(prompt, str):
        return prompt
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def token_lengths(prompts: Sequence[str | Messages], tokenizer: Any) -> list[int]:
    """Tokens of each prompt, without special tokens, as in the host."""
    lengths: list[int] = []
    starts = range(0, len(prompts), _BATCH)
    for start in tqdm(starts, "counting tokens", unit=f" x {_BATCH} prompts", disable=None, leave=False):
        batch = [as_text(prompt, tokenizer) for prompt in prompts[start : start + _BATCH]]
        lengths += map(len, tokenizer(text=batch, add_special_tokens=False)["input_ids"])
    return lengths


def characters(prompt: str | Messages) -> int:
    """Characters of a text, or of all messages together."""
    return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
