"""The task: countdown with few and small numbers, in words with a space between them. Its two sizes are in sizes.py.

    prompt    3 4 5 make [35] :
    response  5 * 3 = 15 - 4 = 11 NO 3 + 4 = 7 * 5 = 35 <answer> ( 3 + 4 ) * 5 </answer>

A response is a series of attempts, each the tape of a calculator: two numbers are combined, then their result with the next, to the last,
so an attempt of four numbers is ( ( a o b ) o c ) o d; targets are those that such tapes reach. After a miss comes NO and another attempt
or the end of the response (it gave up). A hit is written as one expression into <answer>, where rewards/countdown.py checks it
like the answer of any other model. So lengths differ by a factor of 20 and more, and a policy can gain both by searching longer and by
searching better. All values are integers from 0 to `largest` and divisions are exact, so one word is one value.
"""

import functools
import itertools
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from deltal_openrlhf.data.countdown import Problem, split_of

HELD_OUT = 256
"""Problems on which a model is measured."""

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}


class Attempt(NamedTuple):
    tape: str  # 3 + 4 = 7 * 5 = 35
    expression: str  # ( 3 + 4 ) * 5
    value: int


@dataclass(frozen=True)
class Task:
    """A size of the task and how its traces, from which a start learns, search. A token is a word."""

    least: int
    """Numbers in a problem; each one more, up to `most`, is there with chance one half."""
    most: int
    highest: int
    """Numbers are 1 to highest."""
    largest: int
    """Values are 0 to largest, targets 1 to largest."""
    max_attempts: int
    """How many attempts a trace holds at most."""
    give_up: float
    """Chance that a trace ends after a miss: short traces, so that persistence is something reinforcement learning can find."""
    hint: float
    """Chance that an attempt of a trace is a known hit. Random attempts alone hit so rarely that a hit's verdict is learned late."""
    max_new_tokens: int
    """Longest response in training and evaluation, its end token included. The longest trace fits."""

    @property
    def words(self) -> list[str]:
        """The vocabulary."""
        return [
            *(str(value) for value in range(self.largest + 1)),
            # The target has words of its own: a small model otherwise takes it for one of the numbers.
            *(f"[{value}]" for value in range(1, self.largest + 1)),
            *OPERATIONS,
            *("=", "(", ")", "make", ":", "NO", "<answer>", "</answer>"),
        ]

    @property
    def longest_prompt(self) -> int:
        """Tokens of a prompt with `most` numbers."""
        return self.most + 3

    def draw(self, rng: random.Random, split: str) -> Problem:
        """Random numbers and a random reachable target, from the given split of data/countdown.py."""
        while True:
            # Without a choice of how many, no random number is drawn for it.
            k = self.least + sum(rng.random() < 0.5 for _ in range(self.most - self.least))
            numbers = tuple(rng.choices(range(1, self.highest + 1), k=k))
            targets = sorted(self.attempts(numbers).keys() - {0})
            problem = Problem(numbers, rng.choice(targets))
            if split_of(*problem) == split:
                return problem

    def attempts(self, numbers: tuple[int, ...]) -> dict[int, list[Attempt]]:
        """Every attempt whose values are allowed, by its value."""
        return _attempts(tuple(sorted(numbers)), self.largest)

    def trace(self, problem: Problem, rng: random.Random) -> str:
        """A response whose attempts are random, or known hits with chance `hint`; gives up after a miss with chance `give_up`."""
        known = self.attempts(problem.numbers)
        anything = list(itertools.chain.from_iterable(known.values()))
        words: list[str] = []
        for _ in range(self.max_attempts):
            tried = rng.choice(known[problem.target] if rng.random() < self.hint else anything)
            if tried.value == problem.target:
                return " ".join([*words, tried.tape, "<answer>", tried.expression, "</answer>"])
            words += [tried.tape, "NO"]
            if rng.random() < self.give_up:
                break
        return " ".join(words)


def held_out(draw: Callable[[random.Random, str], Problem], n: int) -> list[Problem]:
    """n different test problems of a task, the same ones in every run. draw: a random problem of a split."""
    rng = random.Random(0)
    problems: dict[Problem, None] = {}
    while len(problems) < n:
        problems[draw(rng, "test")] = None
    return list(problems)


def prompt(numbers: tuple[int, ...], target: int) -> str:
    return f"{' '.join(map(str, numbers))} make [{target}] :"


@functools.cache
def _attempts(numbers: tuple[int, ...], largest: int) -> dict[int, list[Attempt]]:
    found: dict[int, list[Attempt]] = {}
    names = itertools.product(OPERATIONS, repeat=len(numbers) - 1)
    for order, operations in itertools.product(itertools.permutations(numbers), names):
        attempt = _attempt(order, operations, largest)
        if attempt is not None:
            found.setdefault(attempt.value, []).append(attempt)
    return found


def _attempt(order: tuple[int, ...], operations: tuple[str, ...], largest: int) -> Attempt | None:
    """The numbers combined from left to right, None unless all values are integers from 0 to largest."""
    value = order[0]
    tape = expression = str(value)
    for i, (name, number) in enumerate(zip(operations, order[1:], strict=True)):
        if name == "/" and value % number:
            return None
        value = OPERATIONS[name](value, number)
        if not 0 <= value <= largest:
            return None
        tape += f" {name} {number} = {value}"
        expression = f"{expression if i == 0 else f'( {expression} )'} {name} {number}"
    return Attempt(tape, expression, value)
