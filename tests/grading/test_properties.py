"""What holds of every answer, over the real golds that the tests ship, their edits (gold_edits.py and word_edits.py of scripts) and
generated expressions."""

import json
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.scripts import in_scripts

from deltal_openrlhf.grading.grader import Grader

pytestmark = pytest.mark.timeout(120)
EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)
PAIRS = Path(__file__).parents[1] / "scripts" / "graded_pairs.jsonl"
ROWS = map(json.loads, PAIRS.read_text(encoding="utf-8").splitlines())
GOLDS = list(dict.fromkeys(row["gold"] for row in ROWS if isinstance(row["gold"], str)))
EDITS = """
import random
from gold_edits import CHANGES, REWRITES, nonsense
from word_edits import WORD_CHANGES, dressed
rng = random.Random(0)
result = {
    "changes": [[gold, text] for gold in data for edit in CHANGES for _ in range(3) if (text := edit(gold, rng)) not in (None, gold)],
    "words": [
        [gold, text] for plain in data for gold in (plain, dressed(plain, rng))
        for edit in WORD_CHANGES if (text := edit(gold, rng))
    ],
    "rewrites": [[gold, text] for gold in data for edit in REWRITES if (text := edit(gold, rng)) is not None],
    "nonsense": [[gold, nonsense(gold, rng)] for gold in data for _ in range(5)],
}
"""


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2) as grader:
        yield grader


@pytest.fixture(scope="module")
def edits() -> dict[str, list[tuple[str, str]]]:
    found = in_scripts(EDITS, GOLDS)
    assert {name: len(pairs) > 400 for name, pairs in found.items()} == dict.fromkeys(found, True)
    return {name: list(dict.fromkeys(map(tuple, pairs))) for name, pairs in found.items()}


def test_every_gold_equals_itself_and_its_rewrites(grader, edits):
    pairs = [(gold, gold) for gold in GOLDS] + edits["rewrites"]
    assert [pair for pair, grade in zip(pairs, grader.grade_many(pairs), strict=True) if not grade.equal] == []


def test_no_edit_that_changes_the_value_is_equal(grader, edits):
    pairs = edits["changes"] + edits["words"]
    assert [pair for pair, grade in zip(pairs, grader.grade_many(pairs), strict=True) if grade.equal] == []


def test_equality_is_symmetric_and_the_same_twice(grader, edits):
    rng = random.Random(1)
    pairs = [*edits["changes"], *edits["rewrites"], *edits["nonsense"]]
    pairs = [pair for pair in pairs if pair[1].strip()]  # a blank text is no gold
    pairs += [(rng.choice(GOLDS), rng.choice(GOLDS)) for _ in range(500)]
    there = grader.grade_many(pairs)
    back = grader.grade_many([pair[::-1] for pair in pairs])
    assert [pair for pair, one, other in zip(pairs, there, back, strict=True) if one.equal != other.equal] == []
    with Grader(workers=1) as another:
        again = another.grade_many(pairs)
    assert [pair for pair, one, other in zip(pairs, there, again, strict=True) if one != other] == []


# ── Expressions with a value that is known otherwise ──

NAMES = ("x", "y", "n")
Tree = int | str | tuple
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.one_of(st.integers(1, 9), st.sampled_from(NAMES)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*/"), inner, inner), st.tuples(st.just("^"), inner, st.integers(2, 3))
    ),
    max_leaves=6,
)


def latex(tree: Tree, rng: random.Random | None = None) -> str:
    """With rng: sums and products in another order, quotients in another spelling, products with another sign."""
    if not isinstance(tree, tuple):
        return str(tree)
    operation, left, right = tree
    if operation == "^":
        return (
            f"({latex(left, rng)})^{{{right}}}"
            if rng is None or rng.random() < 0.5
            else rf"\left({latex(left, rng)}\right)^{right}"
        )
    if rng and operation in "+*" and rng.random() < 0.5:
        left, right = right, left
    a, b = latex(left, rng), latex(right, rng)
    if operation == "/":
        return rf"\frac{{{a}}}{{{b}}}" if rng is None or rng.random() < 0.5 else f"({a})/({b})"
    sign = operation if operation != "*" else r"\cdot " if rng is None or rng.random() < 0.5 else r"\times "
    return f"({a}){sign}({b})"


def value(tree: Tree, at: dict[str, Fraction]) -> Fraction:
    if isinstance(tree, int):
        return Fraction(tree)
    if isinstance(tree, str):
        return at[tree]
    operation, left, right = tree
    a = value(left, at)
    if operation == "^":
        return a**right
    b = value(right, at)
    return {"+": a + b, "-": a - b, "*": a * b}[operation] if operation != "/" else a / b


POINTS = [
    dict(zip(NAMES, map(Fraction, numbers), strict=True))
    for numbers in ((2, 3, 5), (7, -4, 11), (-6, 13, 1), (10, 9, 8))
]


def values(tree: Tree) -> list[Fraction | None]:
    found: list[Fraction | None] = []
    for point in POINTS:
        try:
            found.append(value(tree, point))
        except ZeroDivisionError:
            found.append(None)
    return found


@EXAMPLES
@given(tree=TREES, seed=st.integers(0, 2**32))
def test_an_expression_in_another_order_is_equal(grader, tree, seed):
    assume(None not in values(tree))
    assert grader.grade(latex(tree), latex(tree, random.Random(seed))).equal


@EXAMPLES
@given(one=TREES, other=TREES)
def test_expressions_that_differ_anywhere_are_not_equal(grader, one, other):
    differ = any(a is not None and b is not None and a != b for a, b in zip(values(one), values(other), strict=True))
    assume(differ)
    assert not grader.grade(latex(one), latex(other)).equal


@EXAMPLES
@given(tree=TREES, other=st.sampled_from([("+", 1), ("-", 1), ("*", 2), ("/", 3), ("*", "n"), ("+", "x")]))
def test_an_expression_with_something_added_is_not_equal(grader, tree, other):
    changed = (other[0], tree, other[1])
    assume(None not in values(tree) and any(a != b for a, b in zip(values(tree), values(changed), strict=True)))
    assert not grader.grade(latex(tree), latex(changed)).equal


# ── Whatever is written ──

TEXTS = st.text(
    st.sampled_from([*"0123456789xyzabE+-*/^_(){}[]|\\,.;:=<>!%$ '\n\x00", "√", "π", "½", "的", "９", "\ud800"]),
    max_size=60,
)


@EXAMPLES
@given(gold=st.sampled_from(GOLDS), text=TEXTS)
def test_any_text_gets_a_grade_and_soon(grader, gold, text):
    start = time.perf_counter()
    grade = grader.grade(gold, text)
    assert time.perf_counter() - start < grader.deadline + 1
    assert grade.status != "worker_died"
    assert grade == grader.grade(gold, text)
