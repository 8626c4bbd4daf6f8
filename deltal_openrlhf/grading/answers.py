"""When two answers are the same: their structure here, single expressions by a `leaf` comparison that the caller gives.

docs/reference/grading.md lists the conventions, kind by kind. They hold either way round, but for one: a small letter meets the gold
choice D, and D does not meet a gold d, which may be a variable.
"""

import re

from deltal_openrlhf.grading.leaves import Same, all_of, any_of
from deltal_openrlhf.grading.parts.approximations import exact_side
from deltal_openrlhf.grading.parts.bound import aligned
from deltal_openrlhf.grading.parts.constants import with_constants_of
from deltal_openrlhf.grading.parts.counting import with_called_binomials
from deltal_openrlhf.grading.parts.cycles import same_permutation
from deltal_openrlhf.grading.parts.flats import same_flat
from deltal_openrlhf.grading.parts.lists import same_groups, same_in_any_order, same_lists
from deltal_openrlhf.grading.parts.logic import same_formula
from deltal_openrlhf.grading.parts.matrices import as_column, determinant, matrix, unit_vectors
from deltal_openrlhf.grading.parts.notation import is_empty, plain_notation
from deltal_openrlhf.grading.parts.piecewise import as_cases, cases, same_cases
from deltal_openrlhf.grading.parts.progressions import with_progressions
from deltal_openrlhf.grading.parts.relations import Relation, interval, relation, same_relation, solved
from deltal_openrlhf.grading.parts.sets import is_set, real_set, same_sets
from deltal_openrlhf.grading.parts.structure import Group, elements, group, split, union
from deltal_openrlhf.grading.parts.systems import same_solutions, solutions
from deltal_openrlhf.grading.parts.vectors import combined
from deltal_openrlhf.grading.quantities.clock import same_time
from deltal_openrlhf.grading.quantities.compounds import in_one_unit
from deltal_openrlhf.grading.quantities.dates import same_date
from deltal_openrlhf.grading.quantities.measures import same_quantities
from deltal_openrlhf.grading.quantities.wordings import same_wording
from deltal_openrlhf.grading.reading.choices import choice, is_either, same_choice, same_letters, text_of_choice
from deltal_openrlhf.grading.reading.normalize import normalize
from deltal_openrlhf.grading.reading.opposites import are_opposed
from deltal_openrlhf.grading.reading.words import same_text

_MEMBER = re.compile(r"^([a-zA-Z]|\([a-z](?:\s?,\s?[a-z]){1,3}\))\s*\\in(?![a-z])\s*")  # x \in [0, 1] is [0, 1]
_OTHER_RELATIONS = re.compile(r"\\(?:in|equiv|approx|sim|mid|parallel|perp)(?![a-z])")
_Groups = tuple[Group | None, Group | None]
"""What a text is as a matrix, and as a tuple or an interval."""
_MOST_COMPARISONS = 2000
"""Comparisons of parts for one pair of answers; after those, parts that are not the same text are different."""
CANNOT_TELL = (RecursionError, ArithmeticError, ValueError)
"""What same_answer may raise for an answer that is too deep or holds too large numbers: nothing is known of it then."""


def same_answer(gold: str, pred: str, leaf: Same) -> bool | None:
    """Whether `pred` answers as `gold` does; None where `leaf` could not tell."""
    if are_opposed(gold, pred):
        return False
    gold, pred = normalize(gold), normalize(pred)
    if gold.isdecimal() and pred.isdecimal():
        return int(gold) == int(pred)
    if same_text(gold, pred):
        return True
    gold, pred = plain_notation(gold), plain_notation(pred)
    if "(" not in gold or "(" not in pred:
        gold, pred = with_called_binomials(gold), with_called_binomials(pred)
    if r"\emptyset" in (gold, pred) and is_empty(gold) and is_empty(pred):
        return True
    flats = same_flat(gold, pred)
    if flats is not None:
        return flats
    bodies = aligned(gold, pred)
    if bodies is None:
        return False
    gold, pred, whole = bodies
    same = _comparison(with_progressions(leaf, whole))
    said = same_wording(gold, pred, same)
    if said is not None:
        return said
    named = with_constants_of(gold, pred)
    if named != [(gold, pred)]:
        return any_of(same(*pair) for pair in named)
    if is_either(gold) != is_either(pred):
        return False
    if same_letters(gold, pred):
        return True
    chosen = choice(gold)  # of the whole answer only: in (A, b) the letters are names
    if chosen:
        return same_choice(*chosen, pred, same)
    labelled = text_of_choice(pred)
    return bool(labelled and same(gold, labelled)) or same(gold, pred)


def _comparison(leaf: Same) -> Same:
    """The comparison of two answers and of their parts, whose single expressions `leaf` compares."""
    left = _MOST_COMPARISONS

    def same(gold: str, pred: str) -> bool | None:
        nonlocal left
        left -= 1
        if not gold or not pred or left < 0:
            return False
        if gold.isdecimal() and pred.isdecimal():
            return int(gold) == int(pred)
        if same_text(gold, pred):
            return True
        gold, pred = in_one_unit(gold), in_one_unit(pred)
        dated = same_date(gold, pred)
        if dated is not None:
            return dated
        members = _MEMBER.match(gold), _MEMBER.match(pred)
        if members[0] and members[1] and members[0][1] != members[1][1]:
            return False
        gold, pred = _MEMBER.sub("", gold), _MEMBER.sub("", pred)
        if (r"\approx" in gold) != (r"\approx" in pred):
            exact = exact_side(gold), exact_side(pred)
            if exact[0] is None or exact[1] is None:
                return False
            if exact != (gold, pred):
                return same(exact[0], exact[1])
        for compare in (same_permutation, same_formula):
            verdict = compare(gold, pred)
            if verdict is not None:
                return verdict
        functions = cases(gold), cases(pred)
        if any(functions):
            functions = functions[0] or as_cases(gold, functions[1]), functions[1] or as_cases(pred, functions[0])
            if functions[0] and functions[1]:
                return same_cases(functions[0], functions[1], same)
        unknowns = solutions(gold), solutions(pred)
        if any(unknowns):
            return same_solutions(gold, pred, *unknowns, same)
        if is_set(gold) or is_set(pred):
            sets = real_set(gold), real_set(pred)
            if sets[0] and sets[1]:
                return same_sets(sets[0], sets[1], same)
        relations = relation(gold), relation(pred)
        if any(relations):
            return _same_relations(gold, pred, *relations, same)
        lists = elements(gold), elements(pred)
        if any(lists):
            return same_lists(gold, pred, *lists, same)
        unions = union(gold), union(pred)
        if len(unions[0]) > 1 or len(unions[1]) > 1:
            return same_in_any_order(*unions, same)
        gold, pred = determinant(gold) or gold, determinant(pred) or pred
        groups = _groups(gold), _groups(pred)
        if any(groups[0]) or any(groups[1]):
            if not any(groups[0]) or not any(groups[1]):
                groups = _groups(unit_vectors(gold, plain=True)), _groups(unit_vectors(pred, plain=True))
            return _same_groups(*groups, same)
        timed = same_time(gold, pred)
        if timed is not None:
            return timed
        ratios = split(gold, ":"), split(pred, ":")
        if max(map(len, ratios)) > 1:
            if len(ratios[0]) == len(ratios[1]):
                return all_of(map(same, *ratios))
            if max(map(len, ratios)) > 2:
                return False
            gold, pred = (f"({ratio[0]})/({ratio[1]})" if len(ratio) == 2 else ratio[0] for ratio in ratios)
        if bool(_OTHER_RELATIONS.search(gold)) != bool(_OTHER_RELATIONS.search(pred)):
            return False
        return same_quantities(gold, pred, leaf)

    return same


def _same_relations(
    gold: str, pred: str, gold_relation: Relation | None, pred_relation: Relation | None, same: Same
) -> bool | None:
    if gold_relation and pred_relation:
        return same_relation(gold_relation, pred_relation, same)
    found, other = (gold_relation, pred) if gold_relation else (pred_relation, gold)
    assert found is not None
    if found.is_equation:  # x = 4, 25 + 2 = 27; of other equations only an equation is right
        value = found.sides[-1]
        equal = same(value, other) if gold_relation else same(other, value)
        return equal and all_of((equal, solved(found, same)))
    named, values = interval(found), group(other)
    return same_groups(values, named[1], same) if named and values else False


def _groups(text: str) -> _Groups:
    found = matrix(text), group(text)
    vector = None if any(found) else combined(text)
    if vector is None:
        return found
    return (None, vector) if vector.kind == "()" else (vector, None)


def _same_groups(gold: _Groups, pred: _Groups, same: Same) -> bool | None:
    """Matrices and tuples; a tuple may be written as a column."""
    matrices = [found or (bracketed and as_column(bracketed)) for found, bracketed in (gold, pred)]
    if (gold[0] or pred[0]) and matrices[0] and matrices[1]:
        return same_groups(matrices[0], matrices[1], same)
    return same_groups(gold[1], pred[1], same) if gold[1] and pred[1] else False
