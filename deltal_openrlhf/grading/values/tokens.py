"""The tokens of short expressions: numbers, signs, LaTeX commands, names of functions, and letters, each a variable of its own."""

import re

from deltal_openrlhf.grading.function_names import ELEMENTARY, OF_SEVERAL, SPELLINGS
from deltal_openrlhf.grading.values.arithmetic import Undecided

MAX_TEXT = 400

GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi",
    "Psi", "Omega", "ell", "hbar",
}  # fmt: skip
_WORDS = {"sqrt", "pi", "abs"} | ELEMENTARY | OF_SEVERAL
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d*|\.\d+|\d+)|\\text\{\s*(?P<named>[a-z]{2,7})\s*\}|(?P<command>\\[a-zA-Z]+|\\[{}])|(?P<word>[a-zA-Z]+)"
    r"|(?P<sign>\*\*|[-+*/^!(){}\[\]|_',]))"
)


def tokens_of(text: str) -> list[str]:
    """At least one; functions with a backslash. Raises Undecided for an unknown character, a word that is no product of variables, and
    a text that is too long."""
    if len(text) > MAX_TEXT:
        raise Undecided
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            if not text[position:].strip():
                break
            raise Undecided
        position = match.end()
        kind = match.lastgroup or ""
        token = match[kind]
        if kind in ("word", "named", "command"):
            name = token.lstrip("\\")
            if kind == "command" or len(name) > 3:  # tg may be a product
                name = SPELLINGS.get(name, name)
            if name in _WORDS:
                tokens.append(f"\\{name}")
            elif kind == "word":
                tokens.extend(_product(name))
            elif kind == "named":
                raise Undecided
            else:
                tokens.append(token)
        else:
            tokens.append(token)
    if not tokens:
        raise Undecided
    return tokens


def _product(word: str) -> list[str]:
    """The letters of xyz; lnx is a function and a letter."""
    for name in ("ln", "sin", "cos", "tan", "log"):
        if word.startswith(name) and len(word) == len(name) + 1:
            return [f"\\{name}", word[-1]]
    if len(word) > 3:
        raise Undecided  # a word, not a product of variables
    return list(word)
