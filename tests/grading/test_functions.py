r"""Functions by cases, general solutions, families, vectors, lines and planes: pairs by hand, decided without a worker."""

import pytest
from support.answer_pairs import both_ways, pairs, seconds_against

_SIGNS = {"<<": r"\begin{cases}", ">>": r"\end{cases}", "[[": r"\begin{pmatrix}", "]]": r"\end{pmatrix}"}

EQUAL = r"""
# cases
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | 3|x|
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << -3x & x < 0 \\ 3x & x \ge 0 >>
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << 3x & \text{if } x > 0 \\ -3x & \text{if } x \le 0 >>
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << 3x & \text{for } x \ge 0 \\ -3x & \text{otherwise} >>
<< x-4, & x \ge 4 \\ 4-x, & x < 4 >> | |x-4|
<< x-4, & x \ge 4 \\ 4-x, & x < 4 >> | |4-x|
<< -2x, & x < -3 \\ 6, & -3 \le x \le 3 \\ 2x, & x > 3 >> | |x-3| + |x+3|
f(x) = << 2x, & x > 0 \\ 0, & x \le 0 >> | f(x) = x + |x|
f(x) = << x^3, & x < 1 \\ 2-x, & x \ge 1 >> | f(t) = << 2-t, & t \ge 1 \\ t^3, & t < 1 >>
f(x) = << x^3, & x < 1 \\ 2-x, & x \ge 1 >> | f(x) = << 2-x, & x > 1 \\ x^3, & x \le 1 >>
<< \frac12, & 0 < x < 2 \\ 0, & \text{otherwise} >> | << 0, & x \le 0 \\ \frac12, & 0 < x < 2 \\ 0, & x \ge 2 >>
<< \frac12, & 0 < x < 2 \\ 0, & \text{elsewhere} >> | << 0.5, & x \in (0,2) \\ 0, & \text{otherwise} >>
<< 5, & x = 0 \\ x, & x \ne 0 >> | << x, & x \ne 0 \\ 5, & x = 0 >>
<< 2 & n \text{ even} \\ 5 & n \text{ odd} >> | << 5 & \text{if } n \text{ is odd} \\ 2 & \text{if } n \text{ is even} >>
<< 2, & n \text{ is even} \\ 5, & n \text{ is odd} >> | << 5, & \text{if $n$ is odd} \\ 2, & \text{if $n$ is even} >>
# general solutions
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{-x} + Be^{3x}
y = C_1e^{3x} + C_2e^{-x} | y = c_1e^{-x} + c_2e^{3x}
y = C_1e^{3x} + C_2e^{-x} | y = C_2e^{3x} + C_1e^{-x}
y = C_1e^{3x} + C_2e^{-x} | y(x) = C_{1}e^{3x} + C_{2}e^{-x}
y = e^{2x}(C_1\cos x + C_2\sin x) | y = Ae^{2x}\sin x + Be^{2x}\cos x
y = (C_1 + C_2x)e^{-4x} | y = Ae^{-4x} + Bxe^{-4x}
y = C_1 + C_2e^{x} + x^2 | y = x^2 + Ae^{x} + B
x(t) = c_1\cos 5t + c_2\sin 5t | x = A\sin 5t + B\cos 5t
y = Ce^{x^2} | y = Ae^{x^2}
y = Ce^{x^2} | y = Ke^{x^2}
y = \frac{C}{x} + x | y = x + \frac{C_1}{x}
y = \sqrt{x^2+C} | y = \sqrt{C_1+x^2}
y = C_1x + C_2x^2 + C_3 | y = A + Bx + Cx^2
# families
x = \frac{\pi}{4} + k\pi | x = -\frac{3\pi}{4} + n\pi, n \in \mathbb{Z}
x = \frac{\pi}{4} + k\pi, k \in \mathbb{Z} | x = \frac{5\pi}{4} + n\pi
x = 30^\circ + 360^\circ k | x = 390^\circ + 360^\circ n, n \in \mathbb{Z}
# vectors
(\frac{5}{13}, \frac{12}{13}) | \frac{1}{13}(5, 12)
(\frac{5}{13}, \frac{12}{13}) | (5, 12)/13
(10, 24) | 2(5, 12)
(10, 24) | 2 \cdot \langle 5, 12 \rangle
(-5, -12) | -(5, 12)
(\frac{1}{\sqrt3}, \frac{1}{\sqrt3}, -\frac{1}{\sqrt3}) | \frac{1}{\sqrt3}(1, 1, -1)
(7, 3) | (5, 1) + (2, 2)
(7, 3) | 2(5, 1) - (3, -1)
[[ 7 \\ 3 ]] | [[ 5 \\ 1 ]] + [[ 2 \\ 2 ]]
# lines and planes
\operatorname{span}\{(1,3)\} | \{(t,3t) : t \in \mathbb{R}\}
\operatorname{span}\{(1,3)\} | \text{span}\{(-2,-6)\}
\operatorname{span}\{(1,3)\} | \{s(1,3)+(0,0) : s \in \mathbb{R}\}
\operatorname{span}\left\{[[ 1\\3 ]]\right\} | \operatorname{Span}\{(1,3)\}
\operatorname{span}\{(1,0,2),(0,1,1)\} | \operatorname{span}\{(1,1,3),(1,-1,1)\}
\operatorname{span}\{(1,0,2),(0,1,1)\} | \{(s,t,2s+t) : s,t \in \mathbb{R}\}
(2+t, 1-t, 4t), t \in \mathbb{R} | (2-3s, 1+3s, -12s), s \in \mathbb{R}
(2+t, 1-t, 4t), t \in \mathbb{R} | (3+t, -t, 4+4t), t \in \mathbb{R}
(2,1,0) + t(1,-1,4) | (3,0,4) + s(2,-2,8)
\mathbf{r} = (2,1) + t(1,-1) | \vec{r} = (3,0) + \lambda(-1,1)
[[ 2\\1 ]] + t[[ 1\\-1 ]] | [[ 3\\0 ]] + s[[ -2\\2 ]]
(x,y,z) = (2+t, 1-t, 4t) | (x,y,z) = (2+2s, 1-2s, 8s), s \in \mathbb{R}
k, k+1, k \in \mathbb{Z} | k+1, k, k \in \mathbb{Z}
k, k+1, k \in \mathbb{Z} | n, n+1, n \in \mathbb{Z}
x = 2k, 2k+1, k \in \mathbb{Z} | x = 2k, 2k-1, k \in \mathbb{Z}
x = 4k \text{ or } x = 4k+1, k \in \mathbb{Z} | x = 4k \text{ or } x = 4k-3, k \in \mathbb{Z}
\frac{\pi}{6} + 2k\pi, \frac{5\pi}{6} + 2k\pi, k \in \mathbb{Z} | \frac{5\pi}{6} + 2k\pi, -\frac{11\pi}{6} + 2k\pi, k \in \mathbb{Z}
\vec{r}(t) = (1,2) + t(3,4) | \vec{r}(t) = (1+3t, 2+4t)
\vec{r}(t) = (1,2) + t(3,4) | \vec{r}(s) = (1,2) + s(3,4)
(x,y) = (1,2) + t(3,4) | (x,y) = (4,6) + s(6,8)
k-1, k, k+1, k \in \mathbb{Z} | n, n+1, n+2, n \in \mathbb{Z}
2k, 2k+2, k \in \mathbb{Z} | 2k-2, 2k, k \in \mathbb{Z}
"""

DIFFERENT = r"""
# cases
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | -3|x|
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | 3x
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | |x|
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << -3x & x \ge 0 \\ 3x & x < 0 >>
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << 3x & x > 0 \\ -3x & x < 0 >>
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << 3x & x \ge 1 \\ -3x & x < 1 >>
<< 3x, & x \ge 0 \\ -3x, & x < 0 >> | << 3x & x \ge 0 \\ -3y & x < 0 >>
<< x-4, & x \ge 4 \\ 4-x, & x < 4 >> | |x+4|
<< 1, & x \ge 0 \\ 2, & x < 0 >> | << 1, & x > 0 \\ 2, & x \le 0 >>
f(x) = << x^3, & x < 1 \\ 2-x, & x \ge 1 >> | g(x) = << x^3, & x < 1 \\ 2-x, & x \ge 1 >>
<< \frac12, & 0 < x < 2 \\ 0, & \text{otherwise} >> | << \frac12, & 0 < x < 2 \\ 1, & \text{otherwise} >>
<< \frac12, & 0 < x < 2 \\ 0, & \text{otherwise} >> | << \frac12, & 0 < x < 2 >>
<< \frac12, & 0 < x < 2 \\ 0, & \text{otherwise} >> | << \frac12, & 0 < x < 3 \\ 0, & \text{otherwise} >>
<< 5, & x = 0 \\ x, & x \ne 0 >> | x
<< 2 & n \text{ even} \\ 5 & n \text{ odd} >> | << 2 & n \text{ odd} \\ 5 & n \text{ even} >>
<< 2 & n \text{ even} \\ 5 & n \text{ odd} >> | 2
<< x, & x > 10^{400} \\ 1, & x \le 10^{400} >> | << x, & x > 10^{401} \\ 1, & x \le 10^{401} >>
# general solutions
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{-3x} + Be^{x}
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{3x} + Ae^{-x}
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{3x}
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{3x} + e^{-x}
y = C_1e^{3x} + C_2e^{-x} | y = C_1e^{3x} + C_2e^{-x} + C_3
y = C_1e^{3x} + C_2e^{-x} | y = Ae^{3x} + Be^{-x} + 1
y = (C_1 + C_2x)e^{-4x} | y = Ae^{-4x} + Be^{-4x}
y = C_1\cos x + C_2\sin x | y = A\cos x + B\sin 2x
y = Ae^{x} + Be^{-x} | y = Be^{x} + Ae^{-x}
y = Ae^{x} | y = ke^{x}
y = ae^{x} | y = be^{x}
y = Ce^{x^2} | y = e^{x^2} + K
y = Ce^{x^2} | y = 2e^{x^2}
y = Ce^{x} | x = Ke^{y}
x(t) = c_1\cos 5t | y = A\cos 5t
# families
x = \frac{\pi}{4} + k\pi | x = \frac{\pi}{3} + n\pi, n \in \mathbb{Z}
x = \frac{\pi}{4} + k\pi | x = -\frac{3\pi}{4} + 2n\pi, n \in \mathbb{Z}
x = \frac{\pi}{4} + k\pi | x = -\frac{3\pi}{4} + n\pi, n \in \mathbb{N}
x = 2k+1 | x = 2n-1, n \in \mathbb{Z}
# vectors
(\frac{5}{13}, \frac{12}{13}) | \frac{1}{13}(12, 5)
(\frac{5}{13}, \frac{12}{13}) | \frac{1}{12}(5, 12)
(5, 12) | -(5, 12)
(5, 12) | f(5, 12)
(5, 12) | \gcd(5, 12)
(5, 12) | t(5, 12)
(5, 12) | (5, 1)(1, 12)
(7, 3) | (5, 1) - (2, 2)
60 | 2(5, 6)
# lines and planes
\operatorname{span}\{(1,3)\} | \{(t,2t) : t \in \mathbb{R}\}
\operatorname{span}\{(1,3)\} | \{(t,3t) : t \in \mathbb{Z}\}
\operatorname{span}\{(1,3)\} | \{(t,3t+1) : t \in \mathbb{R}\}
\operatorname{span}\{(1,3)\} | (1,3)
\operatorname{span}\{(1,3)\} | \{(1,3)\}
\operatorname{span}\{(1,3)\} | \operatorname{span}\{(1,3),(0,1)\}
\operatorname{span}\{(1,0,2),(0,1,1)\} | \operatorname{span}\{(1,1,3),(1,-1,0)\}
\operatorname{span}\{(1,0,2),(0,1,1)\} | \operatorname{span}\{(1,1,3),(2,2,6)\}
(2+t, 1-t, 4t), t \in \mathbb{R} | (2+t, 1-t, 4t+1), t \in \mathbb{R}
(2+t, 1-t, 4t), t \in \mathbb{R} | (2+t, 1-t, 4t^2), t \in \mathbb{R}
(2+t, 1-t, 4t), t \in \mathbb{Z} | (2+2t, 1-2t, 8t), t \in \mathbb{Z}
(2+t, 1-t, 4t) | (2+2t, 1-2t, 8t)
(2,1,0) + t(1,-1,4) | (2,1,1) + s(2,-2,8)
(x,y) = (t, 2t) | (y,x) = (s, 2s), s \in \mathbb{R}
k, k+1, k \in \mathbb{Z} | k, k+5, k \in \mathbb{Z}
k \text{ and } k+1, k \in \mathbb{Z} | k \text{ and } k+5, k \in \mathbb{Z}
2k+1, 2k+3, k \in \mathbb{Z} | 2k+1, 2k+5, k \in \mathbb{Z}
\{k, k+1\}, k \in \mathbb{Z} | \{k, k+5\}, k \in \mathbb{Z}
x = 4k \text{ or } x = 4k+1, k \in \mathbb{Z} | x = 4k \text{ or } x = 4k+3, k \in \mathbb{Z}
k+1, k, k \in \mathbb{Z} | k+1, k \in \mathbb{Z}
\vec{r}(t) = (1,2) + t(3,4) | \vec{r}(t) = (4,6) + t(6,8)
r(t) = (1,2) + t(3,4) | r(t) = (4,6) + t(6,8)
\mathbf{r}(t) = (1,2) + t(3,4) | \mathbf{r}(t) = (1,2) + t(6,8)
\vec{r}(t) = (1+3t, 2+4t), t \in \mathbb{R} | \vec{r}(t) = (4+6t, 6+8t), t \in \mathbb{R}
\vec{r}(t) = (1,2) + t(3,4) | (4,6) + t(6,8)
k-1, k, k+1, k \in \mathbb{Z} | n, n+1, n+3, n \in \mathbb{Z}
2k, 2k+2, k \in \mathbb{Z} | 2k-1, 2k+1, k \in \mathbb{Z}
2k, 3k, k \in \mathbb{Z} | 2k+2, 3k, k \in \mathbb{Z}
k, k+1, k \in \mathbb{Z} | k, k+1, k \in \mathbb{N}
"""


def in_latex(table: str) -> str:
    """<< x & x > 0 >> stands for cases, [[ 1 ]] for a matrix."""
    for sign, latex in _SIGNS.items():
        table = table.replace(sign, latex)
    return table


@pytest.mark.parametrize(("gold", "pred"), pairs(in_latex(EQUAL)))
def test_equal_both_ways(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(in_latex(DIFFERENT)))
def test_never_equal(gold, pred):
    assert True not in both_ways(gold, pred)


LONG = [
    r"\begin{cases}" + r"x & x>1 \\ " * 180 + r"\end{cases}", r"\begin{cases}" + "|x" * 500 + r"| & x>1 \\ 1 & x \le 1\end{cases}",
    "y=" + "C_1e^x+" * 280, "y=" + "Ce^{x}+" * 280, "1(1,2)+" * 280, r"\frac15" * 280 + "(1,2)", "1" * 1900 + "(1,2)",
    r"\text{span}\{" + "(1,2)," * 320 + r"(1,3)\}", r"(" + "t," * 900 + r"t), t\in\mathbb{R}", "(1,2)" + "+t(1,2)" * 280,
    r"\begin{pmatrix}1\\2\end{pmatrix}" * 60 + "-1", r"span\{" * 390, "x = k\\pi + " * 180 + r"1, k\in\mathbb{Z}",
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_nothing_takes_long(text):
    assert seconds_against(text, ["(1, 2)", "|x|", "y=C_1e^x+C_2e^{2x}", r"\text{span}\{(1,2)\}", text + "3"]) < 3
