"""The supervised start: the model learns from random search traces how to search, check and answer.

Accuracy comes late (the loss hardly shows it), once the model computes right, knows which number is left and copies the hit into
the answer. Three things make that fit into two minutes on one core in the quick start: what is predictable weighs more in the loss than the
random choices of the search, initial weights are large (sizes.py), and the target has words of its own (task.py).
"""

import math
import random
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from deltal_openrlhf.quickstart.model import EOS, build_model
from deltal_openrlhf.quickstart.sizes import Size
from deltal_openrlhf.quickstart.task import prompt

HEAVY = 4.0
"""Loss weight of results and verdicts."""


def train(
    tokenizer: PreTrainedTokenizerFast,
    size: Size,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda step: None,
) -> LlamaForCausalLM:
    """A new float32 model on size.device, after size.steps AdamW steps on fresh traces of train problems. progress: called after each."""
    torch.manual_seed(seed)
    model = build_model(tokenizer, size)
    model.to(size.device)  # type: ignore[arg-type]  # transformers wraps Module.to
    update = updater(model, size.learning_rate, lambda step: warmed_cosine(step, size.steps, size.warmup))
    batches = _batches(tokenizer, size, random.Random(seed))
    model.train()
    for step in range(1, size.steps + 1):
        model.zero_grad()
        parts = (whole.to(size.device).split(size.micro_batch) for whole in next(batches))
        for tokens, weights in zip(*parts, strict=True):
            losses = token_losses(model, tokens, bf16=size.bf16)
            ((losses * weights).sum() / (size.batch * size.mean_weight)).backward()
        update()
        progress(step)
    return model.eval()


def updater(model: PreTrainedModel, rate: float, factor: Callable[[int], float]) -> Callable[[], None]:
    """What ends an optimizer step: the gradient is clipped to 1, and AdamW takes a step at rate x factor(step)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    return update


def token_losses(model: PreTrainedModel, tokens: torch.Tensor, *, bf16: bool) -> torch.Tensor:
    """Cross-entropy of each token but the first, [batch, T - 1] in float32. tokens: [batch, T], padded at the right.

    bf16: forward passes under autocast.
    """
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
        logits = model(input_ids=tokens[:, :-1]).logits  # right padding needs no mask: attention is causal
    wanted = tokens[:, 1:]
    return F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)


def warmed_cosine(step: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate: a warm-up, then a cosine down to a tenth."""
    return min(1.0, (step + 1) / warmup) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))


def _batches(
    tokenizer: PreTrainedTokenizerFast, size: Size, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens [batch, T], loss weights of tokens 1..T-1 [batch, T - 1]) from new traces."""
    ids = tokenizer.get_vocab()
    weigh = _Weights(ids)
    while True:
        rows = []
        for _ in range(16 * size.batch):
            problem = size.task.draw(rng, "train")
            text = f"{prompt(*problem)} {size.task.trace(problem, rng)} {EOS}"
            rows.append([ids[word] for word in text.split()][: size.max_tokens])
        # Batches of similar length hold little padding.
        rows.sort(key=len)
        pool = [rows[i : i + size.batch] for i in range(0, len(rows), size.batch)]
        rng.shuffle(pool)
        for batch in pool:
            longest = len(batch[-1])
            tokens = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in batch])
            yield tokens, weigh(tokens, tokenizer.pad_token_id)


class _Weights:
    """Loss weights: 0 for prompt and padding, HEAVY for values after "=", verdicts and answers, 1 for the rest."""

    def __init__(self, ids: dict[str, int]) -> None:
        self._colon, self._equals, self._answer = ids[":"], ids["="], ids["<answer>"]
        self._is_verdict = torch.zeros(len(ids), dtype=torch.bool)
        self._is_verdict[[ids["NO"], ids["<answer>"]]] = True

    def __call__(self, tokens: torch.Tensor, pad: int) -> torch.Tensor:
        context, wanted = tokens[:, :-1], tokens[:, 1:]
        in_response = (context == self._colon).cumsum(dim=1) > 0  # a colon ends the prompt, and stands nowhere else
        in_answer = (context == self._answer).cumsum(dim=1) > 0
        heavy = (context == self._equals) | self._is_verdict[wanted] | in_answer
        return torch.where(heavy, HEAVY, 1.0) * (in_response & (wanted != pad))
