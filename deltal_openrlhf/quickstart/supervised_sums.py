"""The supervised start of SmolLM2: it learns the two kinds of response to a sum, at once and in steps.

Asked without examples, the model misses nearly always. A few hundred responses teach it the form.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.quickstart import sums
from deltal_openrlhf.quickstart.given import SUMS, longest_prompt
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.quickstart.model import save_checked
from deltal_openrlhf.quickstart.supervised import updater, warmed_cosine
from deltal_openrlhf.train import threads

BATCH = 16
"""Responses of an optimizer step."""
LEARNING_RATE = 2e-4
WARMUP = 5
"""Steps."""


def make(
    base: Path,
    folder: Path,
    *,
    seed: int,
    device: str,
    progress: Callable[[int], None] = lambda step: None,
) -> None:
    """Train the model in `base` on fresh responses to train problems, and save it in `folder`.

    device: "cpu" or "cuda". progress: called after each step.
    """
    steps = sums.SUPERVISED_STEPS
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    model.to(device)  # type: ignore[arg-type]  # transformers wraps Module.to
    if device == "cpu":
        threads.use(model.num_parameters())
    update = updater(model, LEARNING_RATE, lambda step: warmed_cosine(step, steps, WARMUP))
    batches = _batches(tokenizer, random.Random(f"sums {seed}"))
    model.train()
    for step in range(1, steps + 1):
        model.zero_grad()
        response_loss(model, *(part.to(device) for part in next(batches))).backward()
        update()
        progress(step)

    def finish(saved: Path) -> None:
        longest_prompt(KINDS["sums"], AutoTokenizer.from_pretrained(saved))  # raises where prompts do not survive
        (saved / SUMS).touch()

    save_checked(model, tokenizer, folder, finish)


def response_loss(model: PreTrainedModel, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the responses' tokens, under bfloat16 autocast.

    tokens: [B, T], padded at the right. wanted: bool [B, T - 1], whether the token at t + 1 is one of a response. Logits are computed for
    those alone.
    """
    with torch.autocast(tokens.device.type, torch.bfloat16):
        hidden = model.get_decoder()(input_ids=tokens[:, :-1]).last_hidden_state  # [B, T - 1, H]; attention is causal
        logits = model.get_output_embeddings()(hidden[wanted])
    return F.cross_entropy(logits.float(), tokens[:, 1:][wanted])


def _batches(tokenizer: Any, rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens, wanted) of response_loss. Not sorted by length: then a batch would hold one kind of response."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    while True:
        problems = [sums.draw(rng, "train") for _ in range(BATCH)]
        yield _padded(
            [
                (
                    ids(as_text(sums.question(*problem), tokenizer)),
                    ids(f"{sums.response(problem, rng)}{tokenizer.eos_token}"),
                )
                for problem in problems
            ],
            tokenizer.pad_token_id,
        )


def _padded(batch: list[tuple[list[int], list[int]]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, wanted) of rows of a prompt and its response."""
    longest = max(len(prompt) + len(response) for prompt, response in batch)
    tokens = torch.full((len(batch), longest), pad)
    wanted = torch.zeros(len(batch), longest - 1, dtype=torch.bool)
    for row, (prompt, response) in enumerate(batch):
        end = len(prompt) + len(response)
        tokens[row, :end] = torch.tensor(prompt + response)
        wanted[row, len(prompt) - 1 : end - 1] = True
    return tokens, wanted
