"""Which part of a response is its answer."""

import time

import pytest

from deltal_openrlhf.grading.extract import balanced, extract_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"first \boxed{4}, no: \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\text{a } b} and then \boxed{cut off \frac{1}{", r"\text{a } b"),
        (r"\boxed{x = \boxed{7}}", r"x = \boxed{7}"),
        (r"\fbox{3}", "3"),
        (r"\boxed 9.", "9"),
        ("<think>\\boxed{1}</think> <answer>12</answer>", "12"),
        ("<answer>1</answer> or rather <answer> \\boxed{2} </answer>", "2"),
        ("<answer>3", None),
        ("a step\n#### 1,234", "1,234"),
        ("#### 5\nand more\n  #### 6 apples", "6 apples"),
        (r"\boxed{8} then #### in the middle of a line", "8"),
        ("<answer>1</answer> and last \\boxed{2}", "2"),
        ("#### 5<|endoftext|>", "5"),
        ("#### 5 <|im_end|>\n<|endoftext|>", "5"),
        ("#### x < 5</s>", "x < 5"),
        (r"\boxed{5} therefore \boxed", "5"),
        (r"\boxed{5}. \boxedx", "5"),
        (r"\boxed{5} in a \box of", "5"),
        ("<answer> #### 5 </answer>", "5"),
        ("so it is #### 5", "5"),
        ("**#### 5**", "5"),
        ("the price: #### $1,200.50", "$1,200.50"),
        ("the answer is 42", None),
        (r"\boxed{}", None),
        ("", None),
    ],
)
def test_last_marked_answer(response, answer):
    assert extract_answer(response) == answer


def test_whole_text_only_by_request():
    assert extract_answer(" 42 ", "whole") == "42"
    assert extract_answer(" 42 ", "none") is None
    assert extract_answer(r"no, \boxed{1}", "whole") == "1"
    with pytest.raises(ValueError, match="fallback is 'all', allowed are none, whole"):
        extract_answer("1", "all")


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{" * 20_000,
        r"\boxed{" + "{" * 100_000,
        "<answer>" * 20_000,
        "#### " * 50_000,
        r"\boxed" * 50_000,
        "}" * 100_000,
    ],
)
def test_no_response_takes_long(response):
    start = time.perf_counter()
    extract_answer(response)
    assert time.perf_counter() - start < 2


def test_balanced_counts_the_braces_of_latex():
    assert balanced(r"\frac{1}{2}") and balanced(r"\{") and balanced("")
    assert not balanced(r"\frac{1}{") and not balanced("}{") and not balanced(r"\{}")
