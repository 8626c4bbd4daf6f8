"""The conventions of answers.py, by hand-checked pairs, through the real grader with its workers."""

import pytest

from deltal_openrlhf.grading import comparison, labels
from deltal_openrlhf.grading import grader as grader_module
from deltal_openrlhf.grading.answers import CANNOT_TELL
from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.grading.labels import golds_of, label_of

EQUAL = r"""
1/2 | 0.5
-\frac{1}{2} | \frac{1}{-2}
\frac 34 | \dfrac{3}{4}
\frac12 | \frac{2}{4}
2\frac{1}{2} | 5/2
6\frac{3}{4} | 6 3/4
1,000 | 1000
11,\! 111,\! 111 | 11111111
1\,234 | 1234
\$1,234.50 | 1234.5
.5 | 0.50
-1 | - 1
007 | 7
142.0 | 142
1/3 | 0.3333333
\sqrt{2} | 1.41421356
1e2 | 100
4.5e33 | 4.5 \times 10^{33}
1.04 \times 10^{-3} | 0.00104
10^{-3} | 0.001
2^{10} | 1024
2\cdot 3^5 | 486
121 \times 212 | 25652
\binom{5}{2} | 10
5! | 120
3^{6567340} | 3^{ 6567340 }
2\sqrt{3} | \sqrt{12}
\frac{1}{\sqrt{3}} | \frac{\sqrt3}{3}
2 \sqrt{10} | 2√10
3\sqrt{13} | 3\sqrt13
\frac{1}{2}\sqrt{3} | \frac{\sqrt{3}}{2}
1-12i | -12i+1
e^{i\pi} | -1
\log_2 6 | 1+\log_2 3
\pi/2 | \frac{\pi}{2}
n^2-1 | (n-1)(n+1)
ab | ba
4x^3 | 4*x**3
-(x - 1)^2 e^x + C | C-e^x(x-1)^2
\sin 2x | 2\sin x\cos x
\sin^2 x | (\sin x)^2
\binom{2n}{n} | \frac{(2n)!}{n!^2}
\lfloor n/2 \rfloor + 1 | 1+\left\lfloor \frac{n}{2} \right\rfloor
\frac{\log 2}{\log 2-\log 3} | \frac{\ln 2}{\ln 2-\ln 3}
x=4 | 4
4 | x = 4
x=-5 | -5
f(x)=x+22 | x+22
25 + 2 = 27 | 27
5 | 2+3=5
y=2x+3 | y=3+2x
2x+3y=5 | 4x+6y=10
2x+3y=5 | y = \frac{5-2x}{3}
x = y | y = x
x \ge 2 | 2 \le x
k \geqslant 2 | k\ge2
x > 2 | 2 < x
2x > 6 | 3 < x
-2 \le x < 7 | 7 > x \geq -2
(-\infty,3) | x<3
[-2,7] | -2 \le x \le 7
x \in [-2,7] | [-2,7]
(0, 1] \cup (3, \infty) | (3,\infty) \cup (0,1]
1, 2 | 2 and 1
\{1,2,3\} | \{3,2,1\}
\{1,2\} | 2, 1
x = 1, 2 | {1,2}
x=1 \text{ or } x=2 | 1, 2
1 \pm \sqrt{2} | 1+\sqrt2, 1-\sqrt{2}
$8$,$4$ | 4, 8
(3, \pi/2) | \left( 3, \frac{\pi}{2} \right)
1, 2 | (1, 2)
(0,1,1),(0,-1,-1) | (0,-1,-1), (0,1,1)
\begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix} 1 \\ \frac{4}{2} \end{bmatrix}
1:2 | 1/2
12 cm | 12
12\text{ cm} | 12 centimeters
12\pi\text{ cm}^2 | 12\pi
12 | 12\text{ m}
90^\circ | 90 degrees
15000 \text{ kcal m}^{-2} \text{yr}^{-1} | 15000
995\text{ dollars} | \$995
50\% | 0.5
50\% | 50
4210_{5} | 4210_5
4343_6 | 4343
\text{ellipse} | Ellipse
\text{Yes} | yes.
(D) | D
A | (a)
\text{(C)} | $\boxed{\text{(C)}}$
(D) \ 1 | D
(D) \ 1 | 1
(C) | \text{Option C}
\sin x | sin x
\mathbb{R} | \mathbb R
0.\overline{3} | \frac{1}{3}
0.1\overline{6} | 1/6
\sqrt{2} | \sqrt{2}\approx 1.414
1.41 | x \approx 1.41
(x,y)=(3,4) | (3,4)
(3,4) | (x, y) = (3, 4)
\frac{2\pm\sqrt2}{2} | \frac{2+\sqrt2}{2}, \frac{2-\sqrt2}{2}
-\frac12\pm\frac{\sqrt3}{2}i | \frac{-1\pm i\sqrt3}{2}
\begin{pmatrix}1\\2\end{pmatrix} | \left(\begin{array}{c}1\\2\end{array}\right)
x \ge 2 | x >= 2
x \ne 2 | x != 2
y=2x | x=\frac{y}{2}
(-\infty,-1)\cup(1,\infty) | x<-1 \text{ or } x>1
1234, 5 | 1,234, 5
\textbf{(A)}\ 5 | A
\textbf{(A)}\ 5 | 5
12 | 3(4)
12 | (3)(4)
x^5 | x⁵
10^{-3} | 10⁻³
x_1 | x₁
\frac{1}{2} | 1⁄2
\frac{1}{3} | \frac{1}{3} (\approx 0.333)
5 | x=5 (\approx 5.0)
2.5 | 2 1/2 hours
x=2 1/2 | 5/2
(2.5, 3) | (2 1/2, 3)
5 | m+n = 5
5 | 2+3=5
30 | \angle ABC = 30^\circ
\frac{2}{3} | \frac{m}{n} = \frac{2}{3}
5 | |AB| = 5
a = 332, b = 7 | 332, 7
12 | 12 months
12 | 12 square feet
|x-5| | |5-x|
\sqrt{(x-5)^2} | |x-5|
3 | \log_2 8
\emptyset | \varnothing
\infty | infinity
004 | \text{004}
$\boxed{k = 2n}$ | 2n
"""
DIFFERENT = r"""
1/3 | 0.33
\pi | 3.14
3.141593 | 3.141592
\sqrt{2} | 1.414
1/2 | 2
1,000 | 1
2\sqrt{3} | 3\sqrt{2}
\frac{x}{y} | \frac{y}{x}
a | b
2x | 2y
n^2-1 | (n-1)(n+2)
3^{6567340} | 3^{6567341}
3^{6567340} | 12
3! | 3
\lfloor n / 2\rfloor | \lfloor n / 9\rfloor
\lfloor\frac{2 n-1}{5}\rfloor | \lfloor\frac{2 n-1}{7}\rfloor
x = 4 | y = 4
2x+y=3 | 3
2x+3y=5 | 2x+3y=6
25 + 2 = 27 | 25 + 9 = 27
f(0) + f(1) = 1 | f(0) + f(2) = 1
f(8) > 2022 f(0) | f(8) > 2042 f(0)
|f_n - g_n| = 1 | |f_n - g_n| = 6
x \ge 2 | x \le 2
x \ge 2 | x > 2
x > 2 | y > 2
2x > 6 | -2x > -6
n \geq 3 | 3
(-\infty,3) | x \le 3
(1,2] | (1,2)
[1,2] | 1, 2
(1,2) | 2,1
(1,2) | (2,1)
1, 2 | 1, 2, 3
1, 2 | 1, 1
\{1,2\} | \{1,3\}
1 \pm \sqrt{2} | 1+\sqrt{2}
\begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix}1&2\end{pmatrix}
12 cm | 12 m
12 \text{ cm}^2 | 12 \text{ cm}
3 | 3 million
50\% | 5
4210_5 | 4210_6
2:4 | 1:2
6:21 | 21:6
\text{east} | west
\text{Yes} | True
\text{No} | parabola
3^n | None
A | B
(C) | (C), (D)
A | A or B
|x-5| | 5-x
|2x-7| | 7-2x
\sqrt{x^2-6x+9} | 3-x
\frac{|x-4|}{x-4} | -1
|a-10|+|a-20| | 30-2a
\sqrt{x+10} | \sqrt{|x+10|}
\lfloor x+1/1000\rfloor | \lfloor x\rfloor
5 | 6=5
7 | 2+4=7
5 | x=3=5
5 | 2x=5
4 | x^2=4
10 | \frac{x}{2}=10
5 | -x=5
3 | 3 minus one
3 | 3 over four
3 | 3 squared
3 | 3 fourths
3 | 3 \text{ halves}
3 | 3 theta
3 | 3 \text{ 5}
12 | 12 point five
12 | 1 2
110 | 1 1 0
5 1/2 cm | 51/2 cm
(2 1/2, 3) | (21/2, 3)
x=2 1/2 | x=21/2
A | A. B. C
A | A: B
\text{(A) and (B)} | A
a=1, b=2 | 2,1
\text{ABC} | \text{BAC}
\begin{vmatrix}1&2\\3&4\end{vmatrix} | \begin{pmatrix}1&2\\3&4\end{pmatrix}
3\ldots | 3
\sqrt{10^{20}+1} | 10^{10}
0.\overline{3} | 0.3
\sqrt{2} | 1.414 \approx \sqrt{2}
(D) \ 1 | (C)
(D) \ 1 | (D) \ 5
90^\circ | \frac{\pi}{2}
\infty | -\infty
1 | \frac{1}
1 | 1 2
"""


def pairs(table: str) -> list[tuple[str, str]]:
    return [tuple(line.rsplit(" | ", 1)) for line in table.strip().splitlines()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as grader:
        yield grader


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(grader, gold, pred):
    assert grader.grade(gold, pred).equal


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(grader, gold, pred):
    grade = grader.grade(gold, pred)
    assert not grade.equal
    assert grade.status in ("different", "unparsable")


def test_one_of_several_golds(grader):
    assert grader.grade(["1.04", r"\frac{26}{25}"], "1.04").equal
    assert grader.grade(["3", r"2 \sin x \cos x"], r"\sin 2x").equal
    assert not grader.grade(["1", "2"], "3").equal


@pytest.mark.parametrize("golds", [("1",), ("1", "2"), ("[1, 2]",), (r"\frac{1}{2}", "é")])
def test_labels_hold_one_or_several_golds(golds):
    assert golds_of(label_of(golds)) == golds


@pytest.mark.parametrize("label", ["", "  ", '["1", 2]', '["1"', '[""]', None, 3])
def test_broken_labels_are_refused(label):
    with pytest.raises(ValueError, match="a math label"):
        golds_of(label)


@pytest.mark.parametrize("error", CANNOT_TELL)
def test_no_error_of_a_comparison_reaches_the_caller(monkeypatch, error):
    def fails(*_):
        raise error

    for module in (grader_module, labels, comparison):
        monkeypatch.setattr(module, "same_answer", fails)
    with Grader(workers=1) as own:
        assert own.grade("7", r"\frac{8") == Grade(False, "unparsable")  # no worker reads what is cut off
    assert comparison.grade(["7"], "8") == "unparsable"
    labels.check_golds(["7"])
