r"""Lists, systems, points, matrices, equations and functions: pairs by hand, decided without a worker."""

import pytest
from support.answer_pairs import both_ways, pairs, seconds_against

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.values.equality import same_value

EQUAL = r"""
# an equation that gives a value
7 | CD = 7
7 | \overline{CD}=7
7 | |CD| = 7
7 | [ABC] = 7
7 | S_{\triangle ABC} = 7
40 | \angle PQR = 40^\circ
40 | m\angle PQR = 40
\frac{3}{5} | \sin A = \frac{3}{5}
\frac{3}{5} | \cos\theta = \frac35
7 | \text{Perimeter} = 7
7 | number of ways = 7
7 | g(3) = 7
7 | a_{10} = 7
7 | x_{\max} = 7
7 | p + q = 7
7 | p + q + r = 7
7 | x_1 + x_2 = 7
7 | AB + CD = 7
7 | AB \cdot CD = 7
\frac{2}{7} | \frac{AB}{CD} = \frac{2}{7}
\frac{2}{7} | \frac{p}{q} = \frac{2}{7}
\frac{2}{7} | P(A \cap B) = \frac27
\frac{2}{7} | P(A|B) = 2/7
53 | 10m+n = 53
53 | 10a + b = 53
53 | 2m+3n = 53
7 | xy = 7
7 | \vec{a} \cdot \vec{b} = 7
7 | |\vec{a}| = 7
7 | \gcd(a,b) = 7
7 | \lim_{x\to 2} h(x) = 7
7 | a \star b = 7
7 | \alpha + \beta = 7
7 | \max f(x) = 7
x-3 | f^{-1}(x) = x-3
\begin{pmatrix}2&0\\0&1\end{pmatrix} | A^{-1} = \begin{pmatrix}2&0\\0&1\end{pmatrix}
\begin{pmatrix}2&0\\0&1\end{pmatrix} | B = \begin{bmatrix}2&0\\0&1\end{bmatrix}
9 | 3 + 6 = 9
9 | 3 \cdot 3 = 9
9 | N = 3 + 6 = 9
\frac34 | \frac{6}{8} = \frac{3}{4}
30 | a+b+c = 10+12+8 = 30
2:3 | a:b = 2:3
7 | 7 = x
7 | |z| = 7
7 | V_{\text{max}} = 7
7 | \mathbb{E}[X] = 7
\frac14 | P(X=3) = \frac14
PQ = 7 | |PQ| = 7
PQ = 7 | \overline{PQ} = 7
\angle PQR = 40 | m\angle PQR = 40^\circ
7 | (f \circ g)(2) = 7
# several unknowns
x=4, y=-2 | \begin{cases}x=4\\y=-2\end{cases}
(4,-2) | \begin{cases} x = 4, \\ y = -2. \end{cases}
x=4, y=-2 | \left\{\begin{array}{l}x=4\\y=-2\end{array}\right.
x=4, y=-2 | \begin{array}{rcl} x &=& 4 \\ y &=& -2 \end{array}
(4,-2) | \begin{aligned} x &= 4 \\ y &= -2 \end{aligned}
(4,-2) | x = 4 \text{ and } y = -2
(4,-2) | y=-2, x=4
(4,-2) | (x=4, y=-2)
(x,y)=(4,-2) | x=4, y=-2
(x,y)=(4,-2) | y=-2, x=4
x=4,y=-2 | (x,y) = (4,-2)
(5,1,2) | z=2, x=5, y=1
p=3, q=8 | q=8 \land p=3
m=2, b=5 | (2,5)
(3,3) | x=y=3
x=y=3 | x = 3, y = 3
(1,2),(3,4) | x=1, y=2 \text{ or } x=3, y=4
(1,2),(3,4) | (x,y)=(3,4),(1,2)
\begin{cases}x+y=3\\x-y=1\end{cases} | x-y=1, x+y=3
3, 8 | x=3 \lor x=8
3, 8 | x = 8 \text{ or } x = 3
\begin{aligned} x &= 2+3 \\ &= 5 \end{aligned} | 5
x=4, y=-2 | x=4 \\ y=-2
3, 8 | x_1 = 8, x_2 = 3
# points, vectors and matrices
(2,-5) | Q(2,-5)
(2,-5) | Q = (2,-5)
(2,-5) | the point (2,-5)
(2,-5) | \text{the point } (2,-5)
(2,-5) | \text{point } P(2,-5)
Q(2,-5) | Q=(2,-5)
(1,2),(3,4) | B(3,4), A(1,2)
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [[1,2],[3,4]]
[[1,2],[3,4]] | \left[\begin{matrix}1&2\\3&4\end{matrix}\right]
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \frac{1}{3}\begin{pmatrix}3&6\\9&12\end{pmatrix}
\begin{pmatrix}-1&-2\\-3&-4\end{pmatrix} | -\begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}2&4\\6&8\end{pmatrix} | 2 \cdot \begin{bmatrix}1&2\\3&4\end{bmatrix}
\begin{pmatrix}2&4\\6&8\end{pmatrix} | 2\left(\begin{array}{cc}1&2\\3&4\end{array}\right)
5 | \begin{vmatrix}2&1\\3&4\end{vmatrix}
5 | \left|\begin{array}{cc}2&1\\3&4\end{array}\right|
5 | \det\begin{pmatrix}2&1\\3&4\end{pmatrix}
24 | \begin{vmatrix}2&0&0\\0&3&0\\0&0&4\end{vmatrix}
\langle 2,-3,4\rangle | 2\hat{i}-3\hat{j}+4\hat{k}
\langle 2,-3,4\rangle | 2\mathbf{i}-3\mathbf{j}+4\mathbf{k}
\langle 2,-3\rangle | 2\hat{\imath}-3\hat{\jmath}
(2,0,-4) | 2\vec{i}-4\vec{k}
(\frac12, 1) | \frac{1}{2}\hat{i}+\hat{j}
(2,-3,4) | 2i-3j+4k
30, 60 | \angle A = 30^\circ, \angle B = 60^\circ
5, 12 | AB = 5, BC = 12
\langle 2,-3,4\rangle | \begin{pmatrix}2\\-3\\4\end{pmatrix}
(3,-1) | (3; -1)
(2,3),(3,2) | (x,y) \in \{(3,2),(2,3)\}
\begin{pmatrix}1\\2\\3\end{pmatrix} | (1,2,3)^T
\begin{pmatrix}1\\2\\3\end{pmatrix} | \begin{pmatrix}1&2&3\end{pmatrix}^{\top}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&3\\2&4\end{pmatrix}^T
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [1, 2; 3, 4]
# antiderivatives
x^3+C | C + x^3
x^3+C | x^3+c
x^3+C | x^3 + C_1
x^3+K | x^3+C
x^3+C | x^3 + \text{const}
e^x(x-1)+C | xe^x-e^x+c
# functions
f(x)=3x-2 | f(t)=3t-2
f(x)=3x-2 | f(x)=-2+3x
f(x)=3x-2 | f(x) = 3x-2 \text{ for all real numbers } x
f(x)=3x-2 | f(x)=3x-2, \forall x\in\mathbb{R}
f(x)=3x-2 | f(x)=3x-2 \text{ for all } x
f(n)=n+1 | f(n)=n+1 \text{ for all positive integers } n
f(x)=3x-2 | 3x-2
f(x,y)=x+2y | f(a,b)=a+2b
a_n=2n+1 | a_k=2k+1
a_n=2n+1 | a_{k}=2k+1
f(x)=3 | f(t)=3
P(x)=x^2-1 | P(X)=X^2-1
a_n=2^n | a_n=2^n, n\in\mathbb{N}
f(x)=3x-2 | y=3x-2
f(x)=\begin{cases}x & x>0\\-x & x\le 0\end{cases} | f(x)=\begin{cases}-x, & \text{if } x \le 0\\x, & \text{if } 0 < x\end{cases}
f(x)=3x-2 | f: x \mapsto 3x-2
y = \frac{6}{x} | xy = 6
# ratios, counting, extremes
5:7 | 5 to 7
5:7 | 5 \text{ to } 7
5:7 | \text{5 to 7}
\frac{5}{7} | 5 to 7
2:3:7 | 2 to 3 to 7
2:3:7 | a:b:c = 2:3:7
\binom{8}{3} | C_8^3
\binom{8}{3} | C_{8}^{3}
\binom{8}{3} | \mathrm{C}_{8}^{3}
\binom{8}{3} | ^8C_3
\binom{8}{3} | {}^{8}C_{3}
\binom{8}{3} | _8C_3
\binom{8}{3} | C(8,3)
\binom{8}{3} | {8 \choose 3}
56 | 8C3
336 | P_8^3
336 | A_{8}^{3}
336 | ^{8}P_3
\binom{n}{k} | C_n^k
\max(p,q) | \max\{p,q\}
\min\left\{a,b,c\right\} | \min(a,b,c)
T(3)=6.5 (meters) | 6.5
# a list whose parts fit in one way only; a conjugate on both sides; "and" that something meets
5, 50 mm | 5 cm, 5 m
50 mm, 5 | 5 cm, 5 m
5, 50 mm, 3 | 3, 5 cm, 5 m
\bar{x} = 7 | 7
(1,4) | x > 1 \land x < 4
x < 1 \text{ or } x > 4 | x < 1, x > 4
(-\infty,1) \cup (4,\infty) | (-\infty,1) \text{ and } (4,\infty)
336 | P^3_8
6 | {}^{3}P_2
"""
DIFFERENT = r"""
# what is no value of what was asked
7 | 3x=7
7 | x^2=7
7 | \sqrt{x} = 7
7 | |x| = 7
7 | -x = 7
7 | x! = 7
7 | \log x = 7
7 | \log_2 x = 7
7 | \ln x = 7
7 | \ln(x) = 7
7 | \text{log } x = 7
7 | \sin x = 7
7 | e^x = 7
7 | 2^x = 7
7 | x + 3 = 7
7 | \frac{x}{3} = 7
7 | \frac{1}{x} = 7
7 | x(x+1) = 7
7 | 2x + 3y = 7
7 | x^2+y^2 = 7
7 | AB^2 = 7
7 | \lfloor x \rfloor = 7
7 | a + a = 7
7 | x \ne 7
7 | not x = 7
7 | twice the number = 7
x \in [0,1] | y \in [0,1]
7 | x < 7
7 | x > 7
7 | x \ge 7
7 | 10a+b = 8
9 | 3+7=9
9 | 3+6=10
9 | \sqrt{81} = 9 = 8
49 | \sqrt{49} = 7
2x | 2x = 6
x=7 | y=7
7 | |x-1| = 7
7 | 7 = 2x
x = 3 + 4 = 7 | x = 3 + 5 = 7
y = \frac{6}{x} | xy = 5
y = \frac{6}{x} | y = \frac{x}{6}
y = \frac{6}{x} | \frac{y}{x} = 6
# several unknowns
(4,-2) | \begin{cases}x=-2\\y=4\end{cases}
(4,-2) | \begin{aligned}x&=4\\y&=2\end{aligned}
(4,-2) | y=4, x=-2
(4,-2) | x=4
x=4,y=-2 | x=-2,y=4
x=4,y=-2 | a=4,b=-2
x=4,y=-2 | -2,4
x=4,y=-2 | x=4,y=-2,z=0
(0,0) | x=0 \text{ or } y=0
(3,1) | x+y=3, x-y=1
x=2,y=1 | x+y=3, x-y=1
(1,2),(3,4) | x=1, y=4 \text{ or } x=3, y=2
x=4,y=-2 | 4
m=1, n=4 | 1<x<4
m=1, n=4 | \{x \mid 1<x<4\}
(3,8) | x=3 \text{ or } x=8
(3,8) | 3 \text{ or } 8
\langle 1,2,3\rangle | n=1,2,3
f(x)=\begin{cases}x&x>0\\-x&x\le0\end{cases} | f(x)=\begin{cases}x&x>0\\x&x\le0\end{cases}
x_1=3, x_2=8 | x_1=8, x_2=3
(8,3) | x_1=3, x_2=8
# points, vectors and matrices
(2,-5) | P(-5,2)
P(2,-5) | Q(2,-5)
(2,-5) | the point (2,5)
(2,-5) | f(2,-5)
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [[1,2],[4,3]]
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [[1,3],[2,4]]
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [1,2,3,4]
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \frac{1}{2}\begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&2&3&4\end{pmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | -\begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}1&2\end{pmatrix} | \begin{pmatrix}1\\2\end{pmatrix}
5 | \begin{vmatrix}2&3\\1&5\end{vmatrix}
\begin{vmatrix}2&1\\3&4\end{vmatrix} | \begin{pmatrix}2&1\\3&4\end{pmatrix}
5 | \begin{pmatrix}2&1\\3&4\end{pmatrix}
\langle 2,-3,4\rangle | 2\hat{i}+3\hat{j}+4\hat{k}
\langle 2,-3,4\rangle | 2\hat{i}-3\hat{j}
\langle 2,-3,4\rangle | 4\hat{i}-3\hat{j}+2\hat{k}
3+4i | 3\hat{i}+4\hat{j}
(3,4) | 3+4i
3, 1 | x+y=3, x-y=1
0, 0 | x=0 \text{ or } y=0
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&2\\3&4\end{pmatrix}^T
\begin{pmatrix}1&2\\3&4\end{pmatrix} | [1, 3; 2, 4]
AB = 7 | AC = 7
\angle A = 40 | \angle B = 40
(A,b) | (a,b)
x=A | x=a
A:B | a:b
# antiderivatives
x^3+C | x^3
x^3 | x^3+C
x^3+C | x^3-C
x^3+C | x^2+C
x^3+C | x^3+x
x^3+C | x^3+5
A+C | A+K
n+k | n+c
# functions
f(x)=3x-2 | f(t)=3t+2
f(x)=3x-2 | g(x)=3x-2
f(x)=3x-2 | f(t)=3x-2
f(x)=3x-2 | f(x)=3x-2, x>0
P(A)=\frac14 | P(B)=\frac14
f(a)=3 | f(b)=3
S_A=5 | S_B=5
v_x=5 | v_y=5
F_x=2x | F_y=2y
a_n=5 | a_k=5
S_a=5 | S_b=5
f(x,y)=x-y | f(y,x)=x-y
f(x,y)=x+2y | f(a,b)=2a+b
f(x,y)=x+2y | f(y,x)=x+2y
a_n=2n+1 | a_k=2k-1
a_n=2n+1 | b_n=2n+1
f(x)=\begin{cases}x & x>0\\1-x & x\le 0\end{cases} | f(x)=\begin{cases}x & x\ge0\\1-x & x< 0\end{cases}
f(x)=\begin{cases}x & x>0\\-x & x\le 0\end{cases} | f(x)=\begin{cases}-x & x>0\\x & x\le 0\end{cases}
# ratios, counting, extremes
5:7 | 7 to 5
5:7 | 5 to 8
5:7 | 5 to 7 to 9
5 | 5:7:9
\binom{8}{3} | C_8^4
\binom{8}{3} | C_3^8
\binom{8}{3} | P_8^3
\binom{8}{3} | (8,3)
\binom{8}{3} | C(8,2)
\max(p,q) | \min\{p,q\}
\max(p,q) | \{p,q\}
T(3)=6.5 (meters) | 65
# what no pairing of the parts makes the same; a conjugate; "and" that nothing meets; a name with an index and a power
5, 50 mm | 5 cm, 6 m
50 mm, 50 mm | 5 cm, 5 m
3+4i | \overline{z} = 3+4i
3+4i | \bar z = 3+4i
3+4i | z^* = 3+4i
3+4i | \overline{z_1} = 3+4i
x < 1 \text{ or } x > 2 | x < 1 \text{ and } x > 2
(-\infty,1) \cup (2,\infty) | x < 1 \text{ and } x > 2
x < 1 \text{ or } x > 2 | x < 1 \land x > 2
6 | A_3^2
6 | P_3^2
2 | A_2^1
7 | x = 14/2y = 7
-2 < x < 4 | |x-99999999^{700}| < 3
-2 < x < 4 | |x-\frac{1}{9^{700}}| < 3
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal_both_ways(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_never_equal(gold, pred):
    assert True not in both_ways(gold, pred)


LONG = [
    "all reals except " + "1, " * 600 + "x",
    "(" * 2000, "(1," * 700, "[[1," * 500, r"\{" * 1000, r"\{1," * 500, "x=" * 1000, "x<" * 1000, "1 or x=" * 280, r"(1,2)\cup" * 200,
    r"\mathbb{R}\setminus" * 100, r"\begin{cases}x=1\\" * 110, r"\begin{pmatrix}1&2\\" * 100, r"\max\{" * 330, "C_1^1" * 400, "10C3 " * 400,
    "1 to " * 400, "for all x " * 200, r"k\in\mathbb{Z}," * 130, r"x\in " * 400, r"\hat{i}+" * 250, "i+j+k+" * 330, r"x\ne\pm1," * 200,
    r"\pm1," * 400, r"\{x|x=" * 330, "|" * 2000, "+C" * 1000, "f(x)=" * 400, "P(1,2)," * 280, "1:" * 1000, "2a+3b+" * 330, "x=1,y=2," * 250,
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_nothing_takes_long(text):
    assert seconds_against(text, ["12", "x=1, y=2", r"(-\infty,2)\cup(2,\infty)", text + "3"]) < 3


@pytest.mark.parametrize("count", [500, 1000])
def test_long_lists_are_compared_in_linear_time(count):
    calls = 0

    def leaf(gold, pred):
        nonlocal calls
        calls += 1
        return same_value(gold, pred)

    gold = ", ".join(rf"\frac{{{number}}}{{7}}" for number in range(1, count))
    pred = ", ".join(f"{2 * number}/14" for number in reversed(range(1, count)))
    assert same_answer(gold, pred, leaf) is True
    assert same_answer(gold, pred.replace("16/14", "17/14"), leaf) is False
    assert calls <= 2 * count
