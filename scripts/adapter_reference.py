"""What the sides of scripts/adapter_check.py share: a tiny model, aggregations, and the gradient by brute force.

The gradient is that of one response after the other, in float64, with weights in Python floats. Nothing of deltal_openrlhf is used here.
"""

import json
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

MAX_LENGTH = 24
"""The longest response, and M."""
AGGREGATIONS: dict[str, dict[str, Any]] = {
    "deltal": {"mode": "deltal", "alpha": 0.75, "max_length": MAX_LENGTH},
    "deltal, alpha 1": {"mode": "deltal", "alpha": 1.0, "max_length": MAX_LENGTH},
    "deltal, scope rollout": {"mode": "deltal", "alpha": 0.75, "max_length": MAX_LENGTH, "scope": "rollout"},
    "deltal, scope group": {"mode": "deltal", "alpha": 0.75, "max_length": MAX_LENGTH, "scope": "group"},
    "token-mean": {"mode": "token-mean"},
    "seq-mean-token-mean": {"mode": "seq-mean-token-mean"},
    "seq-mean-token-sum-norm": {"mode": "seq-mean-token-sum-norm", "max_length": MAX_LENGTH},
    "prompt-mean": {"mode": "prompt-mean"},
    "balanced": {"mode": "balanced"},
}
OF_ONE_STEP = tuple(name for name in AGGREGATIONS if "scope" not in name and name not in ("prompt-mean", "balanced"))
"""Those whose weights depend on no response of another optimizer step."""


class Response(NamedTuple):
    """old: log-probabilities of the tokens at sampling, or None for those of the model. mask: which tokens are trained."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    mask: tuple[bool, ...]
    advantage: float
    old: tuple[float, ...] | None = None

    @property
    def length(self) -> int:
        return sum(self.mask)


# ── Brute force ──


def weight(aggregation: dict[str, Any], one: Response, step: Sequence[Response], rollout: Sequence[Response]) -> float:
    """x_i by the definitions."""
    mode, valid, everything = (
        aggregation["mode"],
        [r for r in step if r.length],
        [r for r in rollout if r.length],
    )
    if not one.length:
        return 0.0
    if mode == "token-mean":
        return 1 / sum(r.length for r in valid)
    if mode == "seq-mean-token-mean":
        return 1 / len(valid) / one.length
    if mode == "seq-mean-token-sum-norm":
        return 1 / len(valid) / aggregation["max_length"]
    prompt = [r for r in everything if r.prompt == one.prompt]
    if mode == "deltal":
        scope = {"step": valid, "rollout": everything, "group": prompt}[aggregation.get("scope", "step")]
        mean = statistics.fmean(r.length ** -aggregation["alpha"] for r in scope)
        return one.length ** -aggregation["alpha"] / mean / aggregation["max_length"] / len(valid)
    part = prompt
    if mode == "balanced":
        part = [r for r in prompt if sign(r.advantage) == sign(one.advantage)]
    share = len(part) / len(prompt) / sum(r.length for r in part) / len({r.prompt for r in everything})
    return share * len(everything) / len(valid)


def sign(number: float) -> int:
    return (number > 0) - (number < 0)


def token_losses(kind: str, new: torch.Tensor, old: torch.Tensor, advantage: float) -> torch.Tensor:
    """kind: ppo, dual clip (3), gspo, cispo, or cispo from above, which clips to 1.2. The others clip to [0.8, 1.2]."""
    ratio = (new - old).exp()
    if kind.startswith("cispo"):
        return -ratio.detach().clamp(0.8 if kind == "cispo" else 0, 1.2) * advantage * new
    if kind == "gspo":
        ratio = (new - new.detach() + (new - old).mean().detach()).exp()
    loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return loss.clamp(max=-3 * advantage) if kind == "dual clip" and advantage < 0 else loss


def gradient(
    model: torch.nn.Module,
    aggregation: dict[str, Any],
    step: Sequence[Response],
    rollout: Sequence[Response],
    kind: str = "ppo",
) -> torch.Tensor:
    """Of one optimizer step, in float64, for all parameters in a row."""
    exact = make_model().double()
    exact.load_state_dict(model.state_dict())
    total = torch.zeros((), dtype=torch.float64)
    for one in step:
        if one.length:
            mask = torch.tensor(one.mask)
            new = chosen(exact, one)[mask]
            old = new.detach() if one.old is None else torch.tensor(one.old, dtype=torch.float64)[mask]
            losses = token_losses(kind, new, old, one.advantage)
            total = total + weight(aggregation, one, step, rollout) * losses.sum()
    return flat(torch.autograd.grad(total, list(exact.parameters())))


def flat(gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in gradients])


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The relative one, of the norms."""
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


# ── The model and its responses ──


def make_model() -> Any:
    """A Qwen2 of 32 words in fp32. 0 pads and 1 ends a response."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config).float()


def chosen(model: torch.nn.Module, one: Response) -> torch.Tensor:
    """Log-probabilities of the response's tokens, all of them."""
    logits = model(torch.tensor([[*one.prompt, *one.tokens]])).logits[0, len(one.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(one.tokens)[:, None]).squeeze(1)


def make_responses(model: torch.nn.Module, prompts: int = 4, samples: int = 4) -> list[Response]:
    """Responses of random lengths with holes in some masks, one without a trained token, and ratios from about 0.5 to 2."""
    rng, made = random.Random(0), []
    for _ in range(prompts):
        prompt = tuple(rng.randrange(3, 32) for _ in range(rng.randint(3, 6)))
        for _ in range(samples):
            tokens = tuple(rng.randrange(3, 32) for _ in range(rng.choice((2, 5, 11, MAX_LENGTH))))
            mask = tuple(len(made) != 5 and (len(made) % 3 > 0 or rng.random() < 0.7) for _ in tokens)
            made.append(Response(prompt, tokens, mask, rng.gauss(0, 1)))
    with torch.no_grad():
        return [
            one._replace(old=tuple((chosen(model, one) + 0.3 * torch.randn(len(one.tokens))).tolist())) for one in made
        ]


# ── Results ──


def main(cases: Callable[[bool], Iterable[dict[str, Any]]]) -> None:
    """python SIDE RESULT few|all: writes a line of JSON for each case that `cases` gives."""
    with Path(sys.argv[1]).open("w", encoding="utf-8") as out:
        for case in cases(sys.argv[2] == "few"):
            out.write(json.dumps(case) + "\n")
            out.flush()
