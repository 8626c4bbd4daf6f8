"""What math-verify alone would call equal, and what it has to."""

import pytest
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
from sympy import srepr

from deltal_openrlhf.grading.reading.normalize import normalize
from deltal_openrlhf.grading.values.symbolic import _FastReader, same_expression

DIFFERENT = [
    (r"\gcd(a,b)", "1"),
    (r"\sum_{k=1}^{3} k!!", "723"),
    (r"f'(x)", "f(x)"),
    ("10^{-30}", "10^{-31}"),
    (r"\int_0^1 x dx", "0.5000001"),
    (r"\int_0^1 x^2 dx", "0.333334"),
    (r"\sum_{k=1}^{2} 10^{-20k}", "10^{-20}"),
    (r"\sum_{k=1}^{1} 10^{-30}", "0"),
    (r"\frac{d}{dx} x^2+10^{-30}", "2x"),
    (r"\frac{1}{10}+\sum_{k=1}^{1} 0", "0.10000000001"),
    (r"V(0) e^{-\frac{t}{L}}", r"V(0) e^{-\frac{u}{L}}"),
]
EQUAL = [
    (r"\int_0^1 x^2 dx", "0.333333"),
    (r"\int_0^1 x dx", "0.5"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    (r"\sum_{k=1}^{40} 2^{-k}", "1-2^{-40}"),
    (r"\lim_{x \rightarrow 0} \frac{\sin x}{x}", "1"),
    (r"\frac{d}{dx} x^3", "3x^2"),
    (r"f'(x)+1", "1+f'(x)"),
    (r"\int_0^x \sin t dt", r"1-\cos x"),
]


@pytest.mark.parametrize(("gold", "pred"), DIFFERENT)
def test_more_digits_show_a_difference(gold, pred):
    assert not same_expression(normalize(gold), normalize(pred))
    assert not same_expression(normalize(pred), normalize(gold))


@pytest.mark.parametrize(("gold", "pred"), EQUAL)
def test_more_digits_agree(gold, pred):
    assert same_expression(normalize(gold), normalize(pred))


@pytest.mark.parametrize(("gold", "pred"), [("1 2 3", "1 3 2"), (r"[4\ 5\ 6]", r"[6\ 5\ 4]"), ("2 3", "6")])
def test_numbers_side_by_side_are_no_product(gold, pred):
    assert not same_expression(normalize(gold), normalize(pred))


@pytest.mark.parametrize("text", dict.fromkeys(normalize(text) for pair in EQUAL + DIFFERENT for text in pair))
def test_the_fast_reader_finds_the_tree_of_the_slow_one(text):
    def tree(reader) -> str | None:
        try:
            return srepr(reader(is_real=True).parse(text))
        except Exception:
            return None

    assert tree(_FastReader) in (None, tree(_Latex2Sympy))


def test_a_bound_of_an_integral_stands_beside_no_number():
    assert same_expression(r"\int_0^1 2 x dx", "1")


@pytest.mark.parametrize(
    ("gold", "pred"),
    [("672", r"67\infty 2"), (r"\infty", "5"), ("x", r"x\infty"), (r"\frac{5}{9}", r"2^\infty \frac{5}{9}")],
)
def test_what_is_infinite_is_no_number_whatever_math_verify_says(gold, pred, monkeypatch):
    """It says so now and then: sympy compares such products at random points."""
    monkeypatch.setattr("deltal_openrlhf.grading.values.symbolic.verify", lambda *_, **__: True)
    assert not same_expression(gold, pred) and not same_expression(pred, gold)


@pytest.mark.parametrize(
    ("gold", "pred"),
    [
        (r"\sum_{k=1}^{\infty} 2^{-k}", "1"),
        (r"\lim_{x \rightarrow \infty} \frac{1}{x}", "0"),
        (r"\int_{-\infty}^{0} e^{x} dx", "1"),
    ],
)
def test_an_infinite_bound_is_no_infinite_value(gold, pred):
    assert same_expression(gold, pred)
