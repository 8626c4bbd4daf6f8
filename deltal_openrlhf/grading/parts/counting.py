r"""Binomials and arrangements as schools write them: C_{10}^{3}, ^{10}C_3, 10C3, C(10, 3), {10 \choose 3}, A_{10}^{3}, P_{10}^{3}."""

import re

_LETTER = r"(?P<letter>[CPA])"
_N, _K = r"(?P<n>\{[^{}]{1,20}\}|\w)", r"(?P<k>\{[^{}]{1,20}\}|\w)"
_FORMS = (
    re.compile(rf"(?<![a-zA-Z\\]){_LETTER}\s?_\s?{_N}\s?\^\s?{_K}"),
    re.compile(rf"(?<![a-zA-Z\\]){_LETTER}\s?\^\s?{_K}\s?_\s?{_N}"),
    re.compile(rf"(?<![\w}})\]])[\^_]\s?{_N}\s?{_LETTER}\s?_\s?{_K}"),
    re.compile(r"(?<![\w.])(?P<n>\d{1,4})\s?(?P<letter>C)\s?(?P<k>\d{1,4})(?![\w.])"),
)
_FEWEST_ARRANGED = 4
"""A_3^2 is the square of A_3."""
_UPRIGHT = re.compile(r"\\text\s?\{\s?([CPA])\s?\}(?=\s?[_^])")
_CALL = re.compile(r"(?<![a-zA-Z\\])(?P<letter>C)\s?\(\s?(?P<n>\d{1,4})\s?,\s?(?P<k>\d{1,4})\s?\)")
_CHOOSE = re.compile(r"(?:\{|^)\s?([^{}\\]{1,20}?)\s?\\choose(?![a-z])\s?([^{}\\]{1,20}?)\s?(?:\}|$)")


def with_binomials(text: str) -> str:
    if r"\choose" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    if "C" in text or "P" in text or "A" in text:
        text = _UPRIGHT.sub(r"\1", text)
        for form in _FORMS:
            text = form.sub(_counted, text)
    return text


def with_called_binomials(text: str) -> str:
    r"""C(10, 3) as \binom{10}{3}. It may be a point of that name, too."""
    return _CALL.sub(_counted, text) if "C" in text else text


def _counted(match: re.Match[str]) -> str:
    r"""\binom{n}{k} or n!/(n-k)!; what was written, where it is a name with an index and a power."""
    n, k = (match[name].strip("{} ") for name in "nk")
    if n.isdecimal() and k.isdecimal():
        is_indexed = match.start("letter") == match.start()
        if int(k) > int(n) or (match["letter"] != "C" and is_indexed and int(n) < _FEWEST_ARRANGED):
            return match[0]
        return rf"\binom{{{n}}}{{{k}}}" if match["letter"] == "C" else rf"\frac{{{n}!}}{{{int(n) - int(k)}!}}"
    return rf"\binom{{{n}}}{{{k}}}" if match["letter"] == "C" else match[0]
