r"""Families that differ in the count of their members only: \frac{\pi}{2} + k\pi and -\frac{\pi}{2} + k\pi, 2k + 1 and 2k - 1."""

from fractions import Fraction

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.expressions import Expression

_PI_VALUES = (Fraction(1_000_003, 7919), Fraction(-777_781, 6007))
"""What holds for these in place of pi, exactly, is no matter of rounding."""
_MOST_TOGETHER = 8
_MEMBERS = (0, 1, 2, 5)


def with_progressions(leaf: Same, parameters: set[str]) -> Same:
    """leaf, to which two arithmetic progressions with a whole-number parameter are equal where they have the same members."""

    def same(gold: str, pred: str) -> bool | None:
        return any(same_progression(gold, pred, letter) for letter in parameters) or leaf(gold, pred)

    return same if parameters else leaf


def same_progression(gold: str, pred: str, parameter: str) -> bool:
    r"""Whether a + bk and c + dk are the same numbers: d is b or -b, and c - a a multiple of b. All of them are rational in \pi."""
    if parameter not in gold or (r"^\circ" in gold) != (r"^\circ" in pred):
        return False
    gold, pred = gold.replace(r"^\circ", ""), pred.replace(r"^\circ", "")
    shifts = set()
    for pi in _PI_VALUES:
        one, other = _line(gold, parameter, pi), _line(pred, parameter, pi)
        if one is None or other is None or abs(one[1]) != abs(other[1]):
            return False
        shifts.add(((other[0] - one[0]) / one[1], other[1] / one[1]))
    return len(shifts) == 1 and shifts.pop()[0].denominator == 1


def shifted_alike(golds: list[str], preds: list[str], parameter: str) -> bool:
    """Whether a list of progressions is the other one with k + s in place of k: k-1, k, k+1 and k, k+1, k+2, which belong together."""
    if len(golds) != len(preds) or len(golds) > _MOST_TOGETHER:
        return False
    pi = _PI_VALUES[0]
    lines = [[line for part in parts if (line := _line(part, parameter, pi))] for parts in (golds, preds)]
    if any(len(found) < len(golds) for found in lines) or r"\pi" in "".join([*golds, *preds]):
        return False
    first, difference = lines[0][0]
    shifts = {(first - start) / slope for start, slope in lines[1] if slope == difference}
    wanted = sorted(lines[0])
    return any(
        shift.denominator == 1 and sorted((start + slope * shift, slope) for start, slope in lines[1]) == wanted
        for shift in shifts
    )


def _line(text: str, parameter: str, pi: Fraction) -> tuple[Fraction, Fraction] | None:
    """(first member, difference); None where the text is no progression."""
    name = "P"
    if parameter not in text or name in letters_of(text):
        return None
    try:
        expression = Expression(text.replace(r"\pi", f" {name} "))
        if not expression.variables <= {name, parameter}:
            return None
        members = [expression.at({name: pi, parameter: Fraction(member)}) for member in _MEMBERS]
    except (Undecided, RecursionError):
        return None
    exact = [member for member in members if isinstance(member, Fraction)]
    if len(exact) < len(members):
        return None
    first, difference = exact[0], exact[1] - exact[0]
    on_line = all(value == first + member * difference for member, value in zip(_MEMBERS, exact, strict=True))
    return (first, difference) if difference and on_line else None
