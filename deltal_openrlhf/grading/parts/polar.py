r"""Polar notations: 2 \operatorname{cis} 90^\circ, and (2, \frac{\pi}{3}) "in polar form", which is (r, \theta)."""

import re

_CIS = re.compile(
    r"(?:\\text\s?\{\s?cis\s?\}|\\cis(?![a-z])|(?<![a-zA-Z\\])cis(?![a-z]))\s?"
    r"(\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}|-?(?:\\frac\s?(?:\{[^{}]*\}\s?\{[^{}]*\}|\d\d)|\d*\.?\d*\s?\\(?:pi|theta|phi|alpha)(?![a-z])(?:/\d+)?|[\d.]+)"
    r"\s?(?:\^\\circ)?)"
)
_COORDINATES = {"polar": r"(r,\theta)", "cylindrical": r"(r,\theta,z)", "spherical": r"(\rho,\theta,\phi)"}
_NAMED = re.compile(
    r"\s?,?\s?(?:\\text\s?\{\s?)?\(?\s?(?<![a-z])in\s(polar|cylindrical|spherical)\s(?:coordinates?|form)\s?\)?\s?\}?\s?\)?$"
)


def without_cis(text: str) -> str:
    return _CIS.sub(_as_cosine_and_sine, text) if "cis" in text else text


def _as_cosine_and_sine(match: re.Match[str]) -> str:
    angle = match[1].strip()
    angle = angle if angle[0] in "({" else f"({angle})"
    angle = f"({angle[1:-1]})"
    return rf"(\cos{angle}+i\sin{angle})"


def with_named_coordinates(text: str) -> str:
    named = _NAMED.search(text)
    if not named:
        return text
    rest = text[: named.start()].strip()
    names = _COORDINATES[named[1]]
    if rest.startswith("(") and rest.endswith(")") and rest.count(",") == names.count(","):
        return f"{names} = {rest}"
    return rest if rest.replace(" ", "").startswith(names) else text
