r"""Residue classes as the families that they are: x \equiv 3 \pmod{5} is x = 5k + 3 with any whole k."""

import re

from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.parts.structure import AND, OR, both_signs, split_at

_MODULUS = re.compile(
    r"\s?(?:\\pmod\s?|\(?\s?(?:\\(?:bmod|mod)(?![a-z])|\\text\s?\{\s?mod\s?\}|mod\s)\s?)\{?\s?(?P<modulus>\d{1,9})\s?\}?\s?\)?$"
)
_RESIDUE = re.compile(r"(?:(?P<name>[a-zA-Z])\s?\\equiv\s?)?(?P<residue>[-+\d\s]+|\\pm\s?\d+)")
_SEPARATOR = re.compile(f"{OR}|{AND}|,")
_PARAMETERS = "kmnjlpq"


def as_family(text: str) -> tuple[str, str] | None:
    """(the family, its parameter) of one residue class or several with one modulus; None for anything else."""
    if "mod" not in text or r"\equiv" not in text:
        return None
    found = []
    for part in split_at(text, _SEPARATOR)[0]:
        modulus = _MODULUS.search(part)
        residue = _RESIDUE.fullmatch(part[: modulus.start()].strip() if modulus else part)
        if residue is None:
            return None
        found.append((residue["name"], residue["residue"], modulus and modulus["modulus"]))
    names, moduli = ({value for value in column if value} for column in list(zip(*found, strict=True))[::2])
    if len(names) != 1 or len(moduli) != 1 or found[0][0] is None or found[-1][2] is None:
        return None
    name, modulus_text = names.pop(), moduli.pop()
    parameter = next(letter for letter in _PARAMETERS if letter not in letters_of(name))
    residues = [sign.replace(" ", "") for _, residue, _ in found for sign in both_signs(residue)]
    return f"{name} = " + ", ".join(f"{modulus_text}{parameter}+({residue})" for residue in residues), parameter
