"""Halves in words: 2 and a half hours, 2 hours and a half, half an hour, half a dozen."""

import re

_AND_A_HALF = re.compile(
    r"(\d{1,9}|an?) (?:and (?:a|one)[ -]half\b(?P<after>.{0,40})|(?P<unit>[a-z]{2,20}) and (?:a|one)[ -]half)"
)
_HALF_A = re.compile(r"(?:one[ -])?half (?:an? )?(?=[a-z]{2})")


def with_halves(text: str) -> str:
    r"""The text with 2\frac{1}{2} in place of "2 and a half"; any other text as it is."""
    if "half" not in text:
        return text
    match = _AND_A_HALF.fullmatch(text)
    if match:
        whole = match[1] if match[1].isdecimal() else "1"
        return rf"{whole}\frac{{1}}{{2}} {match['unit'] or match['after'].strip()}".strip()
    return (
        _HALF_A.sub(r"\\frac{1}{2} ", text, count=1) if text.startswith(("half ", "one half ", "one-half ")) else text
    )
