"""Which part of a response is its answer."""

import time

import pytest

from deltal_openrlhf.grading.reading.extract import balanced, extract_answer


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


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        # A heading is no answer.
        ("\\boxed{7}\n\n#### Explanation\nIt fits.", "7"),
        ("\\boxed{7}\n\n#### 2. Check the sum", "7"),
        ("\\boxed{7}\n\n#### Check for n = 3\n9", "7"),
        ("\\boxed{7}\n\n#### 3 ways to see this\n", "7"),
        ("<answer>7</answer>\n\n#### Answer verification\nok", "7"),
        ("#### 7\n\n#### Explanation\nIt fits.", "7"),
        ("#### Introduction\nLet us begin.", None),
        ("##### 5", None),
        # A value is one, also behind a box.
        ("\\boxed{7}\n#### 8", "8"),
        ("\\boxed{7}\n#### **8**", "8"),
        ("\\boxed{7}\n#### Final Answer: 8", "8"),
        ("\\boxed{7}\n#### n = 8", "n = 8"),
        ("so\n#### Maria", "Maria"),
        ("so\n#### **Answer:** 8", "8"),
        ("so\n#### The answer is **8**.", "8."),
        ("so\n#### 8, which is the largest.", "8"),
        ("so\n#### 8 and this agrees with the table, not 9.", "8"),
        ("so\n#### 8, so the answer is 9", "8, so the answer is 9"),
        ("so\n#### 8 is not the answer", "8 is not the answer"),
        ("so\n#### 8 and 9", "8 and 9"),
        # Empty boxes and tags.
        (r"\boxed{7} in \boxed{}", "7"),
        (r"\boxed{7} in \boxed{\text{ }}", "7"),
        (r"\boxed{7} in \boxed{...}", "7"),
        (r"\boxed{7} in \boxed{\ }", "7"),
        (r"\boxed{7} in \boxed{\phantom{0}}", "7"),
        (r"\boxed{7} in \boxed{\text{your answer}}", "7"),
        ("<answer>7</answer> in <answer></answer>", "7"),
        (r"\boxed{7}, as <answer>\boxed{}</answer>", "7"),
        # A list, and a correction.
        (r"$\boxed{2}$ and $\boxed{-9}$", "2, -9"),
        (r"\(\boxed{2}\), \(\boxed{4}\), and \(\boxed{6}\)", "2, 4, 6"),
        (r"$x_1=\boxed{2}$ or $x_2=\boxed{4}$", "2, 4"),
        (r"\boxed{1}. No: \boxed{2}, \boxed{4}", "2, 4"),
        (r"\boxed{2}, \boxed{2}", "2"),
        (r"\boxed{2}, no, \boxed{4}", "4"),
        ("\\boxed{2}\n\n\\boxed{4}", "4"),
        (r"\boxed{2}, so the answer is \boxed{4}", "4"),
        # Tags.
        ("<Answer>7</ANSWER>", "7"),
        (r"<answer>\boxed{7}\)</answer>", "7"),
        # Thoughts that did not end, and other turns.
        (r"<think>\boxed{7}", None),
        ("<think>so\n#### 7", None),
        (r"<think>\boxed{7}<think>", None),
        (r"<think>so</think>\boxed{7}", "7"),
        (r"<think>\boxed{7}</think>", "7"),
        (r"\boxed{3} <think> \boxed{7}", "3"),
        ("\\boxed{7}<|im_end|>\n<|im_start|>user\n\\boxed{8}", "7"),
        (r"no<|eot_id|>\boxed{8}", None),
        (r"\boxed{7}</s>\boxed{8}", "7"),
        (r"thought<|end|><|start|>assistant<|channel|>final<|message|>\boxed{7}<|return|>", "7"),
    ],
)
def test_what_counts_as_marked(response, answer):
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("6 * 2 = 12\nAnswer: 12", "12"),
        ("Answer: 1\n**Final Answer:** $12$", "$12$"),
        ("**Answer**: 12", "12"),
        ("Answer:\n12\nas above", "12"),
        (r"\boxed{3}, Answer: 4", "3"),
        ("The answers are 12", None),
        ("Answer:", None),
        ("<think>Answer: 12", None),
    ],
)
def test_answer_line_by_request(response, answer):
    assert extract_answer(response, "answer-line") == answer
    assert response[0] == "\\" or extract_answer(response) is None


def test_whole_text_only_by_request():
    assert extract_answer(" 42 ", "whole") == "42"
    assert extract_answer(" 42 ", "none") is None
    assert extract_answer(r"no, \boxed{1}", "whole") == "1"
    assert extract_answer(r"<think>\boxed{1} or", "whole") == "1"
    assert extract_answer("<think>2 or", "whole") == "<think>2 or"
    with pytest.raises(ValueError, match="fallback is 'all', allowed are none, answer-line, whole"):
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
        "#### Heading\n" * 20_000,
        "#### 5 " + " so" * 50_000,
        "<think>" * 20_000,
        r"\boxed{1}, " * 20_000,
        "answer" + " " * 100_000,
        "Answer:" * 20_000,
    ],
)
def test_no_response_takes_long(response):
    start = time.process_time()
    extract_answer(response, "answer-line")
    assert time.process_time() - start < 2


def test_balanced_counts_the_braces_of_latex():
    assert balanced(r"\frac{1}{2}") and balanced(r"\{") and balanced("")
    assert not balanced(r"\frac{1}{") and not balanced("}{") and not balanced(r"\{}")
