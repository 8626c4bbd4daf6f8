"""The supervised start: the tiny model learns from random search traces how to search, check and answer.

Accuracy comes late (the loss hardly shows it), once the model computes right, knows which number is left and copies the hit into
the answer. Three things make that fit into two minutes on one core: what is predictable weighs more in the loss than the random choices
of the search, initial weights are large (model.py), and the target has words of its own (task.py).
"""

import math
import random
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from deltal_openrlhf.quickstart import task
from deltal_openrlhf.quickstart.model import EOS, build_model

BATCH = 64
LEARNING_RATE = 4e-3
WARMUP = 50
MAX_TOKENS = 128
"""Longer traces are cut here: their later attempts teach nothing new and cost padding."""
HEAVY = 4.0
"""Loss weight of results and verdicts."""
MEAN_WEIGHT = 86.0
"""About the mean weight of a trace. A constant: dividing by each batch's own sum would give tokens of short traces more weight, and the
model would give up too early."""


def train(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    steps: int = task.SUPERVISED_STEPS,
    progress: Callable[[int], None] = lambda step: None,
) -> LlamaForCausalLM:
    """A new model after `steps` AdamW steps on fresh traces of train problems. progress: called after each step."""
    torch.manual_seed(seed)
    model = build_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, steps))
    batches = _batches(tokenizer, random.Random(seed))
    model.train()
    for step in range(1, steps + 1):
        tokens, weights = next(batches)
        logits = model(input_ids=tokens[:, :-1]).logits  # right padding needs no mask: attention is causal
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        optimizer.zero_grad()
        ((losses * weights.flatten()).sum() / (BATCH * MEAN_WEIGHT)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step)
    return model.eval()


def _learning_rate(step: int, steps: int) -> float:
    """Warm-up, then a cosine down to a tenth."""
    return min(1.0, (step + 1) / WARMUP) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))


def _batches(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens [BATCH, T], loss weights of tokens 1..T-1 [BATCH, T - 1]) from new traces."""
    ids = tokenizer.get_vocab()
    weigh = _Weights(ids)
    while True:
        rows = []
        for _ in range(16 * BATCH):
            problem = task.draw(rng, "train")
            text = f"{task.prompt(*problem)} {task.trace(problem, rng)} {EOS}"
            rows.append([ids[word] for word in text.split()][:MAX_TOKENS])
        # Batches of similar length hold little padding.
        rows.sort(key=len)
        pool = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        rng.shuffle(pool)
        for batch in pool:
            longest = len(batch[-1])
            tokens = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in batch])
            yield tokens, weigh(tokens, tokenizer.pad_token_id)


class _Weights:
    """Loss weights: 0 for prompt and padding, HEAVY for values after "=", verdicts and answers, 1 for the rest."""

    def __init__(self, ids: dict[str, int]) -> None:
        self._equals, self._answer = ids["="], ids["<answer>"]
        self._is_verdict = torch.zeros(len(ids), dtype=torch.bool)
        self._is_verdict[[ids["NO"], ids["<answer>"]]] = True

    def __call__(self, tokens: torch.Tensor, pad: int) -> torch.Tensor:
        context, wanted = tokens[:, :-1], tokens[:, 1:]
        in_answer = (context == self._answer).cumsum(dim=1) > 0
        heavy = (context == self._equals) | self._is_verdict[wanted] | in_answer
        weights = torch.where(heavy, HEAVY, 1.0) * (wanted != pad)
        weights[:, : task.WORDS_A_PROMPT - 1] = 0
        return weights
