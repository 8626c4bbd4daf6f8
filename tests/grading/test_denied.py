"""Words that take a value back, leave it open or make another one of it, in front of it and behind it, in English and in Chinese."""

import pytest
from support.answer_pairs import both_ways, pairs

DIFFERENT = r"""
0 | not 0
0 | isn't 0
0 | nor 0
0 | 0 if n is odd
000 | 000 if x is odd
0.0 | 0.0 if x is odd
7 | 7 + 00 odd
0 | 0t
0, 4 | not 0, 4
8 | anything but x = 8
8 | everything except n = 8
8 | it could be x = 8
2, 9 | anything but $x = 2, 9$
2, 9 | x isn't 2, 9
x = 2, 9 | never x = 2, 9
\{2, 9\} | maybe \{2, 9\}
(2, 9] | surely not (2, 9]
8 | almost 8
8 | nearly 8
8 | about 8 or 9
8 | a little under 8
B | (B) if n is odd
E and F | E or F
EF | E or F
G, H | either G or H
B | B unless n is odd
\det(A) > 0 | \det(A) > 0 if n is odd
6 | 不是6
6 | 6的一半
6 | 6分之一
6 | 除了6
6 | 可能是6
无解 | 有解
无解 | 0
"""
EQUAL = r"""
8 | about 8
8 | the sum of all digits is 8
8 | the number of ways = 8
21 | He has 21 stamps left.
B | [B]
E or F | F or E
E \text{ or } F | E or F
8% | 百分之八
[B] | (B)
-7 | 负七
-\frac{3}{4} | 负四分之三
\frac{1}{2} | 一半
no solution | 无解
\emptyset | 方程无解
does not exist | 不存在
406 | 四百零六
52000 | 五万二千
130000000 | 一亿三千万
2.05 | 二点零五
19 | 答案是十九。
"""
NO_NUMERALS = "四百六 五万二 五二 十百 百十 二十百 亿三千万 三百千 一万二亿".split()
"""Of 四百六, 460 and 406 are both read."""


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_another_value(gold, pred):
    assert True not in both_ways(gold, pred)


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_the_same_value(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize("text", NO_NUMERALS)
def test_what_is_no_numeral_equals_no_number(text):
    numbers = (406, 460, 52, 520, 50_002, 52_000, 1000, 110, 2000, 130_000_000, 1300, 300_000, 100_000_000 + 30_000_000)
    assert not any(True in both_ways(str(number), text) for number in numbers)
