"""Makes the token ids of the problems' prompts, and checks that a model has room for them and their responses."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deltal_openrlhf.data.prompt_tokens import as_text, load_tokenizer
from deltal_openrlhf.evaluation.problems import Problem
from deltal_openrlhf.models import checkpoint


class Prompt(NamedTuple):
    text: str
    token_ids: list[int]


def tokenize(folder: Path, problems: Sequence[Problem]) -> list[Prompt]:
    """Make prompts like the host's rollouts: texts stay as they are, messages go through the chat template, and no special tokens are
    added.

    Raises ValueError for a tokenizer that cannot be loaded, and for messages without a chat template.
    """
    tokenizer = load_tokenizer(str(folder), chat=False)
    for problem in problems:
        if not isinstance(problem.prompt, str) and tokenizer.chat_template is None:
            raise ValueError(
                f"{problem.set}, problem {problem.position}: input is a list of messages, and the tokenizer in {folder} has no chat "
                "template; make the file with prompts for base models"
            )
    texts = [as_text(problem.prompt, tokenizer) for problem in problems]
    token_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for problem, ids in zip(problems, token_ids, strict=True):
        if not ids:
            raise ValueError(
                f"{problem.set}, problem {problem.position}: the tokenizer in {folder} makes no token of it"
            )
    return [Prompt(text, ids) for text, ids in zip(texts, token_ids, strict=True)]


def check_lengths(folder: Path, problems: Sequence[Problem], prompts: Sequence[Prompt], max_new_tokens: int) -> int:
    """The tokens of the longest prompt and its response. Raises ValueError if the model has fewer positions."""
    config = checkpoint.read_config(folder).get_text_config()
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
    tokens = len(prompts[longest].token_ids)
    positions = getattr(config, "max_position_embeddings", None)
    # Scaled positions reach further by a rule of each kind: those vLLM checks itself.
    scaled = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") != "default"
    if positions is not None and not scaled and tokens + max_new_tokens > positions:
        problem = problems[longest]
        allowed = positions - tokens
        remedy = f"--max_new_tokens up to {allowed}" if allowed > 0 else "shorter prompts"
        raise ValueError(
            f"the model has {positions} positions; problem {problem.position} of {problem.set} takes {tokens}, and --max_new_tokens "
            f"{max_new_tokens}; allowed is {remedy}"
        )
    return tokens + max_new_tokens
