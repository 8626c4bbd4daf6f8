r"""Formulas of chemistry: \mathrm{H_2O}, H2O and H₂O are one, CO and Co are not; 2H_2 + O_2 \rightarrow 2H_2O."""

import re

_ELEMENTS = frozenset(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd "
    "In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm "
    "Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu".split()
)
_ALONE = frozenset(("H2", "N2", "O2", "O3", "F2", "Cl2", "Br2", "I2", "P4", "S8"))
_ATOM = re.compile(r"([A-Z][a-z]?)(\d*)")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*|[(\[]|[)\]]\d*|\*\d*(?=[A-Z]))+(?:\^\d?[+-])?")
_INDEX = re.compile(r"_\s*(?:\{\s*(\d+)\s*\}|(\d))")
_CHARGE = re.compile(r"\^\s*(?:\{\s*(?:(\d?)\s*([+-])|([+-])\s*(\d))\s*\}|(\d?)([+-]))")
_ARROW = re.compile(r"\\(?:long|x)?rightarrow(?![a-z])|->|-->|\\Rightarrow(?![a-z])|\\rightleftharpoons(?![a-z])|=")
_COMMAND = re.compile(r"\\(?:text|ce|mathrm)(?![a-z])")
_LONGEST = 120


def same_formula(gold: str, pred: str) -> bool:
    """Whether both are the same formula or equation of chemistry, with the same atoms in the same order."""
    if gold[-1:].islower() != pred[-1:].islower() or max(len(gold), len(pred)) > _LONGEST:
        return False
    a = _sides(gold)
    return a is not None and a == _sides(pred)


def _sides(text: str) -> list[list[str]] | None:
    """The terms of each side of a reaction, sorted; one side with one term of a formula alone. None for what is no chemistry."""
    if not any(map(str.isupper, text)):
        return None
    text = _INDEX.sub(lambda match: match[1] or match[2], _COMMAND.sub("", text))
    text = _CHARGE.sub(
        lambda match: f"^{match[1] or match[4] or match[5] or ''}{match[2] or match[3] or match[6]} ", text
    )
    text = re.sub(r"(?<=\d)\.(?=\d*[A-Z])", "*", text.replace("{", "").replace("}", ""))
    sides = [[term.replace(" ", "") for term in re.split(r"(?<!\^)(?<!\^\d)\+", side)] for side in _ARROW.split(text)]
    formulas = [term.lstrip("0123456789") for side in sides for term in side]
    return [sorted(side) for side in sides] if all(map(_is_formula, formulas)) else None


def _is_formula(text: str) -> bool:
    """Two atoms or more: a letter alone is a variable."""
    if not _FORMULA.fullmatch(text) or text.count("(") != text.count(")"):
        return False
    atoms = _ATOM.findall(text)
    return all(atom in _ELEMENTS for atom, _ in atoms) and (len(atoms) > 1 or text in _ALONE or "^" in text)
