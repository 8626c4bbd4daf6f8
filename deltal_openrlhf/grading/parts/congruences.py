r"""Residue classes as the families that they are: x \equiv 3 \pmod{5} is x = 5k + 3 with any whole k."""

import re

from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.parts.structure import AND, OR, both_signs, split_at
from deltal_openrlhf.grading.reading.text import in_one_line

_MODULUS = re.compile(
    r"\s?(?:\\pmod\s?|\(?\s?(?:\\(?:bmod|mod)(?![a-z])|\\text\s?\{\s?mod\s?\}|mod\s)\s?)\{?\s?(?P<modulus>\d{1,9})\s?\}?\s?\)?$"
)
_RESIDUE = re.compile(r"(?:(?P<name>[a-zA-Z])\s?\\equiv\s?)?(?P<residue>[-+\d\s]+|\\pm\s?\d+)")
_WHOLE = re.compile(r"[-+]?\d{1,15}")
_PARITY = re.compile(r"([a-z])(?: is(?: an?)?)? (odd|even)(?: (?:integer|number))?")
_RESTATED = re.compile(r",?\s(?:i\.\s?e\.|that is),?\s")
_SEPARATOR = re.compile(f"{OR}|{AND}|,")
_PARAMETERS = "kmnjlpq"


def as_family(text: str) -> tuple[str, str] | None:
    """(the family, its parameter) of one residue class or several with one modulus, said once or again; None for anything else."""
    families = {_family(said) for said in _RESTATED.split(text, maxsplit=2)}
    return families.pop() if len(families) == 1 else None


def _family(text: str) -> tuple[str, str] | None:
    if ("odd" in text or "even" in text) and (parity := _PARITY.fullmatch(in_one_line(text))):
        text = rf"{parity[1]} \equiv {int(parity[2] == 'odd')} \pmod 2"
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
    signed = [sign.replace(" ", "") for _, residue, _ in found for sign in both_signs(residue)]
    if not all(map(_WHOLE.fullmatch, signed)) or not int(modulus_text):
        return None
    coarsest, residues = _coarsest(int(modulus_text), {int(residue) % int(modulus_text) for residue in signed})
    return f"{name} = " + ", ".join(f"{coarsest}{parameter}+({residue})" for residue in sorted(residues)), parameter


def _coarsest(modulus: int, residues: set[int]) -> tuple[int, set[int]]:
    """The smallest modulus with which the classes are the same numbers: 1 and 3 modulo 4 are 1 modulo 2."""
    for parts in range(len(residues), 1, -1):
        fewer = {residue % (modulus // parts) for residue in residues} if modulus % parts == 0 else residues
        if len(fewer) * parts == len(residues) and modulus > parts:
            return modulus // parts, fewer
    return modulus, residues
