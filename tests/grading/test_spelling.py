"""Sentences, typography and numerals: what is written in another way and what only looks like it."""

import pytest
from support.answer_pairs import pairs

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.reading.normalize import normalize
from deltal_openrlhf.grading.values.equality import same_value

EQUAL = r"""
37 | So, the final answer is: 37.
37 | The correct answer to this problem is $37$
37 | **Final Answer**: $37$
37 | **Answer:** **37**
37 | Ans. 37
37 | There are exactly 37
37 | a total of 37
37 | 37 in total
37 | It's 37.
37 | roughly 37
37 | ≈ 37
37 | $\approx$ 37
37 | \text{The sum is } 37
37 | The area of the triangle is 37
37 | Number of routes: 37
37 | 37 is the final answer
37 | 37, because 36 + 1 = 37
37 | 37. This is the largest one.
37 | \text{The answer is } \boxed{37}
37 | The remainder is equal to 37
37 | The sum of 30 and 7 is 37
37 | g(2) is 37
37 | \text{approximately } 37
37 | 37\text{ (approximately)}
37 | ### Answer: 37
37 | \begin{equation*}37\end{equation*}
37 | 37 (thirty-seven)
37 | positive 37
37 | I got 37
37 | n = 37, because 36 is too small
37 | ٣٧
37 | \\[37\\]
37 | \bf 37
37 | \mathcolor{red}{37}
C | Player C
5/2 | 2 and a half
\pi/7 | 𝜋/7
7\text{ m}^2 | 7㎡
C | C because the others are too small
2, 9 | The solutions are x = 2 and x = 9
C | The correct option is (C).
C | C is the correct answer.
rhombus | The answer is a rhombus
7 | 7元
7 | 一共7元。
7 | 答案是７
x=7 | x＝７
C | 故选：Ｃ
4,9 | 4、9
4,9 | 4和9
4,9 | ４，９
7/8 | ７／８
7/8 | ⅞
2/5 | 五分之二
25\% | 百分之25
40^\circ | 40度
40^\circ | 40º
7\text{ cm}^2 | 7平方厘米
-7 | 负7
C | 答案选C
7\text{ m}^3 | 7\,\text{立方米}
80 \text{ km/h} | 80千米/时
6 | 6种方法
70000 | 7万
(4,9) | （4，9）
\sqrt[3]{7} | ∛7
\sqrt{x+7} | √(x+7)
\theta | θ
\mathbb{Z} | ℤ
x^2 | 𝑥²
7/2 | 3½
80 | ₹80
80 | Rs. 80
80 | US\$80
e^7 | \mathrm{e}^7
e^7 | {\rm e}^7
2e | 2\mathrm e
2\pi i | 2\pi\mathrm{i}
1B7_{16} | \mathrm{1B7}_{16}
7 | \textcolor{red}{7}
7 | {\color{red} 7}
7 | \bm{7}
x=7 | x=\underline{7}
7 | \Large 7
7 | \hspace{2em}7\enspace
7 | 7\\
7 | \(7
7 | 7\)
2/7 | \nicefrac{2}{7}
\frac{2}{7} | $\\frac{2}{7}$
70\% | 70\\%
\begin{pmatrix}7\\2\end{pmatrix} | \\begin{pmatrix}7\\\\2\\end{pmatrix}
3, 6, \ldots, 3n | 3, 6, ..., 3n
13 | 13th
22 | twenty-second
22nd | the 22nd
47 | forty-seven
615 | Six hundred and fifteen
3020 | three thousand twenty
5/6 | five sixths
1/2 | a half
9/2 | four and a half
-8 | negative eight
-8 | minus 8
(-\infty, 7) | (-oo, 7)
6.1e23 | 6.1 x 10^23
5/9 | 0.\dot{5}
4/33 | 0.\dot1\dot2
5/6 | 0.8(3)
5/9 | 0.555...
4/33 | 0.121212…
7/12 | 0.58333...
37 | 37, because 40 - 3 = 37
37 | 37, since 37 = 36 + 1
37 | 37, which is the answer
37 | 37, which is our final answer.
37 | 37, so the answer is 37
37 | 37, because there are 6 rows of 6 and a corner
37 | 37, as required, not 36
37 | \sim 37
37 | The area of the square is 37
37 | The number of squares is 37
7人 | 7名
7 | 7名学生
7岁 | 7 years old
42 | 四十二
2024 | 二〇二四
7th | 7
7^{\text{th}} | seventh
37 | 37 is the correct answer to the question
37 | 37, because we add the two parts
C | C, because it is the largest
"""
DIFFERENT = r"""
37 | The answer is 38
37 | The answer is not 37
37 | The answer is either 37 or 38
37 | at least 37
37 | There are more than 37
37 | 37 is not the answer
37 | 37, not enough
37 | 37, so the answer is 38
37 | the square root of 37
37 | half of 37
37 | It is false that the sum is 37
37 | The difference between 37 and 30
37 | I think it is 38
37 | Ann is 36 and Bob is 37
37 | 37, which is less than the answer
37 | Question: 37
37 | n = 37, so the answer is 38
37 | 37 (thirty-eight)
C | C is not correct
C | The answer is C or D
rhombus | The answer is not a rhombus
7 | 8元
7 | 7万
7 | 7个半
76 | 7个6
7\text{ cm} | 7平方厘米
7\text{ cm} | 7米
C | 选D
C | 选CD
4,9 | 4和8
2/5 | 五分之三
红 | 蓝
7/8 | ⅝
\sqrt[3]{7} | √7
e^7 | \mathrm{e}7
7 | \textcolor{red}{8}
7 | \underline{8}
\frac{2}{7} | \\frac{7}{2}
3, 6, \ldots, 3n | 3, 6, 3n
13 | 13st
13 | thirty
3 | one third
3 | fourth
4 | four and a half
47 | forty-eight
0 | none
5/9 | 0.5
0.58 | 0.5(8)
12/100 | 0.1212...
2.7182818 | 2.7182819...
7 | 7...
37 | 37, which fails, so the answer must be 38
37 | 37, because the answer is not 37 but 38
37 | 37 because... no, 38
37 | 37. That was the first guess; the right value is seven.
37 | 37, because the answer is 38
37 | 37, which rounds to 40
37 | 37, since 40 - 2 = 38
37 | 37, because it is 37 or 38
37 | 37. Wait, it is thirty-eight
37 | 37, so x must be seven
37 | 37, which is too small, not the answer
37 | 37, as the correct value is larger
37 | 37. Actually the sum is larger
37 | 37, because maybe it is prime
C | C, because the answer is D
37 | The answer is 37, which is wrong
n = 37 | n = 37, which fails; n = 38
p | \sim p
37 | The opposite is 37
37 | The square is 37
37 | The square root is 37
37 | Its cube is 37
37 | The square root of the answer is 37
37 | The answer's square is 37
37 | twice the answer is 37
37 | The answer squared is 37
2^35 | 2^{3}5
7人 | 7天
7人 | 7只
7人 | 7小时
7人 | 7米
7人 | 7 days
7岁 | 7天
7个苹果 | 7个橘子
7名学生 | 7位老师
7元 | 7 dollars
42 | 四二
77 | 七七
3 seconds | third
three seconds | the third
1 second | the first
7 seconds | 7th
7\text{ cm} | 7^{\text{th}}
37 | 37. We drop this one
37 | 37 since the right answer, 38, is even
37 | 37 because 38
37 | 37, so double it
37 | 37, so we add it to itself
37 | 37, so the negative of that
37 | 37, so the answer is 38 after 37
37 | 37, because the answer is 38 since 75 - 38 = 37
C | C, so D
C | C because D
37 | 37, therefore x equals y
"""


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(gold, pred):
    assert same_answer(gold, pred, same_value)
    assert normalize(normalize(pred)) == normalize(pred)


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(gold, pred):
    assert not same_answer(gold, pred, same_value)
