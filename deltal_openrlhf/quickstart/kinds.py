"""The kinds of quick start: how a model is asked and graded, and with what settings it is trained."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from deltal_openrlhf.data import countdown
from deltal_openrlhf.data.countdown import Problem
from deltal_openrlhf.data.templates import Messages
from deltal_openrlhf.quickstart import sums, task
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.rewards import named


@dataclass(frozen=True)
class Kind:
    """A task and how a model is trained on it. Problems of all tasks are a Problem."""

    title: str
    says: str
    """What is told of a model that is given."""
    draw: Callable[[random.Random, str], Problem]
    """A random problem of a split, train or test."""
    longest: Callable[[], list[Problem]]
    """Problems among which is one with the longest prompt."""
    prompt: Callable[..., str | Messages]
    label: Callable[..., str]
    """Prompt and label are functions of a problem's fields."""
    reward: str
    """A name of rewards/named.py."""
    max_new_tokens: int
    """Longest response in training and evaluation, its end token included."""
    learning_rate: float
    prompts: int
    """Prompts of a PPO step, which is one optimizer step."""
    samples: int
    """Responses to a prompt."""
    micro_batch: int
    """Responses of a forward pass. A model that reads English has logits that fill the memory."""
    at_once: int
    """Responses that an evaluation samples at a time, where memory allows."""
    evaluated: int
    """Responses to each held-out problem."""
    steps: int
    """PPO steps, where --steps does not say."""
    minutes: int | None
    gigabytes: float | None
    """What the whole quick start takes on 2 idle cores without a GPU; of sums, the sum of its parts. None for a model of any size."""

    @property
    def is_chat(self) -> bool:
        """Whether prompts are messages for a chat template."""
        return not isinstance(self.prompt(*self.longest()[0]), str)


def _every_countdown() -> list[Problem]:
    """With every number and every target."""
    of = CPU.task
    numbers, targets = range(1, of.highest + 1), range(1, of.largest + 1)
    return [Problem((number,) * of.most, target) for number in numbers for target in targets]


_WORDS = Kind(
    title="Countdown",
    says="its tokens are the task's words: problems are put to it in them",
    draw=CPU.task.draw,
    longest=_every_countdown,
    prompt=task.prompt,
    label=countdown.label,
    reward=named.COUNTDOWN,
    max_new_tokens=CPU.task.max_new_tokens,
    learning_rate=2e-4,
    prompts=16,
    samples=8,
    micro_batch=32,
    at_once=1024,
    evaluated=4,
    steps=30,
    minutes=5,
    gigabytes=5.2,
)
_CHAT = replace(
    _WORDS,
    says="problems are put to it in English, through its chat template",
    prompt=countdown.TEMPLATES["chat"],
    max_new_tokens=512,  # a word or a number may take several
    learning_rate=1e-6,  # the authors' for 3B
    micro_batch=8,
    at_once=128,
    minutes=None,
    gigabytes=None,
)
KINDS = {
    "words": _WORDS,
    "chat": _CHAT,
    "base": replace(
        _CHAT,
        says="it has no chat template: problems are put to it in English, as the start of a conversation in plain text",
        prompt=countdown.TEMPLATES["base"],
    ),
    "sums": Kind(
        title="Sums",
        says="it has learned in a quick start to work out sums: sums are put to it",
        draw=sums.draw,
        longest=sums.longest,
        prompt=sums.question,
        label=sums.label,
        reward=named.MATH,
        max_new_tokens=64,  # the longest response of the start has 45
        learning_rate=1e-5,  # at 3e-5 it learns more, but one of two controls lost 0.10 (docs/evidence/smollm2.md)
        prompts=4,
        samples=8,
        micro_batch=8,
        at_once=128,
        evaluated=2,
        steps=30,
        minutes=20,
        gigabytes=10,
    ),
}
"""By the name that a run records."""
