r"""What an answer says about its letters: x = k\pi, k \in \mathbb{Z}; f(x) = x^2 for all real x; \{3k \mid k \in \mathbb{Z}\}."""

import re
from itertools import pairwise
from typing import NamedTuple

from deltal_openrlhf.grading.parts.congruences import as_family
from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.parts.structure import AND, braced_set, group, split_at
from deltal_openrlhf.grading.reading.text import in_one_line

_TAIL = 90
"""Length of the end of an answer in which a clause about its letters is looked for, in characters."""
_HINT = re.compile(
    r"\\(?:in|ldots|forall)(?![a-z])|integer|real|rational|number|constant|parameter|for (?:all|any|every|each) "
)
_LETTERS = r"[a-zA-Z](?:\s?,\s?[a-zA-Z])*"
_SIGN = r"(?:\\mathbb\{)?(?P<sign>[ZNQRC])\}?(?P<part>(?:[_^]\{?\s?(?:\+|-|\*|>\s?0|\\ge\s?0)\s?\}?)?)"
_WORDS = (
    r"(?:(?:positive|negative|non-?negative|non-?zero|whole|natural|rational|real|complex|arbitrary)\s){0,2}"
    r"(?:integers?|numbers?|constants?|parameters?|reals?|rationals?|real(?=\s[a-zA-Z]))"
)
_CLAUSE = re.compile(
    r"[\s,;:(]*(?:(?:for|where|with|when|and|if)\s)?\s?(?:\\forall(?![a-z])\s?)?(?:(?:all|any|every|each|some|an?|arbitrary)\s){0,2}\s?(?:"
    rf"(?P<in>{_LETTERS})\s?\\in(?![a-z])\s?{_SIGN}"
    rf"|(?P<is>{_LETTERS})\s(?:is|are|be)\s(?:(?:an?|any|some|arbitrary)\s)?(?P<are>{_WORDS})"
    rf"|(?P<named>{_WORDS})\s(?P<of>{_LETTERS})"
    r"|(?P<listed>[a-zA-Z])\s?=\s?(?P<first>\\ldots\s?,\s?(?:-\d,\s?)+0,|0,\s?\\pm\s?1,|[01],\s?[12],)[-\d\s,.\\pm]*\\ldots"
    r"|(?<=all\s)(?P<all>[a-zA-Z])|(?<=(?:any|ery|ach)\s)(?P<any>[a-zA-Z])|(?<=forall\s)(?P<every>[a-zA-Z])"
    r")[\s).]*"
)
_MEMBERSHIP = re.compile(rf"(?P<in>{_LETTERS})\s?\\in(?![a-z])\s?{_SIGN}")
_BAR = re.compile(r"[|:]")
_CONDITION = re.compile(rf"{AND}|,")


class Stated(NamedTuple):
    """body: the answer without clauses about its letters. domains: letter -> Z, N, R, ..., "" for "all". bound: a set builder's letter."""

    body: str
    domains: dict[str, str]
    bound: str


def stated(text: str) -> Stated:
    family = as_family(text)
    if family:
        return Stated(family[0], {family[1]: "Z"}, "")
    inner = braced_set(text)
    if inner is not None and _BAR.search(inner):
        return _builder(inner) or Stated(text, {}, "")
    domains: dict[str, str] = {}
    for _ in range(3):
        shorter = _without_clause(text, domains) if _HINT.search(text) else None
        if shorter is None:
            break
        text = shorter
    return Stated(text, domains, "")


def _without_clause(text: str, domains: dict[str, str]) -> str | None:
    """text without the clause at its end, whose letters go to `domains`."""
    flat = in_one_line(text)
    for start in range(max(1, len(flat) - _TAIL), len(flat)):
        if flat[start - 1].isalpha() and flat[start].isalpha():
            continue
        clause = _CLAUSE.fullmatch(flat, start)
        body = flat[:start].rstrip(" ,;:(").lstrip(" ,;:") if clause else ""
        if not clause or not body or body[-1] in "=+-*/^<>|\\":
            continue
        if clause["listed"] and not _counts_by_one(clause[0]):
            return None
        letters = _letters(clause)
        names = set(letters)
        if len(letters) == len(names) and names <= letters_of(
            body
        ):  # else x \in \mathbb{R}, the answer itself, or k, k of k+1, k, k \in \mathbb{Z}
            domains.update(dict.fromkeys(names, _domain(clause)))
            return body
    return None


def _counts_by_one(listed: str) -> bool:
    numbers = [int(number) for number in re.findall(r"-?\d+", listed)]
    return all(after == before + 1 for before, after in pairwise(numbers))


def _letters(clause: re.Match[str]) -> list[str]:
    named = (clause["in"], clause["is"], clause["of"], clause["listed"], clause["all"], clause["any"], clause["every"])
    return _letters_in(next(letters for letters in named if letters))


def _domain(clause: re.Match[str]) -> str:
    r"""\mathbb{Z}^+ and "positive integers" as Z+."""
    if clause["sign"]:
        return _domain_of(clause)
    if clause["first"]:
        return {"0,": "Z0", "1,": "Z+"}.get(clause["first"][:2], "Z") if "pm" not in clause["first"] else "Z"
    words = clause["are"] or clause["named"]
    if not words:
        return ""
    kinds = {"integer": "Z", "natural": "N", "whole": "N", "rational": "Q", "complex": "C"}
    kind = next((kinds[word] for word in kinds if word in words), "R")
    signs = {"nonneg": "0", "non-neg": "0", "nonzero": "*", "non-zero": "*", "positive": "+", "negative": "-"}
    return kind + next((signs[word] for word in signs if word in words), "")


def _builder(inner: str) -> Stated | None:
    r"""\{x \mid x > 2\}: x > 2 with x bound; \{x \mid x = 3k, k \in \mathbb{Z}\} and \{3k \mid k \in \mathbb{Z}\}: 3k."""
    head = split_at(inner, _BAR)[0][0]
    rest = inner[len(head) :].lstrip()[1:].strip()
    domains: dict[str, str] = {}
    membership = _MEMBERSHIP.fullmatch(head)
    if membership:
        head = membership["in"]
        domains[head] = _domain_of(membership)
    said = []
    for condition in [rest] if _MEMBERSHIP.fullmatch(rest) else split_at(rest, _CONDITION)[0]:
        membership = _MEMBERSHIP.fullmatch(condition)
        if membership:
            domains.update(dict.fromkeys(_letters_in(membership["in"]), _domain_of(membership)))
        else:
            said.append(condition)
    if len(head) > 1:
        names = group(head)
        if said and names and len(said) == 1:
            return Stated(said[0], domains, "")  # \{(x, y) \mid y = 2x\}
        return Stated(head, domains, "") if domains and not said else None
    if not said:
        domain = domains.pop(head, "")
        return Stated(rf"\mathbb{{{domain}}}", domains, "") if domain in ("Z", "N", "Q", "R", "C") else None
    equation = re.match(rf"{re.escape(head)}\s?=(?!.*(?:=|\\(?:or|vee|lor|text)))", said[0])
    if len(said) == 1 and equation and head not in letters_of(said[0][equation.end() :]):
        domains.pop(head, None)
        return Stated(said[0][equation.end() :].strip(), domains, "")
    return Stated(", ".join(said), domains, head)


def _letters_in(text: str) -> list[str]:
    return re.findall("[a-zA-Z]", text)


def _domain_of(membership: re.Match[str]) -> str:
    part = re.sub(r"[_^{}\s]", "", membership["part"] or "")
    return membership["sign"] + {">0": "+", r"\ge0": "0"}.get(part, part)
