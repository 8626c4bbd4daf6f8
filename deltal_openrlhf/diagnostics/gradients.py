"""Score vectors: s_i = gradient of sum_t log pi(y_t | prompt, y_<t) over one response's trained tokens, at the sampling temperature."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from deltal_openrlhf.diagnostics.sketch import Sketch
from deltal_openrlhf.runs.errors import first_line

LOGIT_COPIES = 3
"""Arrays of [trained tokens, vocabulary] in float32 at once: log-probabilities, their gradient, the logits' gradient."""


def load_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """The model in float32, without dropout.

    Raises ValueError, in one line, if it cannot be loaded or cannot give the logits of some tokens only.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # transformers, safetensors and the model's own code raise errors of all kinds.
    except Exception as error:
        raise ValueError(f"{folder}: the model cannot be loaded: {first_line(error)}") from error
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise ValueError(f"{folder}: {type(model).__name__} of this transformers takes no logits_to_keep")
    return model.eval().requires_grad_(True).to(device)


class Scores:
    """A context manager whose `row` gives the (sketched) score vector of one response.

    Backward computes one parameter's gradient after the other. Each goes into the row at once and is freed, so they never exist all
    together.
    """

    def __init__(
        self, model: PreTrainedModel, sketch: Sketch, *, temperature: float, tokens_a_pass: int | None = None
    ) -> None:
        """tokens_a_pass: trained tokens whose logits may exist at once; a longer response takes several passes. None: no bound."""
        self._model, self._sketch, self._temperature = model, sketch, temperature
        self._tokens_a_pass = tokens_a_pass
        self._row = torch.zeros(sketch.dim, device=model.device)
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._consumer(name))
            for name, parameter in model.named_parameters()
        ]

    def _consumer(self, name: str) -> Callable[[nn.Parameter], None]:
        def consume(parameter: nn.Parameter) -> None:
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None
            self._sketch.add(name, gradient.contiguous(), self._row)

        return consume

    def row(self, token_ids: Sequence[int], action_mask: Sequence[int]) -> tuple[Tensor, float]:
        """The score vector, float32 [sketch.dim] on the model's device and overwritten by the next call, and sum_t log pi(y_t).

        action_mask: [len(token_ids) - 1], whether token_ids[t + 1] is trained on; holes are allowed.
        """
        tokens = torch.tensor(token_ids, device=self._model.device)
        trained = torch.tensor(action_mask).nonzero()[:, 0]  # on the CPU: no waiting for the device
        self._row.zero_()
        log_prob = torch.zeros((), dtype=torch.float64, device=tokens.device)
        for part in trained.split(self._tokens_a_pass or len(trained)):
            # What follows the last trained token of a part does not matter to it.
            inputs = tokens[: int(part[-1]) + 1]
            part = part.to(tokens.device)
            logits = self._model(input_ids=inputs[None], logits_to_keep=part, use_cache=False).logits[0]
            loss = F.cross_entropy(logits.float() / self._temperature, tokens[part + 1], reduction="sum")
            del logits
            (-loss).backward()
            log_prob -= loss.detach()
        return self._row, log_prob.item()

    def __enter__(self) -> "Scores":
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
