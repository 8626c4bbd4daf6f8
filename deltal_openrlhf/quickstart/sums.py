"""The task of the quick start with SmolLM2: sums of two to five numbers, worked out in steps.

    question  26 + 4 - 30 + 5 =
    response  26 + 4 = 30
              30 - 30 = 0
              0 + 5 = 5
              #### 5

Each line adds one number to what the line before has found. A longer sum takes a longer response and is missed more often, so lengths
differ by a factor of 4, from the 5th percentile to the 95th. rewards/math_reward.py grades what stands after ####.

A sum is a Problem of data/countdown.py: its numbers with their signs, and their total as the target.
"""

import random
from collections.abc import Sequence

from deltal_openrlhf.data.countdown import Problem, split_of
from deltal_openrlhf.data.templates import Messages

LEAST, MOST = 2, 5
"""Numbers in a sum."""
HIGHEST = 99
"""Half of the numbers are 1 to 9, the others 1 to this."""
SUPERVISED_STEPS = 48
"""Of the supervised start, on 16 solutions each."""


def draw(rng: random.Random, split: str) -> Problem:
    """A random sum from the given split of data/countdown.py."""
    while True:
        numbers = [rng.randint(1, rng.choice((9, HIGHEST))) for _ in range(rng.randint(LEAST, MOST))]
        signed = (numbers[0], *(rng.choice((1, -1)) * number for number in numbers[1:]))
        if split_of(signed, sum(signed)) == split:
            return Problem(signed, sum(signed))


def longest() -> list[Problem]:
    """Problems whose questions have the most tokens."""
    every = [(HIGHEST, *[sign * HIGHEST] * (MOST - 1)) for sign in (1, -1)]
    return [Problem(numbers, sum(numbers)) for numbers in every]


def question(numbers: Sequence[int], target: int) -> Messages:
    """For a chat template. The system's message is short: SmolLM2's own would be a third of all tokens."""
    asked = f"{numbers[0]}{''.join(map(_signed, numbers[1:]))} ="
    return [{"role": "system", "content": "Work out the sum."}, {"role": "user", "content": asked}]


def label(numbers: Sequence[int], target: int) -> str:
    return str(target)


def solution(problem: Problem) -> str:
    """The response from which a start learns."""
    total, lines = problem.numbers[0], []
    for number in problem.numbers[1:]:
        lines.append(f"{total}{_signed(number)} = {total + number}")
        total += number
    return "\n".join([*lines, f"#### {total}"])


def _signed(number: int) -> str:
    return f" {'-' if number < 0 else '+'} {abs(number)}"
