"""The quick start's task: countdown with three numbers from 1 to 7, in words with a space between them.

    prompt    3 4 5 make [35] :
    response  5 * 3 = 15 - 4 = 11 NO 3 + 4 = 7 * 5 = 35 <answer> ( 3 + 4 ) * 5 </answer>

A response is a series of attempts, each the tape of a calculator: two numbers are combined, then their result with the third. After a
miss comes NO and another attempt or the end of the response (it gave up). A hit is written as one expression into <answer>, where
rewards/countdown.py checks it like the answer of any other model. So lengths differ by a factor of 20, and a policy can gain
both by searching longer and by searching better. All values are integers from 0 to 42 and divisions are exact, so one word is one value.
"""

import functools
import itertools
import operator
import random
from typing import NamedTuple

from deltal_openrlhf.data.countdown import Problem, split_of

NUMBERS = range(1, 8)
LARGEST = 42
MAX_ATTEMPTS = 24
GIVE_UP = 0.2
"""Chance that a trace ends after a miss: short traces, so that persistence is something reinforcement learning can find."""

HINT = 0.15
"""Chance that an attempt of a trace is a known hit. Random attempts alone hit so rarely that a hit's verdict is learned late."""

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
WORDS = [
    *(str(value) for value in range(LARGEST + 1)),
    # The target has words of its own: a model this small otherwise takes it for one of the numbers.
    *(f"[{value}]" for value in range(1, LARGEST + 1)),
    *OPERATIONS,
    *("=", "(", ")", "make", ":", "NO", "<answer>", "</answer>"),
]

WORDS_A_PROMPT = 6
MAX_NEW_TOKENS = 256
"""Longest response in training and evaluation. The longest trace has 249 words: 23 misses of 10, a hit of 9, its answer of 9, the end."""


HELD_OUT = 256
"""Problems on which a model is measured."""

SUPERVISED_STEPS = 1200


class Attempt(NamedTuple):
    tape: str  # 3 + 4 = 7 * 5 = 35
    expression: str  # ( 3 + 4 ) * 5
    value: int


def apply(name: str, a: int, b: int) -> int | None:
    """a name b, None unless it is an integer from 0 to LARGEST."""
    if name == "/" and (b == 0 or a % b):
        return None
    value = OPERATIONS[name](a, b)
    return value if 0 <= value <= LARGEST else None


@functools.cache
def attempts(numbers: tuple[int, ...]) -> dict[int, list[Attempt]]:
    """Every attempt whose values are allowed, by its value. numbers: sorted."""
    found: dict[int, list[Attempt]] = {}
    for (a, b, c), first, second in itertools.product(itertools.permutations(numbers), OPERATIONS, OPERATIONS):
        between = apply(first, a, b)
        value = None if between is None else apply(second, between, c)
        if value is not None:
            tape = f"{a} {first} {b} = {between} {second} {c} = {value}"
            found.setdefault(value, []).append(Attempt(tape, f"( {a} {first} {b} ) {second} {c}", value))
    return found


def draw(rng: random.Random, split: str) -> Problem:
    """Three random numbers and a random reachable target, from the given split of data/countdown.py."""
    while True:
        numbers = tuple(rng.choices(NUMBERS, k=3))
        targets = sorted(attempts(tuple(sorted(numbers))).keys() - {0})
        problem = Problem(numbers, rng.choice(targets))
        if split_of(*problem) == split:
            return problem


def held_out(n: int) -> list[Problem]:
    """n different test problems, the same ones in every run."""
    rng = random.Random(0)
    problems: dict[Problem, None] = {}
    while len(problems) < n:
        problems[draw(rng, "test")] = None
    return list(problems)


def same_problem(problem: Problem) -> tuple:
    """Equal for problems that differ in the order of their numbers only."""
    return (tuple(sorted(problem.numbers)), problem.target)


def prompt(numbers: tuple[int, ...], target: int) -> str:
    return f"{' '.join(map(str, numbers))} make [{target}] :"


def trace(problem: Problem, rng: random.Random) -> str:
    """A response whose attempts are random, or known hits with chance HINT; gives up after a miss with chance GIVE_UP."""
    known = attempts(tuple(sorted(problem.numbers)))
    anything = list(itertools.chain.from_iterable(known.values()))
    words = []
    for _ in range(MAX_ATTEMPTS):
        tried = rng.choice(known[problem.target] if rng.random() < HINT else anything)
        if tried.value == problem.target:
            return " ".join([*words, tried.tape, "<answer>", tried.expression, "</answer>"])
        words += [tried.tape, "NO"]
        if rng.random() < GIVE_UP:
            break
    return " ".join(words)
