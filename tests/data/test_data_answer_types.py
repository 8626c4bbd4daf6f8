"""Kinds of answers, over real forms of each kind."""

import pytest

from deltal_openrlhf.data.answer_types import TYPES, answer_type
from deltal_openrlhf.data.report import answer_table, length_table

EXAMPLES = {
    "integer": ["42", "-4", "+2", " 500,000 ", "\\$36", "$1003$", "90^\\circ", "70^{\\circ}", "\\$32,\\!348", "995\\text{ dollars}"],
    "decimal": ["3.21", ".0000672", "62.5%", "$18.8^{\\circ}$", "9.6", "8.7 \\times 10^{8}", "4.5e33", "1 \\times 10^{-3}"],
    "fraction": ["\\frac{14}{3}", "-\\frac{35}{9}", "\\frac43", "\\dfrac{17}{50}", "$1/3$", "-3/2", "1\\frac{4}{5}", "$\\frac{-1}{1997}$"],
    "tuple/interval/set": [
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        "3, 5, 7",
        "(3,4]",
        "(-\\infty, 2) \\cup (3, \\infty)",
        "\\{-3, 0, 2, 6\\}",
        "1 \\pm \\sqrt{19}",
        "$f(x)=x$,$f(x)=2-x$",
        "\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}",
    ],
    "expression": ["p - q", "3\\sqrt{13}", "\\frac{\\pi}{4}", "2^{n-1}", "n", "\\cot x", "8!", "\\min(BW, 2WR)", "15 \\, \\text{cm}^2 + x"],
    "equation": ["n = 4", "$k \\geqslant 2$", "x \\in [-2,7]", "5x - 7y + 11z + 4 = 0", "$f(x)=\\frac{1}{x}$", "n \\ge 381"],
    "multiple choice": ["(C)", "\\text{(E)}", "B", "\\textbf{(A)}"],
    "text": ["\\text{Evelyn}", "\\text{No}", "east", "all positive integers", "$f(x)=ax+b$ where $b$ is an arbitrary integer"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "gold"), [(kind, gold) for kind, golds in EXAMPLES.items() for gold in golds])
def test_answer_type(kind, gold):
    assert answer_type(gold) == kind


def test_every_kind_is_tried():
    assert set(EXAMPLES) == set(TYPES)


@pytest.mark.parametrize(
    "gold", ["", "(", "}{", "\\", "," * 50_000, "(" * 50_000, "1" * 50_000, "{" * 50_000 + ",", "a " * 50_000]
)
def test_strange_text_has_a_kind_too(gold):
    assert answer_type(gold) in TYPES


def test_tables():
    """Counted by hand; the bounds belong to the bucket below."""
    lines = length_table({"a.jsonl": [1, 64, 65, 1024, 1025], "b": [100]}, "tokens")
    assert [line.split() for line in lines] == [
        "prompts by tokens <= 64 <= 128 <= 256 <= 512 <= 1024 more median longest".split(),
        "a.jsonl 2 1 0 0 1 1 65 1,025".split(),
        "b 0 1 0 0 0 0 100 100".split(),
    ]
    assert len(set(map(len, lines))) == 1
    header, row = answer_table({"a": ["1", '["1/2", "0.5"]', "n", "n=1", "(1,2)", "1.5", "B", "\\text{No}", "2"]})
    assert row.split() == ["a", "2", "1", "1", "1", "1", "1", "1", "1", "1"]
