"""Checks a trainer that you name: is its update the same however a step is cut into micro batches? This is `deltal verify --trainer`.

You write one function, gradient(batch, micro_batches). It puts the batch through the loss of your trainer, and gives the gradient that the
optimizer would get:

    def gradient(batch, micro_batches):
        for rows in micro_batches:
            part = batch.rows(rows)
            loss = my_loss(part.log_probs, part.old_log_probs, part.advantages, part.mask)
            (loss / len(micro_batches)).backward()  # or whatever your trainer makes of it
        return batch.log_probs.grad

It is called once for each cut, each time with an equal batch of its own. The answer may be a tensor, or tensors in a list, tuple or
mapping: a function may also train a model of its own on responses of these lengths, masks and advantages. It should be that of one rank.

With a mode, the update of one micro batch is also compared with brute force. Old and new log-probabilities are equal, so that nothing is
clipped, and the gradient of x_i S_i with respect to the log-probability of a trained token is -x_i A_i. This needs batch.log_probs.grad:
leave out --loss_agg for the gradient of another model.
"""

import importlib
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltal_openrlhf.aggregation import Aggregation
from deltal_openrlhf.runs.errors import with_kind
from deltal_openrlhf.verify.outcome import Outcome, Report, measured

NAME = "trainer"
AIM = 1e-5
"""Relative difference of two gradients in fp32 that counts as none."""
PROMPTS, SAMPLES, LONGEST = 4, 4, 48
"""Prompts, responses to each, and tokens of the longest."""


@dataclass
class Batch:
    """The responses of an optimizer step, in fp32.

    Attributes:
        log_probs: [num_responses, num_tokens], of the sampled tokens, a leaf that requires its gradient.
        old_log_probs: the same values without a gradient.
        advantages: [num_responses, num_tokens], one value for each response.
        mask: [num_responses, num_tokens], bool, True where a token is trained on. It may have holes, and no row is without a token.
        groups: [num_responses], the number of each response's prompt.
    """

    log_probs: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    mask: Tensor
    groups: Tensor

    def rows(self, micro_batch: Sequence[int]) -> "Batch":
        """These responses, as wide as the last trained token of the longest. The gradient goes into the whole batch's log_probs."""
        rows = torch.as_tensor(micro_batch)
        width = int(self.mask[rows].any(0).nonzero().max()) + 1
        cut = {name: value[rows] if name == "groups" else value[rows, :width] for name, value in vars(self).items()}
        return Batch(**cut)


class TrainerError(Exception):
    """What the user's function raised, in one line."""


Gradient = Callable[[Batch, list[list[int]]], Any]


def make_batch() -> Batch:
    """Equal at every call. Lengths go from 1 to LONGEST, and differ most between the responses to one prompt."""
    rng, count = random.Random(0), PROMPTS * SAMPLES
    mask = torch.zeros(count, LONGEST, dtype=torch.bool)
    for row in range(count):
        length = (1, 4, 15, LONGEST)[row % SAMPLES] if row < SAMPLES else rng.randint(1, LONGEST)
        mask[row, :length] = True
        if row % 3 == 2:  # what a tool wrote in between
            mask[row, length // 3 : length // 2] = False
    made = torch.Generator().manual_seed(0)
    log_probs = -torch.rand(count, LONGEST, generator=made) - 0.1
    advantages = torch.randn(count, 1, generator=made).expand(count, LONGEST).contiguous()
    groups = torch.arange(count) // SAMPLES
    return Batch(log_probs.clone().requires_grad_(), log_probs, advantages, mask, groups)


def cuts(batch: Batch) -> dict[str, list[list[int]]]:
    """Name -> micro batches. The first is the whole step."""
    count = len(batch.mask)
    rows = list(range(count))
    by_length = batch.mask.sum(1).argsort().tolist()
    return {
        "1 micro batch": [rows],
        "2 equal micro batches": [rows[: count // 2], rows[count // 2 :]],
        "4 equal micro batches": [rows[at : at + count // 4] for at in range(0, count, count // 4)],
        f"{count} micro batches of 1": [[row] for row in rows],
        "micro batches of 1, 2, 5 and 8": [rows[:1], rows[1:3], rows[3:8], rows[8:]],
        "4 micro batches, sorted by length": [by_length[at : at + count // 4] for at in range(0, count, count // 4)],
    }


def verify_trainer(gradient: Gradient, aggregation: Aggregation | None, json_path: Path | None) -> Report:
    """Compare each cut with the whole step, and that with brute force if there is an aggregation."""
    with Report(json_path) as report:
        for outcome in outcomes(gradient, aggregation):
            report.add(outcome)
    return report


def outcomes(gradient: Gradient, aggregation: Aggregation | None) -> Iterator[Outcome]:
    named = list(cuts(make_batch()).items())
    with measured(NAME, named[0][0]) as outcome:
        answer = called(gradient, named[0][1])
        whole = flat(answer)
        norm = float(whole.norm())
        if not (0 < norm < float("inf")):
            raise ValueError(f"the gradient has the norm {norm}, allowed is a finite one above 0")
        outcome.values, outcome.said = {"norm": norm}, f"{len(whole)} values of norm {norm:.3g}"
    yield outcome
    if outcome.ok is False:
        return
    for name, micro_batches in named[1:]:
        with measured(NAME, name) as outcome:
            part = flat(called(gradient, micro_batches))
            if part.shape != whole.shape:
                raise ValueError(f"the gradient has {len(part)} values, with one micro batch {len(whole)}")
            difference = float((part - whole).norm()) / norm
            outcome.ok, outcome.values = difference <= AIM, {"relative_difference": difference, "aim": AIM}
            outcome.said = f"differs by {difference:.1e} from one micro batch, allowed {AIM:.0e}"
        yield outcome
    if aggregation is not None:
        with measured(NAME, f"1 micro batch, {aggregation.mode} by brute force") as outcome:
            _compare(answer, brute_force(make_batch(), aggregation), outcome)
        yield outcome


def called(gradient: Gradient, micro_batches: list[list[int]]) -> Any:
    """The function's answer for a new batch. Raises TrainerError with the place in the user's files."""
    try:
        return gradient(make_batch(), micro_batches)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
        raise TrainerError(f"{place}{with_kind(error)}") from error


def _compare(answer: Any, wanted: Tensor, outcome: Outcome) -> None:
    if not isinstance(answer, Tensor) or answer.shape != wanted.shape:
        raise ValueError(
            "brute force is the gradient of batch.log_probs, and the function gave another; then leave out --loss_agg"
        )
    got = answer.detach().double()
    difference = float((got - wanted).norm() / wanted.norm())
    factor = float((got * wanted).sum() / wanted.square().sum())
    outcome.ok, outcome.values = difference <= AIM, {"relative_difference": difference, "factor": factor, "aim": AIM}
    outcome.said = f"differs by {difference:.1e}, allowed {AIM:.0e}"
    if not outcome.ok and float((got - factor * wanted).norm()) <= AIM * float(got.norm()):
        outcome.said += f"; it is {factor:.6g} times what it should be, and right but for that factor"


def brute_force(batch: Batch, aggregation: Aggregation) -> Tensor:
    """[num_responses, num_tokens], float64: -x_i A_i where a token is trained."""
    lengths = batch.mask.sum(1)
    x = aggregation.weights(lengths, batch.groups, advantages=batch.advantages[:, 0])
    return torch.where(batch.mask, -x[:, None] * batch.advantages.double(), 0.0)


def flat(answer: Any) -> Tensor:
    """All values of an answer in a row, as float64. Raises ValueError for what is no gradient."""
    if isinstance(answer, Tensor):
        return answer.detach().double().flatten().cpu()
    values = list(answer.values()) if isinstance(answer, Mapping) else answer
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"the function gave a {type(answer).__name__}, allowed are tensors")
    return torch.cat([flat(value) for value in values])


def load(name: str) -> Gradient:
    """The function that MODULE:FUNCTION names; modules of the working directory come first. Raises ValueError in one line."""
    module, _, function = name.partition(":")
    if not module or not function or module.endswith(".py"):
        raise ValueError(
            f"--trainer is {name}, allowed is MODULE:FUNCTION, such as mytrainer:gradient for mytrainer.py"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # the user's code, which may raise anything
        raise ValueError(f"--trainer {name} cannot be loaded: {with_kind(error)}") from error
    if not callable(found):
        raise ValueError(
            f"--trainer {name} is of type {type(found).__name__}, allowed is a function of (batch, micro_batches)"
        )
    return found
