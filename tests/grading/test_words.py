"""Words, letters and multiple choice: text is compared as text only where both sides are words."""

import pytest
from support.answer_pairs import pairs

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.values.equality import same_value

EQUAL = r"""
\text{Isosceles} | isosceles
\textbf{Maria} | Maria
non-real | Nonreal
x-axis | the x axis
odd | Odd.
an ellipse | Ellipse
Yes | yes, it does
No | \text{No, it isn't}
no | No. The sum diverges.
True | True, since 3 is odd
undefined | \text{The slope is undefined}
does not exist | The derivative doesn't exist.
\text{DNE} | \text{does not exist}
diverges | The series is divergent
convergent | it converges
infinitely many | There are infinitely many solutions
infinitely many | an infinite number of points
no solution | The system has no solution
no solution | \text{There are no solutions}
scalene | The triangle is scalene
cannot be determined | It can't be determined
uv | v u
Q-q | -q+Q
a-b | -b+a
k n | nk
C | (C) 14
C | C: Both A and B are carriers
C | C. A linear function
C | C - A linear function
C | \text{Option (C)}
14 | \textbf{(C)}\ 14
14 | \text{(C) }14
14 | C. 14
\frac{2}{3} | (B) $\frac23$
-4 | (D) $-4$
x+1 | \text{(A)}\ 1+x
C. A linear function | C
(C)\ 14 | C. 14
BCE | B, C, E
BCE | (B), (C) and (E)
A and C | AC
A, C | C and A
C | C. Not enough information
C | (C) There is no solution
C | C. False
C | (C) because it is the largest
ACD | A, C, D
AC | (A), (C)
"""
DIFFERENT = r"""
a-b | ab
a-b | b-a
uv-w | uvw
Q-q | q-Q
Qq | QQ
Aa | aa
AABB | AaBb
Aabb | aabb
ab | Ab
d-k | dk
total - part | totalpart
True | not true
True | False
Yes | Yes, no
Yes | No, yes
Yes | yes, it is not
No | no solution
Yes | True
isosceles | not isosceles
isosceles | The triangle is not isosceles
isosceles | scalene
isosceles | Either the triangle is isosceles
Kim | Tim
convergent | divergent
does not exist | The limit exists
does not exist | The left limit exists but the right one does not exist
The limit does not exist | The derivative does not exist
infinitely many | infinitely many pairs and one triple
infinitely many | finitely many
no solution | no solution but x = 1
no solution | 0
no solution | The first has no solution and the second has one
C | D - A linear function
ellipse | eclipse
the first player | the second player
C | D: A linear function
C | C or D
C | C and D
C | (C), (D)
C | Both C and D
C | A circle
C | (C) or (D)
14 | (C) 15
14 | \textbf{(C)}\ 15
14 | (C) or 14
(C)\ 14 | (D)\ 14
BCE | B, C
BCE | BC
BCE | B, C, D
BCE | B, C, E, E
A, C | A, B
BA | AC
C | (C) is wrong
C | C. is not correct; it is D
C | (C) cannot hold
C | C: ruled out
C | C. incorrect
C | C) is not the answer
C | C. The answer is D
C | C. We choose B
C | (C) linear, but (D) fits
(C) is wrong | C
AC | A, C
ACD | D, C, A
C | C. Hence D
C | C: no; D
Yes | Yes, which is wrong
C | (C) [wrong]
C | C (incorrect)
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(gold, pred):
    assert same_answer(gold, pred, same_value)
    assert same_answer(gold, gold, same_value)


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(gold, pred):
    assert not same_answer(gold, pred, same_value)
