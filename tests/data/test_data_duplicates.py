"""The same problem twice: what is one problem in two wordings, and what is not."""

import random
import re

import pytest

from deltal_openrlhf.data.duplicates import EvalIndex, normalised, without_repeats

LONG = (
    "Let $n$ be a positive integer. Determine the smallest positive integer $k$ such that it is possible to mark $k$ cells on a "
    "$2n \\times 2n$ board so that there is a unique partition of the board into dominoes."
)


@pytest.mark.parametrize(
    "other",
    [
        "Find  $x$ if\n$\\frac{1}{2} x = 3$",
        "find x if \\( \\dfrac12x=3 \\).",
        "Find $x$ if \\[\\left. \\tfrac{1}{2}\\, x = 3\\right. \\]",
        "Find ${x}$ if $\\frac {1} {2}~{x}=3$",
        "Find \uff58 if $\\frac{1}{2} x=3$.",
    ],
)
def test_layout_makes_no_other_problem(other):
    assert normalised(other) == normalised("Find $x$ if $\\frac{1}{2} x = 3$.")


def test_same_up_to_layout():
    texts = [
        "Find $x+y$.",
        "Find  x + y .",
        "find\\ $x+y$",
        "Find $x-y$.",
        "Find $x + 2y$",
        "Find $\\left(x\\right)+y$.",
    ]
    assert without_repeats((text, "1") for text in texts) == [0, 3, 4, 5]


def test_another_answer_makes_another_problem():
    texts = ["Let $A=a$. Find it.", "Let $a=A$. Find it.", "Let $A = a$. Find it."]
    assert without_repeats(zip(texts, ["1", "2", "1"], strict=True)) == [0, 1]
    assert EvalIndex({"set": texts[:1]}).find(texts[1]) == {"set": "same"}  # eval: rather one too many


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute 1.5 + 2", "Compute 15 + 2"),
        ("Compute $5!$", "Compute $5$"),
        ("Find $f'(2)$", "Find $f(2)$"),
        ("Simplify 3:4", "Simplify 34"),
        ("Compute 2*3", "Compute 23"),
        ("Solve $x<2$", "Solve $x>2$"),
        ("Find $a_{1,2}$", "Find $a_{12}$"),
        ("Compute $2^{3}4$", "Compute $2^{34}$"),
        ("Compute $\\log_{2}16$", "Compute $\\log_{21}6$"),
        ("Compute $\\frac{1}{2}3$", "Compute $\\frac{1}{23}$"),
        ("Find the median of 1 2 3 10", "Find the median of 12 3 10"),
        ("Find the median of 1~23", "Find the median of 12~3"),
        ("Draw $a \\leftarrow b$", "Draw $a \\rightarrow b$"),
        ("Is $3$ $4$ odd", "Is $34$ odd"),
    ],
)
def test_signs_make_another_problem(one, other):
    assert without_repeats([(one, "1"), (other, "1")]) == [0, 1]
    assert EvalIndex({"set": [one]}).find(other) == {}


def test_find():
    index = EvalIndex({"one": [LONG, "What is 2+2?"], "two": ["What is $2 + 2$?", "Something else"]})
    assert index.find("what is 2 + 2?") == {"one": "same", "two": "same"}
    assert index.find("What is 2+3?") == {}
    assert index.find(LONG.replace("\\times", "\\cdot").replace("there is", "there exists")) == {"one": "near"}
    assert index.find(LONG + " ") == {"one": "same"}
    assert index.find("Let $n$ be a positive integer. Determine the smallest positive integer $k$ with $k^2>n$.") == {}


def test_the_same_words_are_not_enough_in_a_short_problem():
    """Nine shared sequences of five words, of nine: one less than it takes."""
    thirteen = "a b c d e f g h i j k l m"
    assert EvalIndex({"set": [thirteen]}).find(thirteen + " .") == {"set": "same"}
    assert EvalIndex({"set": [f"{thirteen} + 1"]}).find(f"{thirteen} - 1") == {"set": "near"}  # the 1 is the fourteenth
    assert EvalIndex({"set": [f"{thirteen} +"]}).find(f"{thirteen} -") == {}


def test_against_every_pair_compared_by_hand():
    """Dice of the sets of five words, at least 0.6 and ten shared, over all pairs of random edits of random texts."""
    rng = random.Random(0)
    words = [f"w{chr(97 + i)}" for i in range(26)]

    def edited(text, share):
        return [rng.choice(words) if rng.random() < share else word for word in text]

    originals = [[rng.choice(words) for _ in range(rng.randint(3, 60))] for _ in range(40)]
    train = [edited(text, share) for text in originals for share in (0, 0.02, 0.05, 0.1, 0.3)]

    def sequences(text):
        return {" ".join(text[i : i + 5]) for i in range(len(text) - 4)}

    def near(a, b):
        a, b = sequences(a), sequences(b)
        return len(a & b) >= 10 and 2 * len(a & b) / (len(a) + len(b)) >= 0.6

    index = EvalIndex({str(i): [" ".join(text)] for i, text in enumerate(originals)})
    counts = {"near": 0, "same": 0, "other": 0}
    for text in train:
        expected = {}
        for i, original in enumerate(originals):
            if re.sub(" ", "", " ".join(original)) == re.sub(" ", "", " ".join(text)):
                expected[str(i)] = "same"
            elif near(original, text):
                expected[str(i)] = "near"
        assert index.find(" ".join(text)) == expected
        counts[next(iter(expected.values()), "other")] += 1
    assert min(counts.values()) > 20, counts
