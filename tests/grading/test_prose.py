r"""Answers in sentences, under headings and with what they are not: "It will be a Tuesday.", "### Final Answer", "15 (not 16)"."""

import pytest
from support.answer_pairs import both_ways

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.values.equality import same_value

EQUAL = r"""
\text{Friday} | It will be a Friday.
\text{Friday} | It is Friday.
\text{Friday} | It was a Friday
\text{Friday} | The day will be Friday
\text{Friday} | That day would be a Friday.
\text{Friday} | on Friday
\text{Friday} | On a Friday.
Friday | It falls on a Friday
\text{June} | in June
infinitely many solutions | The equation has infinitely many solutions
infinitely many solutions | There are infinitely many solutions.
infinitely many solutions | infinitely many
infinitely many solutions | The system has an infinite number of solutions
infinitely many solutions | infinitely many solutions exist
infinitely many | There are infinitely many solutions to the system
no solution | no solutions exist
Alice | Alice wins.
Alice | Alice wins the game
Alice | Alice has a winning strategy.
Alice | The winner is Alice
Alice | It is Alice.
9 | x = 9 is the only solution
9 | x = 9 is the only real solution.
9 | x = 9 is the unique solution
9 | The only solution is x = 9
9 | the unique solution is 9
9 | The unique real root is 9
9 | only x = 9
9 | x must be 9
9 | So x has to equal 9.
9 | The equation is satisfied only by x = 9
9 | The smallest such integer is 9
9 | Therefore, n must equal 9
9 | the answer must be 9
9 | We conclude that the answer is 9
9 | I get 9
9 | Hence the required sum equals 9.
9 | The final answer is therefore 9.
9 | My answer: 9
9 | Solution: 9
9 | => 9
9 | ### Final Answer\n9
9 | ## Answer\n\n9
9 | # Solution\n$$9$$
9 | **Final Answer**\n\n9
9 | **Answer:**\n9
9 | Final Answer:\n\n$9$
9 | ### Answer: 9
9 | ### Final Answer\n\n**9**
9 | ### **Final Answer:**\n\n\\[ 9 \\]
9 | Final answer\n\\boxed{9}
9 | ```\n9\n```
9 | ```latex\n9\n```
9 | ```text\n9\n```
9 | *9*
9 | __9__
9 | **9**.
9 | 9 (not 8)
9 | 9, not 8
9 | 9 (and not 8)
9 | 9, and not 8.
9 | 9 rather than 8
9 | 9 instead of 8
9 | 9 (rather than 8)
9 | $9$ (not $8$)
9 | x = 9, not 8
9 | 9 (not 8 or 7)
\frac{2}{3} | \frac{2}{3} \text{ (not } \frac{3}{2})
9 | 9th
9 | the 9th
9 | ninth
9 | 9^{\text{th}}
9 | 9-th
9 | it is the 9th
42 | 42 different ways to do this
42 | 42 ways to do it
42 | 42 ways of doing this
42 | There are 42 ways to arrange the letters.
42 | There are 42 different ways to arrange them.
42 | 42 possible ways to choose the committee
42 | 42 distinct arrangements of the letters
42 | 42 possibilities in total
42 | 42 ways for them to sit
42 | 42 solutions to the equation
42 | a total of 42 ways
isosceles | isosceles triangle
isosceles | an isosceles triangle
isosceles | It is an isosceles triangle.
isosceles triangle | The triangle is isosceles
\text{equilateral} | \text{equilateral triangle}
scalene | The triangle is a scalene triangle
even | even function
odd | an odd function
odd | It is an odd function
prime | a prime number
irrational | an irrational number
arithmetic | arithmetic sequence
independent | independent events
\pi | \pi \approx 3
\frac{2}{3} | \frac{2}{3} \approx 0.66
\frac{2}{3} | \frac{2}{3} \approx 0.67
100\pi | 100\pi (\approx 314)
\sqrt{2} | x = \sqrt{2} \approx 1.42
\sqrt{2}\text{ cm} | \sqrt{2}\text{ cm} \approx 1.41\text{ cm}
"""
DIFFERENT = r"""
\text{Friday} | It will be a Monday.
\text{Friday} | It will not be a Friday.
\text{Friday} | It will be a Friday or a Monday.
\text{Friday} | the day after Friday
\text{Friday} | before Friday
\text{Friday} | either Friday or Monday
infinitely many solutions | The system has no solutions
infinitely many solutions | The system has finitely many solutions
infinitely many solutions | The system does not have infinitely many solutions
infinitely many solutions | The system has exactly one solution
infinitely many solutions | infinitely many primes and no solutions
infinitely many | infinitely many solutions except zero
Alice | Bob wins
Alice | Bob has a winning strategy.
Alice | Alice does not win
Alice | Alice loses
Alice | Alice never wins
Alice | Alice wins only if Bob errs
Alice | Alice or Bob wins
9 | x = 9 is not a solution
9 | x = 9 is the only solution besides 3
9 | x = 9 is an extraneous solution
9 | x = 9 is not the only solution
9 | The only solution is not 9
9 | x must not be 9
9 | x must be less than 9
9 | ### Final Answer\n8
9 | ### Step 9\n8
9 | ### Final Answer\n9\n10
9 | ## Part 2\n8
9 | Final Answer: 8
9 | 9 (or 8)
9 | 9, or 8
9 | 9 or 8
9 | 8 (not 9)
9 | not 9
9 | not 8
9 | 9 (not 8 but 7)
9 | 9 (not)
9 | 9 (not necessarily)
9 | 9 (not sure)
9 | 9, but not 8
[1,9] | [1,9], not 8
9 | 9, 7, not 8
9 | - 9
9 | > 9
9 | 9 is not the answer
9 | 9 instead of the right answer 8
9 | not 8, 9 or 10
9 | rather than 9
9 | 9 and 8
9 | 9 (and 8)
9 | 8th
9 | 9st
9 | 9 th 8
9 | \frac{1}{9}th
42 | 42 pairs of ways to do this
42 | 42 ways to do this or 43
42 | 42 ways each to do this
42 | 42 ways fewer
42 | 42 minutes to midnight and more
42 | 42 to 43
42 | 42 goals to 43
42 | 42 more ways to do this
42 | 43 ways to do this
42 | 42 ways if order counts and 84 ways to do this otherwise
42 | at least 42 ways to do this
isosceles | scalene triangle
isosceles | not an isosceles triangle
isosceles | isosceles trapezoid
isosceles triangle | The trapezoid is isosceles
even function | even number
isosceles | isosceles or scalene triangle
isosceles | an isosceles right triangle
right | right angle
even | odd function
even | not an even function
odd | neither an odd function nor an even function
prime | not prime number
prime number | composite number
prime | prime factor
independent | dependent events
positive integer | positive number
Alice | The loser is Alice
Alice | The person who lost is Alice
Alice | The wrong one is Alice
\frac{1}{3} | \frac{1}{3} \approx 0.5
\frac{1}{3} | \frac{1}{3} \approx 0.33 \approx 0.5
\pi | \pi \approx 2
\sqrt{2} | \sqrt{2} \approx 3
\sqrt{2} | \sqrt{2} \approx 2
\sqrt{2} | \sqrt{2} (\approx 1.5)
\sqrt{2} | x = \sqrt{2} \approx 1.5
\sqrt{2}\text{ cm} | \sqrt{2}\text{ cm} \approx 3\text{ cm}
\sqrt{2} | \sqrt{2} \approx -1.41
"""


def pairs(table: str) -> list[list[str]]:
    return [
        [side.replace(r"\n", "\n").replace("\\\\", "\\") for side in line.split(" | ")]
        for line in table.strip().splitlines()
    ]


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_equal(gold, pred):
    assert same_answer(gold, pred, same_value) is True


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_different(gold, pred):
    assert True not in both_ways(gold, pred)
