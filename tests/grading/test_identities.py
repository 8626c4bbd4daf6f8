r"""Near-identities and identities, by hand: what differs only for one parity, sign or regime, or in the 40th digit, is not equal."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deltal_openrlhf.grading.reading.normalize import normalize
from deltal_openrlhf.grading.values.equality import constant_ratio, same_value

DIFFERENT = r"""
(-1)^n | 1
(-1)^n | -1
(-1)^{n+1} | (-1)^n
(-1)^{n(n+1)/2} | (-1)^n
(-1)^{3n} | 1
1+(-1)^n | 0
\frac{1-(-1)^n}{2} | 1
(-3)^n | 3^n
(-3)^n | -3^n
(-x)^n | x^n
\cos(n\pi) | (-1)^{n+1}
i^n | 1
(-1)^{\lfloor n/2 \rfloor} | 1
(-1)^{\lfloor n/2 \rfloor} | (-1)^n
|x| | x
|x^2-5| | x^2-5
|x^3| | x^3
|x-1000000| | 1000000-x
|x-y| | x-y
\sqrt{x^2} | x
\sqrt{(x-3000)^2} | 3000-x
\sqrt{x^4-2x^2+1} | x^2-1
\sqrt[4]{x^4} | x
\frac{x}{|x|} | 1
|x+y| | |x|+|y|
\max(x,y) | x
\max(a,b) | \frac{a+b}{2}
\min(x,0) | 0
\max(x,1000) | x
\max(x,1000) | \max(|x|,1000)
\max(x,\sqrt{2}) | x
|V|^{2016} | |V|^{2066}
\lfloor \frac{\lfloor |n|/100 \rfloor}{4} \rfloor | \lfloor \frac{\lfloor (|n|+1)/100 \rfloor}{4} \rfloor
|\sin x| | \sin x
\lfloor n/3 \rfloor | \lfloor (n-1)/3 \rfloor
\lfloor n/100 \rfloor | \lfloor (n+1)/100 \rfloor
\lfloor x \rfloor | x
\lceil x \rceil | \lfloor x \rfloor + 1
\lfloor x+y \rfloor | \lfloor x \rfloor + \lfloor y \rfloor
\lfloor 2x \rfloor | 2\lfloor x \rfloor
\lfloor x + 10^{-4} \rfloor | \lfloor x \rfloor
\lfloor n/2 \rfloor + \lfloor n/3 \rfloor | \lfloor 5n/6 \rfloor
\lfloor \sqrt{n} \rfloor | \sqrt{n}
\gcd(a,b) | 1
\gcd(n,1009) | 1
\gcd(n,2) | 1
\gcd(a,b) | \gcd(a,2b)
\text{lcm}(a,b) | ab
\gcd(n,n+2) | 1
\gcd(n^2,n) | n^2
n! | n
\binom{n}{2} | \frac{n^2}{2}
\binom{n}{k} | \binom{n-1}{k-1}
\frac{(2n)!}{n!} | 2^n
(n!)^2 | (2n)!
n! | n^n
\cos x | 1
\sin x | x
\cos 2\pi x | 1
\sin(x/10^6) | x/10^6
\sin x | \cos x
\cos x | \cos(x+2)
\tan x | \frac{x}{\cos x}
\arcsin(\sin x) | x
\arctan x+\arctan\frac{1}{x} | \frac{\pi}{2}
\sin(x^2) | \sin^2 x
e^{x} | 1+x+\frac{x^2}{2}
e^{-1000}+1 | 1
e^{x+y} | e^x+e^y
\ln(x+y) | \ln x+\ln y
\ln(xy) | \ln x \cdot \ln y
\sqrt{x+y} | \sqrt{x}+\sqrt{y}
\sqrt{10^{40}+1} | 10^{20}
\sqrt{10^{200}+1} | 10^{100}
\sqrt{2}+\sqrt{3} | \frac{3146264369941973}{10^{15}}
\sqrt{2} | \frac{665857}{470832}
e^{\pi\sqrt{163}} | 262537412640768744
e^{\pi}-\pi | 20
\pi | \frac{103993}{33102}
\sqrt{\frac{40}{3}-2\sqrt{3}} | \pi
\sin(355) | 0
\cos(\frac{355}{226}) | 0
\ln(1+10^{-50}) | 10^{-50}
10^{-300} | 10^{-301}
1-3^{-200} | 1
2^{1000}+1 | 2^{1000}
7^{5000} | 49^{2501}
3^{100000}+2 | 3^{100000}
100! | 100!+1
\frac{1}{3000!} | \frac{1}{3001!}
x^{1000}+10^{-30} | x^{1000}
x+10^{-50} | x
x^2+2x+1 | (x+1)^2+10^{-60}
\frac{x^{64}-1}{x-1} | x^{63}
x^{2305843009213693951} | x
(x+y)^3 | x^3+y^3
\frac{a}{b+c} | \frac{a}{b}+\frac{a}{c}
1/3 | 0.333334
1/3 | 0.3333334
2/3 | 0.666665
\sqrt{2} | 1.4142
\sqrt{2} | 1.414212
1/2 | 0.500001
\frac{2}{2} | 0.999999999
1/8 | 0.1250001
\tan^{-1} 2 | \frac{1}{\tan 2}
\log_2 x | \log_3 x
[x] | x+2
[\frac{7}{2}] | 2
f(2) | f(3)
C_1 | C_2
e^{ix} | \cos x-i\sin x
\sqrt{-4} | 2
(-8)^{1/3} | 2
0^n+1 | 2
\log x | \ln x
\log e | 1
\log 100 | 4.6051702
x\log x | x\ln x
n!! | (n!)!
(2n)!! | (2n)!
3!! | 720
3!! | 6
\lfloor x \rfloor!! | \lfloor x \rfloor!
|(13x-7001)(13x-7002)(x^2+1)| | (13x-7001)(13x-7002)(x^2+1)
|x-10^5\sqrt{2}| | 10^5\sqrt{2}-x
"""
EQUAL = r"""
(-1)^{2n} | 1
(-1)^{n+2} | (-1)^n
(-1)^{n(n+1)} | 1
(-1)^{-n} | (-1)^n
(-2)^n | (-1)^n \cdot 2^n
(-1)^n \cdot (-1)^m | (-1)^{n+m}
\cos n\pi | (-1)^n
i^{4n} | 1
\frac{1+(-1)^n}{2}+\frac{1-(-1)^n}{2} | 1
2^{n+1} | 2 \cdot 2^n
4^n | 2^{2n}
\frac{6^n}{2^n} | 3^n
x^{n+2} | x^2 x^n
(ab)^n | a^n b^n
2^n-1 | 2\cdot 2^{n-1}-1
|x-5| | |5-x|
|x|^2 | x^2
|xy| | |x||y|
\sqrt{x^2} | |x|
\sqrt{x^2-6x+9} | |x-3|
|x^2+1| | x^2+1
\sqrt[3]{x^3} | x
\max(a,b) | \max\{b,a\}
\max(a,b)+\min(a,b) | a+b
\max(x,-x) | |x|
\max(a,b) | \frac{a+b+|a-b|}{2}
\min(x,y) | -\max(-x,-y)
\frac{|x|}{x} | \frac{x}{|x|}
\lfloor x+1 \rfloor | \lfloor x \rfloor+1
\lceil x \rceil | -\lfloor -x \rfloor
\lceil n/2 \rceil | \lfloor \frac{n+1}{2} \rfloor
\lfloor n/2 \rfloor + \lceil n/2 \rceil | n
\lfloor x \rfloor + \lfloor x+\frac{1}{2} \rfloor | \lfloor 2x \rfloor
\lfloor \log_2 8 \rfloor | 3
(-1)^{\lfloor x \rfloor} | (-1)^{\lfloor x \rfloor + 2}
\gcd(m,n) | \gcd(n,m)
\gcd(a,b)\cdot\text{lcm}(a,b) | |ab|
\gcd(n,n+1) | 1
\gcd(2a,2b) | 2\gcd(a,b)
\gcd(12,18) | 6
\operatorname{lcm}(4,6) | 12
\binom{n}{2} | \frac{n(n-1)}{2}
\binom{n}{k} | \binom{n}{n-k}
\binom{n}{k} | \frac{n!}{k!(n-k)!}
\frac{(n+1)!}{n!} | n+1
\binom{2n}{n} | \frac{(2n)!}{(n!)^2}
n \cdot (n-1)! | n!
\sin^2 x+\cos^2 x | 1
\sin 2x | 2\sin x\cos x
\cos 2x | 1-2\sin^2 x
\tan x | \frac{\sin x}{\cos x}
1+\tan^2\theta | \sec^2\theta
\sin(a+b) | \sin a\cos b+\cos a\sin b
\cos 3x | 4\cos^3 x-3\cos x
\sin(\pi-x) | \sin x
\tan \frac{\pi}{12} | 2-\sqrt{3}
\tan^{-1} 1 | \frac{\pi}{4}
\arcsin x+\arccos x | \frac{\pi}{2}
\cos\frac{\pi}{5} | \frac{1+\sqrt{5}}{4}
\sin \frac{\pi}{10} | \frac{\sqrt{5}-1}{4}
\arccos(\frac{\sqrt{2}}{2}\cdot\sqrt{2}) | 0
\cosh^2 x-\sinh^2 x | 1
\operatorname{sech}^2 x | 1-\tanh^2 x
\operatorname{arcsinh} x | \ln(x+\sqrt{x^2+1})
\sinh^{-1} x | \operatorname{arsinh} x
\tanh x | \frac{e^{2x}-1}{e^{2x}+1}
e^{x+y} | e^x e^y
e^{-x} | \frac{1}{e^x}
\exp(2x) | e^{2x}
\exp{a*t} | e^{at}
(e^x)^2 | e^{2x}
e^{\ln 5} | 5
e^{x\ln 2} | 2^x
e^{i\pi} | -1
e^{ix} | \cos x+i\sin x
(1+i)^2 | 2i
\ln(xy) | \ln x+\ln y
\ln(x^3) | 3\ln x
\ln\frac{a}{b} | \ln a-\ln b
\ln(x^2) | 2\ln x
\ln(x^2-1) | \ln((x-1)(x+1))
\log_2 x | \frac{\ln x}{\ln 2}
\log_e 2 | \ln 2
\log_{10} 1000 | 3
\log_{4} x | \frac{1}{2}\log_2 x
\sqrt{x}\sqrt{y} | \sqrt{xy}
\sqrt{x^3} | x\sqrt{x}
x^{-1/2} | \frac{1}{\sqrt{x}}
x^{3/4} | \sqrt[4]{x^3}
(\sqrt{x}-\sqrt{y})(\sqrt{x}+\sqrt{y}) | x-y
\sqrt{3+2\sqrt{2}} | 1+\sqrt{2}
\sqrt[3]{2+\sqrt{5}} | \frac{1+\sqrt{5}}{2}
\frac{1}{\sqrt{5}-2} | 2+\sqrt{5}
\sqrt{10^{40}} | 10^{20}
\sqrt{2}\sqrt{3}-\sqrt{6} | 0
\frac{10^{100}+10^{50}}{10^{50}} | 10^{50}+1
7^{5000} | 49^{2500}
3^{100000}\cdot 3 | 3^{100001}
(x+1)^{1000}(x+1) | (x+1)^{1001}
\frac{2005!}{2004!} | 2005
x^{10^{12}}\cdot x | x^{10^{12}+1}
(a+b)(a-b) | a^2-b^2
\frac{x^2-1}{x-1} | x+1
\frac{1}{x}+\frac{1}{y} | \frac{x+y}{xy}
\frac{x+\sin y}{z} | \frac{\sin y}{z}+\frac{x}{z}
2f(x+1) | f(1+x)\cdot 2
[x+1] | [1+x]
[x+1]^2 | (x+1)^2
[a(b+c)]d | abd+acd
[3] | 3
a_1+a_2 | a_2+a_1
1/3 | 0.3333333
2/3 | 0.666667
2/3 | 0.666666
\sqrt{2} | 1.414214
\sqrt{2} | 1.414213
\frac{1}{2} | 0.500000
\sqrt{10} | 3.16227766
\log 100 | 2
\log x | \log_{10} x
\log 2 | 0.301030
\log 8 | 3\log 2
\frac{\log x}{\log 2} | \log_2 x
\frac{\log x}{\log e} | \ln x
5!! | 15
6!! | 48
0!! | 1
(2n)!! | 2^n n!
(2n-1)!! | \frac{(2n)!}{2^n n!}
n!!(n-1)!! | n!
|x^4-1| | |x^2-1|(x^2+1)
\sqrt{1-\sin^2 x} | |\cos x|
\sqrt{x+2\sqrt{x}+1} | \sqrt{x}+1
\sqrt{(13x-7001)(13x-7002)} | \sqrt{13x-7001}\sqrt{13x-7002}
\sqrt{x^2+2+\frac{1}{x^2}} | |x+\frac{1}{x}|
\max(a,b) | \frac{a+b+|a-b|}{2}
|x-\pi| | |\pi-x|
\gcd(a,b)\operatorname{lcm}(a,b) | |ab|
\gcd(n,n+1) | 1
"""
UNDECIDED = r"""
1/2x | \frac{1}{2x}
\sin x/2 | \frac{\sin x}{2}
f(2) | 2f
P(2) | 2P
\sum_{k=1}^{n} k | \frac{n(n+1)}{2}
\sec^{-1} x | \cos x
f^{-1}(x) | \frac{x}{f}
[x] | x
[\frac{n}{2}] | \lfloor n/2 \rfloor
\lfloor \frac{\gcd(a,b)}{1000} \rfloor | 0
\sqrt{x+10} | \sqrt{|x+10|}
\ln|x| | \ln x
3!!! | 3
600!! | 2
|x^5-10^{60}| | 10^{60}-x^5
\max(x^5-10^{60},0) | 0
\min(x^5,10^{60}) | x^5
\sqrt{(x^5-10^{60})^2} | 10^{60}-x^5
((x^5-10^{60})^2)^{1/2} | 10^{60}-x^5
|x-10^{13}| | 10^{13}-x
|x-e^{30}| | e^{30}-x
|\ln x-50| | 50-\ln x
|e^x-10^{30}| | 10^{30}-e^x
|\sqrt{x}-10^4| | 10^4-\sqrt{x}
|\sin\frac{x}{10^7}| | \frac{x}{|x|}\sin\frac{x}{10^7}
\lfloor \frac{x}{10^{30}} \rfloor+\lceil \frac{x}{10^{30}} \rceil | \frac{x}{|x|}
\gcd(2^n+1,101) | 1
\gcd(n^5-5,(n+1)^5-5) | 1
"""


def pairs(table: str) -> list[tuple[str, str]]:
    return [tuple(map(normalize, line.split(" | "))) for line in table.strip().splitlines()]  # type: ignore[misc]


@pytest.mark.parametrize(("gold", "pred"), pairs(DIFFERENT))
def test_near_identities_are_different(gold, pred):
    assert same_value(gold, pred) is same_value(pred, gold) is False


@pytest.mark.parametrize(("gold", "pred"), pairs(EQUAL))
def test_identities_are_equal(gold, pred):
    assert same_value(gold, pred) is same_value(pred, gold) is True


@pytest.mark.parametrize(("gold", "pred"), pairs(UNDECIDED))
def test_what_may_be_read_in_two_ways_is_left_to_others(gold, pred):
    assert same_value(gold, pred) is same_value(pred, gold) is None


def test_the_verdict_is_the_same_in_every_process():
    table = pairs(DIFFERENT)[::8] + pairs(EQUAL)[::8]
    code = f"from deltal_openrlhf.grading.values.equality import same_value\nprint([same_value(*pair) for pair in {table!r}])"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
        assert run.stdout.strip() == str([same_value(*pair) for pair in table]), run.stderr


def test_threads_do_not_share_a_precision():
    table = [(pair, False) for pair in pairs(DIFFERENT)] + [(pair, True) for pair in pairs(EQUAL)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda row: same_value(*row[0]), table * 2))
    assert verdicts == [verdict for _, verdict in table * 2]


@pytest.mark.parametrize(
    ("gold", "pred", "ratio"),
    [
        ("(y)-(2x+1)", "(2y)-(4x+2)", 0.5),
        ("(y)-((-1)^n)", "(y)-(1)", 0),
        ("(y)-(|x|)", "(y)-(x)", 0),
        (r"(x)-(\sqrt{2}y)", r"(\sqrt{2}x)-(2y)", 0.5**0.5),
        (r"(y)-(\sin^2 x)", r"(2y)-(2-2\cos^2 x)", 0.5),
        (r"(y)-(\lfloor x/2 \rfloor)", r"(y)-(\lfloor x/3 \rfloor)", 0),
        ("(x)-(y)", "(x)-(z)", 0),
        (r"\cos(\max(0,k))", r"\cos(\max(0,k))+0", 1),
        ("(x)-(1)", "(10^{400}x)-(10^{400})", None),
        ("(10^{400}x)-(10^{400})", "(x)-(1)", None),
        (r"(y)-(\arcsin(x+2^k))", r"(2y)-(2\arcsin(x+2^k))", 0.5),
        ("(x)-(1)", "(2)-(2)", None),
    ],
)
def test_ratios_are_identities_too(gold, pred, ratio):
    found = constant_ratio(normalize(gold), normalize(pred))
    assert found == pytest.approx(ratio) if ratio else found == ratio


@pytest.mark.parametrize("seed", range(30))
def test_prime_and_point_do_not_hide_a_difference(seed):
    """Random polynomials and their copies with one coefficient changed, against the coefficients themselves."""
    draw = random.Random(seed)
    roots = [draw.randint(-9, 9) for _ in range(4)]
    coefficients = [1]
    for root in roots:  # times (x - root)
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    factored = "".join(f"(x-({root}))" for root in roots)
    expanded = "+".join(f"({c})x^{4 - i}" for i, c in enumerate(coefficients))
    assert same_value(factored, expanded) is True
    position = draw.randrange(5)
    coefficients[position] += draw.choice((1, -1))
    changed = "+".join(f"({c})x^{4 - i}" for i, c in enumerate(coefficients))
    assert same_value(factored, changed) is False


def test_every_pair_takes_milliseconds():
    table = pairs(DIFFERENT) + pairs(EQUAL)
    start = time.process_time()
    for gold, pred in table:
        same_value(gold + " ", pred)  # not one that is remembered
    assert time.process_time() - start < 0.02 * len(table)
