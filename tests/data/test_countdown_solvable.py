"""Countdown problems without a solution: found exactly, refused or left out."""

import random
from fractions import Fraction
from itertools import permutations

import pytest

from deltal_openrlhf.data.countdown import Problem, choose, generate, load
from deltal_openrlhf.data.solvable import is_solvable
from deltal_openrlhf.runs.files import write_atomically


def found_by_trying(numbers: list[Fraction], target: int) -> bool:
    """Every order of every operation."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, j in permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
        if any(found_by_trying([*rest, value], target) for value in (a + b, a - b, a * b, *([a / b] if b else []))):
            return True
    return False


def test_against_a_search_without_shortcuts():
    rng = random.Random(0)
    verdicts = []
    for _ in range(80):
        numbers = [rng.choice([0, 1, 1, 2, 3, 5, rng.randint(1, 30)]) for _ in range(rng.choice([1, 2, 3, 4, 4]))]
        target = rng.choice([0, 1, rng.randint(0, 30), 99])
        verdicts.append(is_solvable(numbers, target))
        assert verdicts[-1] == found_by_trying(list(map(Fraction, numbers)), target), (numbers, target)
    assert 10 < sum(verdicts) < 70


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_problems_that_were_made_from_an_expression(size):
    assert all(is_solvable(*problem) for problem in generate(10, num_numbers=(size, size), seed=size))


@pytest.mark.parametrize(
    ("numbers", "target", "solvable"),
    [
        ((3, 3, 8, 8), 24, True),  # 8 / (3 - 8 / 3)
        ((1, 1, 1, 1, 1, 1), 10, False),
        ((1, 1, 1, 1, 1, 1), 9, True),
        ((0, 0, 0, 0, 0), 1, False),
        ((5, 5, 7, 11, 13), 0, True),  # 0 times whatever the others make
    ],
)
def test_known_problems(numbers, target, solvable):
    assert is_solvable(numbers, target) == solvable


def test_more_numbers_than_the_search_takes():
    with pytest.raises(ValueError, match="a problem has 7 numbers, allowed are up to 6"):
        is_solvable(range(7), 1)


GOOD = [Problem((1, 2, number), 3 + number) for number in range(4, 30)]
BAD = Problem((2, 2, 2), 99)


def test_a_problem_without_solution_is_refused_or_replaced():
    with pytest.raises(ValueError, match="99 cannot be made of 2, 2, 2; --skip_bad leaves such rows out"):
        choose([*GOOD, BAD], len(GOOD) + 1, random.Random(0))
    skipped = []
    chosen = choose([*GOOD, BAD] * 2, len(GOOD) + 10, random.Random(0), skipped)
    assert len(chosen) == len(GOOD) + 10 and BAD not in chosen and set(skipped) <= {BAD}
    with pytest.raises(ValueError, match="3 problems wanted, 1 have a solution"):
        choose([BAD, GOOD[0], BAD], 3, random.Random(0), [])


def test_without_bad_ones_the_choice_is_the_sample_of_the_seed():
    assert choose(GOOD, 7, random.Random(5)) == random.Random(5).sample(GOOD, 7)


def test_rows_that_are_no_problem_are_left_out(tmp_path):
    path = tmp_path / "x.jsonl"
    write_atomically(path, '{"nums": [1, 2], "target": 3}\n{"nums": "1, 2", "target": 3}\n')
    skipped = []
    problems = load(str(path), skipped)
    assert [*problems["train"], *problems["test"]] == [Problem((1, 2), 3)]
    assert [(bad.number, bad.why[:27]) for bad in skipped] == [(2, "nums must be a list of int ")]
    with pytest.raises(ValueError, match="row 2: nums must be a list .*--skip_bad leaves such rows out"):
        load(str(path))
