r"""What is said in words or in signs: bounds, changes, named values, formulas of chemistry, and words that exclude each other."""

import pytest
from support.answer_pairs import both_ways, pairs

EQUAL = r"""
at least 7 | at least seven
at least 7 | 7 or more
at least 7 | no fewer than 7
at least 7 | not less than 7
at least 7 | a minimum of 7
\text{at least } \frac{1}{2} | at least 0.5
\text{at least }7\text{ meters} | at least 7 m
at most 7 | seven or fewer
at most 7 | no more than 7
at most 7 | 7 or less
at most 7 | up to 7
more than 7 | greater than 7
less than \frac{1}{2} | less than half
y \ge 7 | y is greater than or equal to 7
y \ge 7 | y is at least 7
y \ge 7 | $y$ must be at least 7
y < 7 | y is less than 7
y \le 7 | at most 7
\ge 7 | at least 7
(x is) at least 7 | (x is) at least 7
15\% increase | increased by 15%
15\% increase | an increase of 15\%
15\% increase | a 15 percent increase
15\%\text{ increase} | \text{increase of }15\%
15\% increase | The price increased by 15%
15\% increase | Increase: 15%
15\% increase | up 15%
15\% increase | +15\%
15\% decrease | -15\%
-15\% | a 15% decrease
-15\% | It fell by 15%
15\% decrease | decrease by $15\%$
15\% decrease | a drop of fifteen percent
15\% decrease | The population declined by 15%
profit of \$12 | \$12 profit
profit of \$12 | a profit of 12 dollars
loss of 12\% | 12\% loss
15\% discount | 15% off
8\text{ m/s west} | 8 m/s to the west
8\text{ m/s to the left} | 8 m/s left
8\text{ m/s to the left} | $8$ m/s, to the left
40^\circ\text{ counterclockwise} | 40^\circ anticlockwise
the price rose by 5 | price rose by 5
9 R 4 | 9 remainder 4
9 R 4 | 9R4
9 R 4 | 9 r 4
9 R 4 | 9, remainder 4
9 \text{ R } 4 | 9 with a remainder of 4
9 R 4 | quotient 9, remainder 4
9 R 4 | The quotient is 9 and the remainder is 4
9 \text{ remainder } 4 | remainder 4, quotient 9
9 R 4 | q = 9, r = 4
x-2 \text{ remainder } 7 | quotient $x-2$, remainder $7$
x-2, \text{ remainder } 7 | Quotient: -2+x; Remainder: 7
\bar{x} = 8.5, s = 1.2 | mean 8.5, standard deviation 1.2
\bar{x} = 8.5, s = 1.2 | standard deviation 1.2, mean 8.5
\mu = 8.5, \sigma = 1.2 | mean = 8.5 and standard deviation = 1.2
\text{mean } 8.5, \text{ median } 8 | median: 8, mean: 8.5
mean 8.5, variance 4 | Mean is 8.5, and the variance is 4
mean 8.5, mode 8 | average 8.5, mode 8
\text{maximum } 9, \text{ minimum } -2 | min = -2, max = 9
\text{maximum } 9, \text{ minimum } -2 | The minimum is -2 and the maximum is 9.
\text{maximum } 9, \text{ minimum } -2 | max: 9; min: -2
\text{max } = 9, \text{min } = -2 | minimum value -2, maximum value 9
\text{maximum } 9, \text{ minimum } -2 | 9 (max), -2 (min)
\text{maximum } 9, \text{ minimum } -2 | largest value 9, smallest value -2
\mathrm{H_2SO_4} | H2SO4
\mathrm{H_2SO_4} | H₂SO₄
\mathrm{H}_2\mathrm{SO}_4 | $H_2SO_4$
\text{Ca(OH)}_2 | Ca(OH)2
\mathrm{C_{6}H_{12}O_{6}} | C6H12O6
\mathrm{SO_4^{2-}} | SO4^2-
\mathrm{Na^+} | Na^{+}
\mathrm{CuSO_4\cdot 5H_2O} | CuSO4·5H2O
\ce{CO2} | CO_2
\mathrm{2H_2 + O_2 \rightarrow 2H_2O} | O2 + 2H2 -> 2H2O
\mathrm{N_2} | N2
\mathcal{O}(n \log n) | O(n\log n)
\mathcal O(n^2) | O(n^2)
O(2^n) | \mathrm{O}(2^n)
\text{standard deviation } 3 | s = 3
"""
DIFFERENT = r"""
at least 7 | at most 7
at least 7 | more than 7
at least 7 | at least 8
at least 7 | 7
at least 7 | 7 or less
at least 7 | no more than 7
at least 7 | less than 7
y \ge 7 | y is greater than 7
y \ge 7 | z is at least 7
y \ge 7 | y is at most 7
y > 7 | y is not more than 7
at least 7 meters | at least 7 seconds
7 or more | 7 or 8
7 more than x | more than x
15\% increase | 15\% decrease
15\% increase | decreased by 15%
15\% increase | an increase of 20\%
15\% increase | -15\%
15\% increase | increased to 15%
-15\% | an increase of 15%
-15\% | a decrease of 14\%
15\% | a decrease of 15\%
15\% | 15\% increase
15\% increase | 15\% profit
15\% increase | not increased by 15%
15\% profit | 15\% loss
profit of \$12 | loss of \$12
\$12 profit | \$12 loss
12\% off | 12\% more
profit of 20\% | profit of \$20
profit of \$20 | profit of €20
x rises by 5 | y rises by 5
a 20% increase followed by a 10% decrease | a 10% increase followed by a 20% decrease
more than 7 | 7 more than
over 7 | 7 over
6 choose 2 | 2 choose 6
6 tens 2 ones | 2 tens 6 ones
6 won 2 tie | 2 won 6 tie
mean 6 median 8 | mean 8 median 6
6\text{ wins }2\text{ losses} | 2\text{ wins }6\text{ losses}
9 R 4 | 4 R 9
9 R 4 | 9 R 5
9 R 4 | 9
9 R 4 | 94
9 R 4 | (9, 4)
9 \text{ remainder } 4 | quotient 4, remainder 9
q = 9, r = 4 | q = 4, r = 9
x-2 \text{ remainder } 7 | quotient x-2, remainder -7
\bar{x} = 8.5, s = 1.2 | mean 1.2, standard deviation 8.5
\bar{x} = 8.5, s = 1.2 | median 8.5, standard deviation 1.2
\mu = 8.5, \sigma^2 = 4 | mean 8.5, standard deviation 4
\mu = 8.5, \sigma^2 = 4 | \mu = 8.5, \sigma = 4
mean 8.5, mode 8 | mean 8, mode 8.5
mean 8.5 | median 8.5
\text{maximum } 9, \text{ minimum } -2 | maximum -2, minimum 9
\text{maximum } 9, \text{ minimum } -2 | max = 9
\text{maximum } 9, \text{ minimum } -2 | max = 9, min = 2
maximum 9 | minimum 9
9 (max), -2 (min) | 9 (min), -2 (max)
\mathrm{CO} | \mathrm{Co}
\mathrm{CO} | Co
CO | Co
\mathrm{CO_2} | CO
\mathrm{H_2O} | H_2O_2
\mathrm{H_2O} | \mathrm{HO_2}
\mathrm{SO_4^{2-}} | \mathrm{SO_4}
\mathrm{SO_4^{2-}} | SO_3^{2-}
\mathrm{Fe^{2+}} | Fe^{3+}
\mathrm{Na^+} | Na^-
\mathrm{2H_2 + O_2 \rightarrow 2H_2O} | H2 + O2 -> 2H2O
\mathrm{2H_2 + O_2 \rightarrow 2H_2O} | 2H2O -> 2H2 + O2
\mathrm{C_2H_6O} | \mathrm{C_2H_5OH_2}
x_2y | x2y
\mathcal{O}(n) | O(n^2)
\mathcal{O}(n) | o(n)
\mathcal{O}(n) | \Omega(n)
8\text{ m/s to the left} | 8 \text{ m/s to the right}
8 m/s to the left | 8 m/s to the right
8\text{ m/s to the left} | 8 m/s
8\text{ m/s upward} | 8\text{ m/s downward}
8\text{ km north} | 8\text{ km south}
8 km north | 8 km east
40^\circ\text{ clockwise} | 40^\circ\text{ counterclockwise}
8\text{ above} | 8\text{ below}
8 steps forward | 8 steps backward
8 minutes before noon | 8 minutes after noon
8\text{ years ago} | 8\text{ years later}
8 apples left | 8 apples total
8 m tall | 8 m wide
8 inwards | 8
the first 8 | the last 8
8 more | 8 fewer
left: 8 | right: 8
8\text{ m s} | 8\text{ ms}
8\text{ m}\text{ s} | 8\text{ ms}
8\,\mathrm{m\,s} | 8\,\mathrm{ms}
8\text{ N m} | 8\text{ Nm}^2
8\text{ m s} | 8 \text{ millis}
15\% increase | didn't increase by 15\%
15\% increase | The price failed to increase by 15%
15\% increase | cannot increase by 15%
15\% increase | it never increased by 15%
15\% increase | The price might increase by 15%
15\% increase | The price almost increased by 15%
15\% increase | twice increased by 15%
15\% decrease | It would not drop by 15%
profit of \$12 | without a profit of \$12
R = 7 | r = 7
r = 7, \sigma = 2 | R = 7, s = 2
q = 7 | Q = 7
15\% increase | stopped increasing by 15\%
15\% increase | avoided increasing by 15\%
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(gold, pred):
    assert True not in both_ways(gold, pred)
