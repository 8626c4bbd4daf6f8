r"""Words, signs and bases behind a number: what leaves its value as it is, and what makes another one of it."""

import pytest
from support.answer_pairs import both_ways, pairs

EQUAL = r"""
7 years old | 7
7 years old | 7 years
35 \text{ combinations} | 35
350,000 leaves | 350000
12 different ways | 12
12 different ways | 12 ways
2,365,200 beats/lifetime | 2365200
72 beats per minute | 72
5 dollars per ticket | 5
5 dollars a day | 5 dollars per day
20 goldfish | 20
3 real solutions | 3
2 small red balls | 2
20 U.S. dollars | \$20
30 students per class | 30
5 people | 5
24 children | 24
6 boxes | 6
1 way | 1
3 times | 3
12 | 12 units
5 cups of flour | 5
12 dollars in total | 12
47.5 (pounds) | 47.5
60 | 5 dozen
60 | 5 dozen eggs
2500000 | 2.5 million
2500000 | 2.5 \text{ million dollars}
2.5 million dollars | 2,500,000 dollars
7000000000 | 7 billion
6000000000 | 6 bn
6000 | 6 grand
200000 | 2 hundred thousand
3 million people | 3000000
500000 | 5 lakh
6 | half a dozen
500000 | half a million
8000 | 8k
8000 | 8K
2500000 | 2.5M
7 percent | 7
7 percent | 7\%
62.5\% | 5/8
0.5 | 50 percent
25\% | \frac14
\$0.75 | 75 cents
\$5 | 5 dollars
\$5 | US\$5.00
\$1.5 million | 1.5 million dollars
€5 | 5 euros
£31.00 | 31
31 | 31 €
31 | AUD 31
25¢ | 25
3 dollars and 50 cents | \$3.50
\$32,\!348 | 32348
304_5 | 304
304_5 | (304)_5
304_5 | 304_{\text{five}}
304_5 | 304_{(5)}
\text{1A}_{16} | 1a_{16}
101_2 | 101 in binary
101_2 | 101 \text{ (base 2)}
101_2 | 101 \text{ in base } 2
0101_2 | 101
FF_{16} | (ff)_{16}
4:30 PM | 16:30
4:30 PM | 4:30 p.m.
4:30 | 4:30 PM
8:05 AM | 08:05
12:00 PM | 12 noon
12:15 AM | 0:15
noon | 12:00 PM
March 5 | 5 March
March 5 | the 5th of March
Mar. 5, 2021 | 5 March 2021
Friday, March 5 | March 5th, 2021
-101_2 | -101
10.11_2 | 10.11
\$15 per hour | 15 dollars per hour
\$15/hour | 15
$1/3$ | $1/3$.
$5/x$. | 5/x
HK\$7 | 7 HKD
₩7 | 7 won
7 | ₪7
7 | NT\$7
US\$7 | \$7
\texteuro 7 | 7 euros
"""
DIFFERENT = r"""
3 | 3 pairs
3 | 3 ordered pairs
3 | 3 pairs of shoes
3 | 3 couples
3 | 3 twins
3 | 3 score
3 | 3 dozen
3 dozen | 36 dozen
4 thousand | 4
4 thousand | 4 million
7 | 7 grand
7 | 7 billion
7 | 7 bn
1.5 | 1.5 million
1.5 \text{ million} | 1.5 \text{ billion}
5 | 5 hundred
5 | 5 tens
3 | 3 halves
3 | 3 quarters
4 | 4 fifths
3 | 3 tenths
2 | 2 and a half
5 | 5 wrong
5 | 5 incorrect
5 | 5 (wrong)
5 | 5 wrong answers
10 | 10 in base 2
11 | 11 in binary
11 | 11\text{ in binary}
2 | 10 in base 2
6 | 6 choose 2
6 | 6\text{ choose }2
5 | 5 more
5 | 5 more apples
5 | 5 apples more
5 | 5 less
5 | 5 less than x
5 | 5 fewer
5 | 5 extra
5 | 5 others
5 | 5 each
5 | 5 a
5 dollars a day | 5 dollars an hour
5 | 5 apples each
5 | 5 apiece
5 | 5 plus
5 | 5 minus
5 | 5 at least
5 | at least 5
5 | not 5
5 | \text{not }5
5 | 5 or 6
5 | 5\text{ or }6
5 | 5 or more
5 | 5\text{ but not }6
5 | 5 times x
5 | 5 times as many
3 | 3 squared
3 | 3\text{ squared}
3 | 3 cubed
2 | 2 out of 5
2 | 2\text{ out of }5
2 | two out of five
5 | 5 factorial
5 | 5 over 2
5 \text{ mod } 7 | 5
5 | 5 below zero
5 | 5 degrees below
5 years ago | 5 years
5 cm short | 5 cm
5 | 5 per hundred
5 | 5 per dozen
1 | 1 half
1 | 1 more
1 | 1 dozen
5 \text{ if } x>0 | 5
5 | 5k
5k | 5000k
5k | 5k+1000
1/2 | half a dozen
FF_{16} | FE_{16}
A_{16} | A
5 | 5 M
3 apples | 4 apples
3 apples | 3 oranges
3 apples | 3 kg
3 real solutions | 3 complex solutions
2 red balls | 2 blue balls
3 prime | 3
3 red pairs | 3
5\% | 0.5
25\% | 2.5
25\% | 0.25\%
0.65 | 65 cents
75 dollars | 75 cents
\$5 | 5 cents
\$5 | €5
£5 | €5
\$5 | 5 million dollars
304_5 | 304_6
304_5 | 340_5
13 | 1101_2
1101 | 1011_2
101 | 101 in base 3
A_1 | A
5_m | 5
4:30 PM | 4:30 AM
4:30 PM | 17:30
16:30 | 4:30
12:00 AM | 12:00 PM
11:00 | 1:00
4 PM | 5
noon | 12:00 AM
March 5 | March 15
March 5 | May 5
March 5, 2021 | March 5, 2020
May 5 | 5
-101_2 | 101
10.11_2 | 101.1
\$15 per hour | 15 euros per hour
7 | 7 trillionths
7 | 7 factorials
7 | 7 trios
7 | 7 googols
7 | 7 quintuplets
7 | 7 orders of magnitude
7 | 7 milliards
7 | 7 logarithms
\$7 | HK\$7
HK\$7 | NT\$7
\$7 | ₩7
\$7 | 7₽
€7 | ₪7
€7 | \yen 7
€7 or €8 | ₪7 or ₪8
\$7 + \$2 | HK\$7 + HK\$2
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(gold, pred):
    assert both_ways(gold, pred) == [True, True]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(gold, pred):
    assert both_ways(gold, pred) == [False, False]
