r"""Letters whose name means nothing: the x of f(x) = 2x + 1 and of \{x \mid x > 2\}, the k of k\pi with k \in \mathbb{Z}, the constant of
e^x + C. Two answers get the same ones before they are compared.
"""

import re

from deltal_openrlhf.grading.parts.domains import Stated, stated
from deltal_openrlhf.grading.parts.letters import letters_of, renamed
from deltal_openrlhf.grading.parts.progressions import shifted_alike
from deltal_openrlhf.grading.parts.sets import whole_members
from deltal_openrlhf.grading.parts.structure import OR, elements, split

_DEFINITION = re.compile(
    r"((?:[a-zA-Z]|\\(?:vec|mathbf|overrightarrow)\s?\{?\s?[a-zA-Z]\s?\}?)'*(?:_(?:\w|\{\w+\}))?)\s?\(([a-zA-Z](?:\s?,\s?[a-zA-Z])*)\)\s?="
)
_SEQUENCE = re.compile(r"([a-zA-Z])_(\{\s?[nkmijr]\s?\}|[nkmijr])\s?=")
_CONSTANT = re.compile(r"\+\s?(?:[CcKkD](?:_\d|_\{\d\})?|(?:\\text\s?\{)?\s?const(?:ant)?\.?\s?\}?)$")
_PLAIN_CONSTANT = re.compile(r"\+\s?C$")
_INTEGRATED = set("xtuyzs")
"""Letters of which one is the variable of an antiderivative: A + C may be a sum of two names."""
_VARIABLES = set("xtyzsun")
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")
_NO_NUMBER = re.compile(rf"[,:]|\\(?:cup|cap|begin|approx)(?![a-z])|{_INEQUALITY.pattern}")
_ALTERNATIVES = re.compile(OR)
_ANGLE = re.compile(r"\\pi(?![a-zA-Z])|\^\\circ")
_PARAMETERS = set("knmlpqjt")


def aligned(gold: str, pred: str) -> tuple[str, str, set[str]] | None:
    """Both answers without clauses about their letters and with the same bound letters, and their whole-number parameters; None where
    the clauses contradict each other."""
    one, other = _listed(stated(gold)), _listed(stated(pred))
    other = _renamed(other, _bound_names(one, other))
    body = _with_constant_of(one.body, other.body)
    one_body = _with_constant_of(other.body, one.body)
    one, other = one._replace(body=one_body), other._replace(body=body)
    if not (one.domains or other.domains):
        return one.body, other.body, set()
    one, other = _with_one_parameter(one, other)
    for letter in one.domains.keys() | other.domains.keys():
        domains = one.domains.get(letter), other.domains.get(letter)
        if domains[0] is not None and domains[1] is not None:
            if domains[0] != domains[1]:
                return None
        elif not _may_be_left_out(letter, *((one, domains[0]) if domains[1] is None else (other, domains[1]))):
            return None
    whole = {letter for letter in one.domains.keys() | other.domains.keys() if _is_whole(letter, one, other)}
    lists = elements(one.body), elements(other.body)
    if lists[0] and lists[1] and not any("=" in said.body for said in (one, other)):
        if any(shifted_alike(lists[0], lists[1], letter) for letter in whole):
            return one.body, one.body, set()
    return one.body, other.body, {letter for letter in whole if _is_family(one, letter) and _is_family(other, letter)}


def _is_whole(letter: str, one: Stated, other: Stated) -> bool:
    """Whether both say so, or one does of multiples of pi or of angles, which nobody numbers otherwise."""
    domains = one.domains.get(letter), other.domains.get(letter)
    angles = all(r"\pi" in said.body or r"^\circ" in said.body for said in (one, other))
    return domains == ("Z", "Z") or angles and domains in (("Z", None), (None, "Z"))


def _is_family(said: Stated, letter: str) -> bool:
    r"""Whether numbers are given for each value of the letter: not f(k) = k, not the point (k, k+1), whose parts belong together."""
    parts = elements(said.body) or [said.body]
    if letter == said.bound or len(parts) > 1 and not _holds_solutions(said.body, parts):
        return False
    for part in parts:
        *names, value = split(part, "=")
        if len(names) > 1 or letter in letters_of("".join(names)) or _NO_NUMBER.search(value):
            return False
    return True


def _holds_solutions(body: str, parts: list[str]) -> bool:
    r"""Whether the parts of a list are families of their own: x = 2k, 2k+1 and angles are; the two numbers k, k+1 belong together."""
    if "=" in "".join(parts):
        return False
    return "=" in body or bool(_ALTERNATIVES.search(body)) or all(map(_ANGLE.search, parts))


def _listed(said: Stated) -> Stated:
    r"""\{x \in \mathbb{Z} \mid -1 < x < 3\} as \{0, 1, 2\}."""
    if len(said.domains) == 1:
        [(letter, domain)] = said.domains.items()
        members = whole_members(said.body, letter, domain)
        if members:
            return Stated(rf"\{{{','.join(members)}\}}", {}, "")
    return said


def _bound_names(one: Stated, other: Stated) -> dict[str, str]:
    """other's bound letters -> those of one."""
    if one.bound and other.bound:
        return {other.bound: one.bound} if one.bound != other.bound else {}
    for pattern in (_DEFINITION, _SEQUENCE):
        heads = [pattern.match(body) for body in (one.body, other.body)]
        if heads[0] and heads[1] and heads[0][1] == heads[1][1]:
            letters = [re.findall("[a-zA-Z]", head[2]) for head in heads if head]
            bodies = [body[head.end() :] for body, head in zip((one.body, other.body), heads, strict=True) if head]
            same_count = len(letters[0]) == len(letters[1]) == len(set(letters[1]))
            if same_count and all(map(_are_variables, letters, bodies)):
                return {old: new for old, new in zip(letters[1], letters[0], strict=True) if old != new}
    return {}


def _are_variables(letters: list[str], body: str) -> bool:
    """Whether f of these letters is defined: P(A) = 1/4 and S_B = 5 say something about A and B."""
    return set(letters) <= letters_of(body) or set(letters) <= _VARIABLES


def _renamed(said: Stated, names: dict[str, str]) -> Stated:
    body = renamed(said.body, names) if names else None
    if body is None:
        return said
    domains = {names.get(letter, letter): domain for letter, domain in said.domains.items()}
    return Stated(body, domains, names.get(said.bound, said.bound))


def _with_constant_of(one: str, other: str) -> str:
    """other + K as other + C, where one ends in + C."""
    if not _PLAIN_CONSTANT.search(one) or _PLAIN_CONSTANT.search(other):
        return other
    match = _CONSTANT.search(other)
    if match is None:
        return other
    rest = other[: match.start()]
    free = not letters_of(match[0]) & letters_of(rest) and "C" not in letters_of(rest) | letters_of(one[:-1])
    return f"{rest}+C" if free and _INTEGRATED & letters_of(rest) else other


def _with_one_parameter(one: Stated, other: Stated) -> tuple[Stated, Stated]:
    """The parameter of both under one name, where each has one."""
    parameters = [[letter for letter in said.domains if letter in letters_of(said.body)] for said in (one, other)]
    if len(parameters[0]) == len(parameters[1]) == 1 and parameters[0] != parameters[1]:
        return one, _renamed(other, {parameters[1][0]: parameters[0][0]})
    if [len(letters) for letters in parameters] == [1, 0]:
        return one, _renamed(other, _only_parameter(parameters[0][0], one, other))
    if [len(letters) for letters in parameters] == [0, 1]:
        return _renamed(one, _only_parameter(parameters[1][0], other, one)), other
    return one, other


def _only_parameter(letter: str, one: Stated, other: Stated) -> dict[str, str]:
    """The letter of other that can only be one's parameter, which it names otherwise."""
    candidates = _PARAMETERS & letters_of(other.body) - letters_of(one.body)
    return {candidates.pop(): letter} if len(candidates) == 1 and letter not in letters_of(other.body) else {}


def _may_be_left_out(letter: str, said: Stated, domain: str | None) -> bool:
    r"""That x is real, and that the parameter of a family is whole; of a function's and a sequence's letter, anything."""
    if domain in ("R", "") or letter not in letters_of(said.body):
        return True
    for pattern in (_DEFINITION, _SEQUENCE):
        match = pattern.match(said.body)
        if match and letter in letters_of(match[0]):
            return True
    is_solved_for = letter == said.bound or re.match(rf"{letter}\s?=", said.body) or _INEQUALITY.search(said.body)
    return domain == "Z" and not is_solved_for
