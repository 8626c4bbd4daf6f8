r"""Formulas of propositional logic, compared by their truth tables: p \to q is \lnot p \lor q. The connectives \land and \lor differ."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from deltal_openrlhf.grading.reading.text import TEXT

_CONNECTIVE = re.compile(
    r"\\(?:wedge|vee|land|lor|neg|lnot|(?:long)?(?:left)?rightarrow|(?:Long)?(?:Left)?[Rr]ightarrow|implies|iff|oplus|veebar)(?![a-zA-Z])|¬"
)
_TOKEN = re.compile(
    rf"\s*(?:(?P<connective>{_CONNECTIVE.pattern})|(?P<negation>\\sim(?![a-z])|~)|(?P<bar>\\(?:overline|bar)\s?\{{)"
    r"|(?P<word>and|or|not|implies|iff|xor)(?![a-zA-Z])"
    r"|(?P<letter>[a-zA-Z](?:_\w|_\{\w{1,3}\})?'{0,3}(?:\([a-z](?:,\s?[a-z])?\))?)(?![a-zA-Z_'(])|(?P<bracket>[()\[\]{}]))\s*"
)
_MEANINGS = {
    r"\wedge": "and", r"\land": "and", r"\vee": "or", r"\lor": "or", r"\neg": "not", r"\lnot": "not", "¬": "not", r"\implies": "implies",
    r"\iff": "iff", r"\oplus": "xor", r"\veebar": "xor",
}  # fmt: skip
_LEVELS = (("iff",), ("implies",), ("or", "xor"), ("and",))
"""Of binary connectives, the weakest first."""
_MOST_LETTERS = 5
_MOST_TOKENS = 60
_WORDS = {"and", "or", "not", "implies", "iff", "xor", "bar"}
_RELATION = re.compile(r"[=<>\d]|\\(?:le|ge|ne|in|equiv)(?![a-z])")
_CLOSING = {"(": ")", "[": "]", "{": "}", "bar": "}"}
_Formula = Any
"""A letter, or (connective, formula, ...)."""


class _NoFormula(Exception):
    pass


def same_formula(gold: str, pred: str) -> bool | None:
    """Whether two formulas are true together; None where no connective says that either is a formula, or where only one can be read."""
    if not (_CONNECTIVE.search(gold) or _CONNECTIVE.search(pred)):
        return None
    try:
        formulas = _Parser(gold).formula(), _Parser(pred).formula()
    except _NoFormula:
        signs = [sorted(_MEANINGS.get(sign, sign) for sign in _CONNECTIVE.findall(text)) for text in (gold, pred)]
        # x = 1 \lor x = 2 is a list
        return False if all(signs) and signs[0] != signs[1] and not _RELATION.search(gold + pred) else None
    letters = sorted(set().union(*map(_letters, formulas)))
    if len(letters) > _MOST_LETTERS:
        return formulas[0] == formulas[1]
    rows = (dict(zip(letters, values, strict=True)) for values in product((False, True), repeat=len(letters)))
    return all(_truth(formulas[0], row) == _truth(formulas[1], row) for row in rows)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.position = 0

    def formula(self) -> _Formula:
        whole = self._binary(0)
        if self.position < len(self.tokens):
            raise _NoFormula
        return whole

    def _peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _binary(self, level: int) -> _Formula:
        if level == len(_LEVELS):
            return self._negated()
        found = self._binary(level + 1)
        connective = self._peek()
        if connective not in _LEVELS[level]:
            return found
        while self._peek() == connective:
            self.position += 1
            found = (connective, found, self._binary(level + 1))
            if connective == "implies" and self._peek() == connective:
                raise _NoFormula  # p \to q \to r
        if self._peek() in _LEVELS[level]:
            raise _NoFormula  # p \lor q \oplus r
        return found

    def _negated(self) -> _Formula:
        token = self._peek()
        self.position += 1
        if token == "not":
            return "not", self._negated()
        if token in _CLOSING:
            inside = self._binary(0)
            if self._peek() != _CLOSING[token]:
                raise _NoFormula
            self.position += 1
            return ("not", inside) if token == "bar" else inside
        if not token[:1].isalpha() or token in _WORDS:
            raise _NoFormula
        return token


def _tokens(text: str) -> list[str]:
    text = TEXT.sub(r" \1 ", text)
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(tokens) >= _MOST_TOKENS:
            raise _NoFormula
        position = match.end()
        sign = match["connective"]
        if sign:
            arrow = "iff" if "eft" in sign else "implies"
            tokens.append(_MEANINGS.get(sign, arrow))
        elif match["negation"] or match["bar"]:
            tokens.append("not" if match["negation"] else "bar")
        else:
            tokens.append(match["word"] or match["letter"] or match["bracket"])
    return tokens


def _letters(formula: _Formula) -> set[str]:
    return {formula} if isinstance(formula, str) else set().union(*map(_letters, formula[1:]))


def _truth(formula: _Formula, values: Mapping[str, bool]) -> bool:
    if isinstance(formula, str):
        return values[formula]
    connective, *parts = formula
    truths = [_truth(part, values) for part in parts]
    match connective:
        case "not":
            return not truths[0]
        case "and":
            return all(truths)
        case "or":
            return any(truths)
        case "implies":
            return not truths[0] or truths[1]
        case _:
            return (truths[0] == truths[1]) == (connective == "iff")
