"""The tokens of short expressions: numbers, signs, LaTeX commands, names of functions, and letters, each a variable of its own."""

import re

from deltal_openrlhf.grading.arithmetic import FUNCTIONS, Undecided

MAX_TEXT = 400

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d*|\.\d+|\d+)|(?P<command>\\[a-zA-Z]+)|(?P<word>[a-zA-Z]+)|(?P<sign>\*\*|[-+*/^!(){}\[\]|_']))"
)
_WORDS = {"sqrt", "pi", "log", *FUNCTIONS}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi",
    "Psi", "Omega", "ell", "hbar",
}  # fmt: skip


def tokens_of(text: str) -> list[str]:
    """At least one. Raises Undecided for an unknown character, a word that is no product of variables, and a text that is too long."""
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
        word = match["word"]
        if word and word not in _WORDS:
            if len(word) > 3:
                raise Undecided  # a word, not a product of variables
            tokens.extend(word)
        else:
            tokens.append(match[0].strip())
    if not tokens:
        raise Undecided
    return tokens
