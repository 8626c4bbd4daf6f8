r"""Permutations, logic, absolute values, domains, residue classes and polar notations: pairs by hand, decided without a worker."""

import pytest
from support.answer_pairs import both_ways, pairs, seconds_against

EQUAL = r"""
# permutations
(1\ 4\ 2) | (4\ 2\ 1)
(1\ 4\ 2) | (2 1 4)
(1\ 4\ 2) | (4 2 1) \text{ in cycle notation}
(1\ 5)(2\ 3) | (3\ 2)(5\ 1)
(1\ 5)(2\ 3) | (15)(23)
(1\ 5)(2\ 3) | (1,5)(2,3)
(1\ 5)(2\ 3) | (1\ 5)(2\ 3)(4)
(1\ 5)(2\ 3) | (1\ 5)\circ(2\ 3)
(1\ 5)(2\ 3) | (2\ 3) \cdot (1\ 5)
(10\ 2\ 7) | (2\ 7\ 10)
\sigma = (1\ 4\ 2) | (4\ 2\ 1)
\{(1\ 2), (1\ 3)\} | \{(3\ 1), (2\ 1)\}
(a\ c\ b) | (b\ a\ c)
# logic
r_1 \land r_2 | r_2 \land r_1
R(x) \to S | \lnot R(x) \lor S
r \land \lnot s | \neg s \wedge r
r \land \lnot s | r \text{ and not } s
\lnot(r \land s) | \lnot r \lor \lnot s
r \to s | \lnot r \lor s
r \Rightarrow s | \neg s \rightarrow \neg r
r \leftrightarrow s | (r \land s) \lor (\lnot r \land \lnot s)
r \oplus s | (r \lor s) \land \lnot(r \land s)
r \iff s | s \Leftrightarrow r
r \land (s \lor t) | (r \land s) \lor (r \land t)
r \lor r \land s | r
\overline{A \land B} | \overline{A} \lor \overline{B}
x = 3 \lor x = 5 | x = 5, 3
# one absolute value
|t| \ge 5 | t \le -5 \text{ or } t \ge 5
|t| > 5 | (-\infty,-5) \cup (5,\infty)
|x-2| < 6 | (-4,8)
|x-2| \le 6 | -4 \le x \le 8
|4-x| < 1 | 3 < x < 5
6 > |x-2| | (-4, 8)
|2x-1| < 3 | (-1,2)
|x| < \sqrt{2} | -\sqrt2 < x < \sqrt2
|x+1| > 0 | x \ne -1
0 < |x-2| < 6 | (-4,2) \cup (2,8)
\left|\frac{x}{2}\right| \le 1 | [-2,2]
# a condition at the end
g(x) = x^3+2, x > 1 | g(x) = x^3+2 \quad (x > 1)
g(x) = x^3+2, x > 1 | g(x) = x^3+2 \text{ for } x > 1
g(x) = x^3+2, x > 1 | g(x) = x^3+2 (for $x > 1$)
g(x) = x^3+2, x > 1 | g(x) = x^3+2, \text{ where } x \in (1,\infty)
g(x) = x^3+2 \; (1 < x \le 3) | g(x) = x^3+2, 1 < x \le 3
f(x) = ax \text{ for any real constant } a | f(x) = kx, where $k$ is any real constant
f(x) = ax \text{ for any real constant } a | f(x) = ax, a \in \mathbb{R}
# a name with and without its letter
x(t) = 3\cos 2t | x = 3\cos(2t)
P(t) = 100e^{t/2} | P = 100 e^{\frac{t}{2}}
# chains
\sqrt{5} < \frac{5}{2} < \sqrt{7} | \sqrt7 > 2.5 > \sqrt5
2^{30} > 3^{18} > 5^{10} | 5^{10} < 3^{18} < 2^{30}
p \ge q > r \ge s | s \le r < q \le p
# inverse hyperbolic functions
\operatorname{arcsinh} x | \operatorname{arsinh} x
\operatorname{arcsinh} x | \ln(x+\sqrt{x^2+1})
\operatorname{artanh} \frac12 | \frac12 \ln 3
# polar
3 \operatorname{cis} 180^\circ | -3
3 \operatorname{cis} \frac{\pi}{2} | 3i
3 \operatorname{cis}(\pi/2) | 3i
2 \text{ cis } 60^\circ | 1+i\sqrt{3}
2 \operatorname{cis}\left(\frac{\pi}{3}\right) | 2e^{i\pi/3}
(3, \frac{\pi}{4}) \text{ in polar coordinates} | (r, \theta) = (3, \pi/4)
(3, \frac{\pi}{4}) \text{ (in polar form)} | (3, \frac{\pi}{4})
(1, \pi, 2) \text{ in cylindrical coordinates} | (r, \theta, z) = (1, \pi, 2)
# both signs
y = \pm \frac{2}{5}x | 2x \pm 5y = 0
y = \pm \frac{2}{5}x | 5y = \pm 2x
y = \pm \frac{2}{5}x | y = \frac25 x \text{ and } y = -\frac25 x
# residue classes
m \equiv 1, 3, 5 \pmod 6 | m \equiv 1 \pmod 2
m \equiv 1, 3 \pmod 4 | m \text{ is odd}
m \equiv 0, 2 \pmod 4 | m is an even integer
m \equiv 2 \text{ or } 5 \pmod 6 | m \equiv 2 \pmod 3
m \equiv \pm 1 \pmod 4 | m is odd, i.e. m \equiv 1 \pmod 2
m = 2k+1 | m is odd
# parametric points
(t, 3-t), t \in \mathbb{R} | \{(s, 3-s) : s \in \mathbb{R}\}
"""

DIFFERENT = r"""
# permutations
(1\ 5)(2\ 3) | (1\ 2)(5\ 3)
(1\ 4\ 2) | (1\ 2\ 4)
(1\ 2\ 3\ 4) | (1\ 2)(3\ 4)
(1\ 2\ 3\ 4) | (1\ 3\ 2\ 4)
(1\ 5)(2\ 3) | (1\ 5)
(1\ 2)(2\ 3) | (2\ 3)(1\ 2)
(1\ 2) | (1, 2)
(2\ 1) | (1, 2)
(1\ 4\ 2) | (4, 2, 1)
(1\ 2)(3\ 4) | 24
(1\ 23) | (12\ 3)
(1\ 1) | (1)
\{1 2, 3\} | \{12, 3\}
(a\ c\ b) | (a\ b\ c)
(a\ b)(c\ d) | (a\ c)(b\ d)
# logic
r_1 \land r_2 | r_1 \lor r_2
R(x) \land S | R(x) \lor S
\forall x (R \land S) | \forall x (R \lor S)
r \land \lnot s | r \lor \lnot s
r \land \lnot s | \lnot r \land s
r \to s | s \to r
r \to s | r \leftrightarrow s
\lnot(r \land s) | \lnot r \land \lnot s
r \oplus s | r \lor s
(r \to s) \to t | r \to (s \to t)
r \land s \lor t | r \land (s \lor t)
r \lor s | r
r \lor s | s \lor t
x = 3 \lor x = 5 | x = 3 \lor x = 6
# one absolute value
|t| \ge 5 | |t| > 5
|t| \ge 5 | |t| \le 5
|t| \ge 5 | t \ge 5
|x-2| < 6 | (-8,4)
|x-2| < 6 | [-4,8]
|x-2| < 6 | |x+2| < 6
|x| < 6 | |y| < 6
|z| < 2 | -2 < z < 2
|x| < -1 | -1 < x < 1
|2x-1| < 3 | (-2,4)
0 < |x-2| < 6 | (-4,8)
# a condition at the end
g(x) = x^3+2, x > 1 | g(x) = x^3+2 \quad (x \ge 1)
g(x) = x^3+2, x > 1 | g(x) = x^3+2
g(x) = x^3+2, x > 1 | g(x) = x^3 \quad (x > 1)
f(x) = ax \text{ for any real constant } a | f(x) = x + k, where $k$ is any real constant
f(x) = ax \text{ for any integer constant } a | f(x) = ax \text{ for any real constant } a
x(t) = 3\cos 2t | y = 3\cos 2t
x(t) = 3\cos 2t | x = 3\cos 2s
P(A) = \frac14 | P = \frac14 + A
# chains
\sqrt{5} < \frac{5}{2} < \sqrt{7} | \sqrt5 > 2.5 > \sqrt7
p \ge q > r | r \le q < p
p > q > r | p > r > q
# inverse hyperbolic functions
\operatorname{arcsinh} x | \operatorname{arcosh} x
\operatorname{arcsinh} x | \operatorname{arcsinh} 2x
# polar
3 \operatorname{cis} 180^\circ | 3
3 \operatorname{cis} \frac{\pi}{2} | -3i
3 \operatorname{cis} 90^\circ | 3 \operatorname{cis} 91^\circ
(3, \frac{\pi}{4}) \text{ in polar coordinates} | (x, y) = (3, \frac{\pi}{4})
(3, \frac{\pi}{4}) \text{ in polar coordinates} | (\frac{\pi}{4}, 3)
# both signs
y = \pm \frac{2}{5}x | 5x \pm 2y = 0
y = \pm 2x | 3y = \pm 2x
2x = 1 \text{ or } 2x = 3 | 1, 3
x^2 = 4 \text{ or } x^2 = 9 | 4, 9
y = \pm 2x | y = 2x
# residue classes
m \equiv 1, 3 \pmod 4 | m is even
m \equiv 1, 2 \pmod 4 | m is odd
m \equiv 1, 3, 5 \pmod 8 | m \equiv 1 \pmod 2
m \equiv 1 \pmod 0 | m is odd
m is odd | n is even
m is odd | m = 2k
# parametric points
(t, 3-t), t \in \mathbb{R} | \{(s, 3+s) : s \in \mathbb{R}\}
(t, 3-t), t \in \mathbb{R} | \{(s, 3-s) : s \in \mathbb{Z}\}
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal_both_ways(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_never_equal(gold, pred):
    assert True not in both_ways(gold, pred)


LONG = [
    "(1 " * 600, "(1 2)" * 400, "(" + "1 " * 900 + ")", r"p\land " * 280, r"\lnot" * 390 + "p", "((" * 900 + r"p\lor q", "|x|<" * 480,
    "|" + "x+" * 900 + "1|<3", "f(x)=1 (x>" * 180, "y=2 for " * 240, r"\text{cis}" * 220, "(1,2) in polar " * 130,
    r"n\equiv " + "1," * 900 + r"3 \pmod 4", r"n\equiv 1 \pmod 2 that is " * 70, "3>" * 990 + "1", "(1, " * 400 + "in polar form",
    "y=\\pm x," * 220, r"\overline{" * 190 + r"p\land q", "(1 2" + " " * 1900 + ")x",
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_nothing_takes_long(text):
    assert seconds_against(text, ["(1 2)", r"p\land q", "(-1,1)", "f(x)=1, x>2", text + "3"]) < 3
