"""The task of the quick start with SmolLM2: sums of two to five numbers.

    question  6 + 4 - 9 + 5 =
    at once   #### 6
    in steps  6 + 4 = 10
              10 - 9 = 1
              1 + 5 = 6
              #### 6

A line of steps adds one number to what the line before has found. The supervised start learns from both kinds of response, half of each. In
steps a sum is right more often, and takes up to ten times as many tokens: that is what reinforcement learning can find. Lengths differ by a
factor of 4 and more, from the 5th percentile to the 95th. rewards/math_reward.py grades what stands after ####.

A sum is a Problem of data/countdown.py: its numbers with their signs, and their total as the target.
"""

import random
from collections.abc import Sequence

from deltal_openrlhf.data.countdown import Problem, split_of
from deltal_openrlhf.data.templates import Messages

LEAST, MOST = 2, 5
"""Numbers in a sum."""
HIGHEST = 9
"""Numbers are 1 to this."""
AT_ONCE = 0.5
"""Share of the responses that give the answer without steps, among those from which a start learns."""
SUPERVISED_STEPS = 64
"""Of the supervised start, on 16 responses each."""


def draw(rng: random.Random, split: str) -> Problem:
    """A random sum from the given split of data/countdown.py."""
    while True:
        numbers = [rng.randint(1, HIGHEST) for _ in range(rng.randint(LEAST, MOST))]
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


def response(problem: Problem, rng: random.Random) -> str:
    """A right response, of a random kind."""
    return f"#### {problem.target}" if rng.random() < AT_ONCE else in_steps(problem)


def in_steps(problem: Problem) -> str:
    total, lines = problem.numbers[0], []
    for number in problem.numbers[1:]:
        lines.append(f"{total}{_signed(number)} = {total + number}")
        total += number
    return "\n".join([*lines, f"#### {total}"])


def _signed(number: int) -> str:
    return f" {'-' if number < 0 else '+'} {abs(number)}"
