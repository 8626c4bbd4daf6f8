r"""Several unknowns at once: \begin{cases} x = 3 \\ y = -1 \end{cases}, x = 3 and y = -1, (x, y) = (3, -1)."""

import re

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.parts.names import is_name, names_a_quantity
from deltal_openrlhf.grading.parts.relations import relation
from deltal_openrlhf.grading.parts.sets import is_set
from deltal_openrlhf.grading.parts.structure import OR, braced_set, elements, group
from deltal_openrlhf.grading.reading.text import in_one_line

Solution = dict[str, str]
"""Name of an unknown -> its value."""

_ENVIRONMENT = re.compile(
    r"(?:\\\{\s*)?\\begin\{(cases|aligned|align\*?|alignat\*?|array|gathered|gather\*?|split|eqnarray\*?)\}"
    r"(?:\{[clr| \d]*\})?((?:(?!\\begin).)*?)\\end\{\1\}",
    re.DOTALL,
)
_ROW = re.compile(r"\\\\(?:\[[^\]]{0,20}\])?")
_SIGN = r"(=|<|>|\\(?:le|ge|ne)(?![a-z]))"
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge)(?![a-z])")
_ALIGNED_SIGN = re.compile(rf"&?\s?{_SIGN}\s?&?")
_WHERE = re.compile(r"^(?:\\text\s?\{\s?(?:if|for|when|where)\s?\}|(?:if|for|when|where)(?![a-z]))")
_PARITY = re.compile(r"([a-z])(?: is(?: an?)?)? (odd|even)(?: (?:integer|number))?")
_ORDERS = (("x", "y", "z", "w"), ("m", "b"), ("r", r"\theta", "z"), (r"\rho", r"\theta", r"\phi"))
_OR = re.compile(OR)


def without_environments(text: str) -> str:
    r"""The equations of cases, aligned and array, with commas between them; with "and" where one brace holds inequalities together.
    Matrices and functions defined by cases stay."""
    return _ENVIRONMENT.sub(_equations, text) if r"\begin{" in text else text


def _equations(environment: re.Match[str]) -> str:
    equations: list[str] = []
    for row in _ROW.split(environment[2]):
        cells = [cell.strip(" ,;.") for cell in _ALIGNED_SIGN.sub(r" \1 ", row).split("&")]
        for cell in filter(None, cells):
            if not re.search(_SIGN, cell):
                return _pieces(environment)
            if equations and re.match(_SIGN, cell):
                equations[-1] += f" {cell}"  # x &= 2 + 3 \\ &= 5
            else:
                equations.append(cell)
    together = environment[0].startswith((r"\{", r"\begin{cases}")) and any(map(_INEQUALITY.search, equations))
    return r" \text{ and } ".join(equations) if together else ", ".join(equations)


def _pieces(environment: re.Match[str]) -> str:
    r"""A function by cases as the set of its (value, condition) pairs; any other environment as it is."""
    rows = [[cell.strip(" ,;.") for cell in row.split("&")] for row in _ROW.split(environment[2]) if row.strip()]
    if environment[1] == "array" or any(len(row) != 2 or not all(row) for row in rows):
        return environment[0]
    pieces = [f"({value},{_condition(condition)})" for value, condition in rows]
    return rf"\{{{','.join(pieces)}\}}"


def _condition(text: str) -> str:
    """Without "if", and a parity as "n even"."""
    condition = _WHERE.sub("", text).strip()
    flat = in_one_line(condition)
    parity = _PARITY.fullmatch(re.sub(r"^(?:if|for|when|where) ", "", flat))
    return f"{parity[1]} {parity[2]}" if parity else condition


def solutions(text: str) -> list[Solution] | None:
    """The values of two or more unknowns: of one solution, or of several that follow each other: x = 1, y = 2, x = 3, y = 4."""
    if "=" not in text:
        return None
    inner = braced_set(text)
    brackets = group(text)
    named = list(brackets.parts if brackets and brackets.kind == "()" else elements(inner or text) or [text])
    assigned = [pair for part in named for pair in _assigned(part) or [("", "")]]
    names = [name for name, _ in assigned]
    if len(names) < 2 or "" in names:
        return None
    size = names[1:].index(names[0]) + 1 if names[0] in names[1:] else len(names)
    chunks = [dict(assigned[start : start + size]) for start in range(0, len(names), size)]
    if size < 2 or any(len(chunk) != size or chunk.keys() != chunks[0].keys() for chunk in chunks):
        return None
    return None if len(chunks) == 1 and _OR.search(text) else chunks  # x = 0 or y = 0 is not (0, 0)


def _assigned(part: str) -> list[tuple[str, str]] | None:
    """(name, value) pairs of x = 3, x = y = 3 or (x, y) = (3, -1)."""
    equation = relation(part)
    if equation is None or not equation.is_equation or not all(map(_is_unknown, equation.sides[:-1])):
        return None
    *names, value = equation.sides
    tuples = group(names[0]), group(value)
    if tuples[0] is None:
        return [(_spelled(name), value) for name in names]
    if len(names) > 1 or tuples[1] is None or len(tuples[0].parts) != len(tuples[1].parts):
        return None
    return list(zip(map(_spelled, tuples[0].parts), tuples[1].parts, strict=True))


def _is_unknown(side: str) -> bool:
    """x, AB, \\angle ABC; not x + y, which stands in a system of equations."""
    return is_name(side) or (not re.search(r"[-+*/]|\\frac", side) and names_a_quantity(side))


def _spelled(name: str) -> str:
    return re.sub(r"[\s{}]|\\text", "", name)


def same_solutions(
    gold: str, pred: str, gold_solutions: list[Solution] | None, pred_solutions: list[Solution] | None, same: Same
) -> bool | None:
    """Solutions against solutions by name, in any order; against tuples in the order of their names."""
    if gold_solutions and pred_solutions:
        if gold_solutions[0].keys() != pred_solutions[0].keys():
            return False
        return same(_as_tuples(gold_solutions), _as_tuples(pred_solutions))
    other = pred if gold_solutions else gold
    if is_set(other):
        return False  # m = 1, n = 4 is not 1 < x < 4
    if any("=" in part for part in elements(other) or []):
        return False  # x + y = 3, x - y = 4 does not say what x and y are
    return same(
        _as_answer(gold_solutions) if gold_solutions else gold, _as_answer(pred_solutions) if pred_solutions else pred
    )


def _as_answer(found: list[Solution]) -> str:
    """Tuples, and for the roots x_1 and x_2 of one equation a list."""
    if len(found) == 1 and all(name.startswith("x_") for name in found[0]):
        return ", ".join(found[0][name] for name in sorted(found[0]))
    return _as_tuples(found)


def _as_tuples(found: list[Solution]) -> str:
    names = list(found[0])
    for order in _ORDERS:
        if set(names) <= set(order):
            names.sort(key=order.index)
            break
    else:
        names.sort(key=lambda name: (name.startswith("\\"), name))
    return ", ".join(f"({','.join(solution[name] for name in names)})" for solution in found)
