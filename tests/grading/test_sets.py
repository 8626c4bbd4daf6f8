"""Sets of numbers, however they are written, and families with a letter: without a worker, both ways round."""

import pytest
from support.answer_pairs import both_ways, pairs

EQUAL = r"""
# sets of real numbers
\mathbb{R} | (-\infty, \infty)
(-\infty, +\infty) | \mathbb{R}
(-\infty,\infty) | x \in \mathbb{R}
\mathbb{R} | \text{all real numbers}
(-\infty,\infty) | all real numbers
(0,\infty) | \mathbb{R}^+
(0,\infty) | \mathbb{R}_{>0}
\{x \mid 0 < x < 5\} | (0,5)
\{x \mid 0 < x < 5\} | 0 < x < 5
(0,5) | \{t : 0 < t < 5\}
[3, \infty) | \{x \in \mathbb{R} \mid x \ge 3\}
\{y : y \ge 3\} | \{x \mid 3 \le x\}
\{x \mid x < -1 \text{ or } x > 1\} | (-\infty,-1)\cup(1,\infty)
x \ne 3 | (-\infty,3)\cup(3,\infty)
x \ne 3 | (3,\infty)\cup(-\infty,3)
\mathbb{R}\setminus\{3\} | x \neq 3
\mathbb{R}\backslash\{3\} | (-\infty,3)\cup(3,\infty)
\mathbb{R}-\{3\} | (-\infty,3)\cup(3,\infty)
x \ne \pm 2 | x \ne -2, 2
x \ne \pm 2 | x \ne 2 \text{ and } x \ne -2
x \ne \pm 2 | \mathbb{R}\setminus\{-2,2\}
x \ne \pm 2 | (-\infty,-2)\cup(-2,2)\cup(2,\infty)
x \in \mathbb{R}, x \ne 3 | x \ne 3
(2,3)\cup(3,\infty) | x > 2, x \ne 3
(2,3)\cup(3,\infty) | x > 2 \text{ and } x \ne 3
(1,4) | x > 1 \text{ and } x < 4
(1,4) | x>1, x<4
(3,8) | \begin{cases} x > 3 \\ x < 8 \end{cases}
(3,8) | \left\{\begin{array}{l} x > 3 \\ x < 8 \end{array}\right.
(3,\infty) | \begin{cases} x > 3 \\ x > 1 \end{cases}
\emptyset | \begin{cases} x < 3 \\ x > 8 \end{cases}
\emptyset | x < 3 \text{ and } x > 8
x > 3, y < 8 | \begin{cases} x > 3 \\ y < 8 \end{cases}
(-\infty,3)\cup(8,\infty) | \begin{aligned} x &< 3 \\ x &> 8 \end{aligned}
(-\infty,1]\cup[4,\infty) | x \le 1 \text{ or } x \ge 4
(-\infty,1]\cup[4,\infty) | x \le 1, x \ge 4
(-\infty, 5) | (-\infty, 2]\cup(2,5)
[0, \frac{1}{2}] | 0 \le x \le 0.5
(-\sqrt{3}, \sqrt{3}) | \{x \mid -\sqrt{3}<x<\sqrt3\}
(-\infty,0)\cup(0,\infty) | \{x \in \mathbb{R} : x \ne 0\}
[1,3) | \{1\}\cup(1,3)
(-\infty,0)\cup(0,\infty) | all real numbers except 0
\mathbb{R}\setminus\{1,2\} | \text{all real numbers except } 1 \text{ and } 2
(1,2) | ]1,2[
[1,2) | [1;2[
(-\infty,1)\cup(2,\infty) | ]-\infty,1[ \cup ]2,\infty[
(1,3) | (-\infty,3) \cap (1,\infty)
(0,\infty) | all positive real numbers
\text{all nonnegative reals} | x \ge 0
# finite sets
\{2,5\}\cup\{3\} | \{2,3,5\}
\{1,2\}\cup\{2,3\} | \{1,2,3\}
\{2,3,5\} | \{5,2\} \cup \{3\}
\emptyset | \{ \}
\{\} | \varnothing
\{4\} | 4
\{4, -4\} | x = \pm 4
\{x \mid x = 1 \text{ or } x = 2\} | \{1,2\}
\emptyset | the empty set
\{2,5\} | \{2,5,5\}
\{1,2,3\} | \{n \in \mathbb{Z} \mid 0 < n < 4\}
\{1,2,3\} | \{n \in \mathbb{Z}^+ : n \le 3\}
\emptyset | \text{no solution}
# families
2k\pi | x = 2k\pi, k\in\mathbb{Z}
x=2k\pi, k\in\mathbb{Z} | x = 2n\pi, n \in \mathbb{Z}
x=2k\pi, k\in\mathbb{Z} | x = 2n\pi
x=2k\pi, k\in\mathbb{Z} | x = 2k\pi \text{ where } k \text{ is an integer}
x=2k\pi, k\in\mathbb{Z} | x = 2k\pi for any integer k
x=2k\pi, k\in\mathbb{Z} | 2k\pi \quad (k \in \mathbb{Z})
x=2k\pi (k\in\mathbb{Z}) | 2\pi k, \text{ for all } k \in \mathbb{Z}
\frac{\pi}{2}+k\pi, k\in\mathbb{Z} | -\frac{\pi}{2}+k\pi, k\in\mathbb{Z}
\frac{\pi}{2}+k\pi, k\in\mathbb{Z} | \frac{(2n+1)\pi}{2}, n\in\mathbb{Z}
x=2k+1, k\in\mathbb{Z} | x=2k-1, k \in \mathbb{Z}
\{5k \mid k\in\mathbb{Z}\} | \{x \mid x = 5k, k\in\mathbb{Z}\}
\{5k \mid k\in\mathbb{Z}\} | \{5n : n\in\mathbb{Z}\}
\{5k \mid k\in\mathbb{Z}\} | 5k, k \in \mathbb{Z}
5k | n = 5k
\{2n \mid n\in\mathbb{N}\} | \{2k \mid k\in\mathbb{N}\}
(2t, 3t), t \in \mathbb{R} | (2s, 3s), s \in \mathbb{R}
x=2k\pi, k\in\mathbb{Z} | x = 2k\pi, k = 0, \pm 1, \pm 2, \ldots
30^\circ + 90^\circ k, k\in\mathbb{Z} | 120^\circ + 90^\circ n, n \in \mathbb{Z}
x \equiv 3 \pmod{5} | x \equiv 3 (mod 5)
x \equiv 3 \pmod{5} | x \equiv -2 \pmod 5
x \equiv 3 \pmod{5} | x = 5k+3, k\in\mathbb{Z}
x \equiv 1, 4 \pmod{5} | x \equiv 4 \pmod 5 \text{ or } x \equiv 1 \pmod 5
x \equiv \pm 1 \pmod{5} | x \equiv 1, 4 \pmod 5
\pm 1 \pm \sqrt{2} | 1+\sqrt2, 1-\sqrt2, -1+\sqrt2, -1-\sqrt2
2 \pm 1 \mp 3 | 0, 4
"""
DIFFERENT = r"""
x < 3 \text{ or } x > 8 | \begin{cases} x < 3 \\ x > 8 \end{cases}
(-\infty,3)\cup(8,\infty) | \left\{\begin{array}{l} x < 3 \\ x > 8 \end{array}\right.
\emptyset | \begin{cases} x < 3 \\ x > 1 \end{cases}
\emptyset | \{3\}
(3,8) | \begin{cases} x > 3 \\ x > 8 \end{cases}
# sets
\mathbb{R} | (0,\infty)
\mathbb{R} | \mathbb{Z}
\mathbb{R} | x > 0
\mathbb{R} | \text{all real numbers except } 0
\{x \mid 0 < x < 5\} | [0,5)
\{x \mid 0 < x < 5\} | (0,6)
\{x \mid 0 < x < 5\} | \{0,5\}
\{x \in \mathbb{Z} \mid x > 2\} | (2,\infty)
\{x \in \mathbb{Z} \mid x > 2\} | \{x \mid x > 2\}
x \ne 3 | x = 3
x \ne 3 | y \ne 3
x \ne 3 | (-\infty, 3)
x \ne 3 | \mathbb{R}\setminus\{4\}
x \ne \pm 2 | x \ne 2
x \ne \pm 2 | x \ne 2, 3
(-\infty,-1)\cup(1,\infty) | (-1,1)
(-\infty,-1)\cup(1,\infty) | x > -1 \text{ or } x < 1
(-\infty,1]\cup[4,\infty) | x < 1 \text{ or } x > 4
(1,4) | x > 1 \text{ or } x < 4
(1,4) | 1 < x \le 4
[1,3) | \{1\}\cup(2,3)
(1,3) | \{1\}\cup(1,3)
\emptyset | \{0\}
\emptyset | 0
\emptyset | \{\emptyset\}
\{1,3\}\cup\{2,4\} | \{1,2,3\}
\{1,3\}\cup\{2,4\} | \{1,2,3,5\}
\{1,2\} | (1,2)
\{1,2\} | [1,2]
\{1,2,3\} | \{n \in \mathbb{Z} \mid 0 < n \le 4\}
\{0,1,2\} | \{n \in \mathbb{N} \mid n < 3\}
(0,4) | \{n \in \mathbb{Z} \mid 0 < n < 4\}
\mathbb{R}\setminus\{1,2\} | all real numbers except 1
2, 5 | 2, 5, 5
(1,2] | ]1,2[
[1,2],[3,4] | [1,2[3,4]]
[0,\infty) | all positive real numbers
\emptyset | \text{infinitely many solutions}
\emptyset | \text{one solution}
# families
3 | n=3k
n=3k | 3
x=2k\pi, k\in\mathbb{Z} | x=k\pi, k\in\mathbb{Z}
x=2k\pi, k\in\mathbb{Z} | x=2k\pi, k\in\mathbb{N}
x=2k\pi, k\in\mathbb{Z} | 2\pi
x=2k\pi, k\in\mathbb{Z} | 0
\frac{\pi}{2}+k\pi, k\in\mathbb{Z} | \frac{\pi}{2}+2k\pi, k\in\mathbb{Z}
\frac{\pi}{2}+k\pi, k\in\mathbb{Z} | \frac{\pi}{3}+k\pi, k\in\mathbb{Z}
2k+1, k\in\mathbb{N} | 2k-1, k\in\mathbb{N}
2k+1 | 2k-1
f(n)=n+1 \text{ for all integers } n | f(n)=n+2 \text{ for all integers } n
f(x)=x+1, x \in \mathbb{Z} | f(x)=x+2, x \in \mathbb{Z}
(k,k+1), k\in\mathbb{Z} | (k,k+2), k\in\mathbb{Z}
x=k, y=k+1, k\in\mathbb{Z} | x=k, y=k+2, k\in\mathbb{Z}
a_n=2n+1, n\in\mathbb{Z} | a_n=2n-1, n\in\mathbb{Z}
(2k\pi,\pi+2k\pi), k\in\mathbb{Z} | (2k\pi,3\pi+2k\pi), k\in\mathbb{Z}
2k\pi<x<\pi+2k\pi, k\in\mathbb{Z} | 2k\pi<x<3\pi+2k\pi, k\in\mathbb{Z}
\begin{pmatrix}k\\k+1\end{pmatrix}, k\in\mathbb{Z} | \begin{pmatrix}k\\k+2\end{pmatrix}, k\in\mathbb{Z}
k:k+1, k\in\mathbb{Z} | k:k+2, k\in\mathbb{Z}
\max(k,k+1), k\in\mathbb{Z} | \max(k,k+2), k\in\mathbb{Z}
2k | 2n
2k+1 | x=2k-1, k\in\mathbb{Z}
k^2, k\in\mathbb{Z} | (k+1)^3, k\in\mathbb{Z}
\{3k \mid k\in\mathbb{Z}\} | \{3k \mid k\in\mathbb{N}\}
\{3k \mid k\in\mathbb{Z}\} | \{6k \mid k\in\mathbb{Z}\}
\{3k \mid k\in\mathbb{Z}\} | \{3k+1 \mid k\in\mathbb{Z}\}
x=2k\pi, k\in\mathbb{Z} | x=2k\pi, k = 1, 2, 3, \ldots
30^\circ + 90^\circ k, k \in \mathbb{Z} | 60^\circ + 90^\circ k, k \in \mathbb{Z}
x \equiv 3 \pmod{5} | 3
x \equiv 3 \pmod{5} | x \equiv 4 \pmod 5
x \equiv 3 \pmod{5} | x \equiv 3 \pmod{10}
x \equiv 1, 4 \pmod{5} | x \equiv 1 \pmod 5
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal_both_ways(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_never_equal(gold, pred):
    assert True not in both_ways(gold, pred)
