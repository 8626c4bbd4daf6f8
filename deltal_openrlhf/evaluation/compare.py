"""Two results.json of the same problems: paired differences, B minus A.

A problem that is hard for one model is mostly hard for the other. The interval is therefore that of the differences problem by problem,
which is narrower than what the two results' own intervals suggest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltal_openrlhf.evaluation.estimates import OVER_PROBLEMS, OVER_SETS, estimates, powers_of_two, statistics
from deltal_openrlhf.evaluation.report import METHOD, estimate_text, table
from deltal_openrlhf.evaluation.results import FORMAT

FILE = "results.json"

_SAMPLING = ("temperature", "top_p", "max_new_tokens")


def read_results(path: Path) -> dict[str, Any]:
    """results.json, or that of a folder. Raises ValueError with one line."""
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or "problems" not in found:
        raise ValueError(f"{path}: not a result of deltal eval (format {FORMAT})")
    return found


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of Avg and of Pass@k for each k that both have: {"models", "notes", "ks", "sets", "overall"}.

    For each set, and overall as mean over problems and over sets: {"avg": {"a", "b", "difference"}, "pass": {k: the same}}, where
    "a" and "b" are estimates and "difference" is b - a, paired by problem: {"mean", "low", "high"}.
    Raises ValueError if the two are not about the same problems.
    """
    notes = _check_problems(a["problems"], b["problems"])
    notes += [
        f"{name} differs: {a['settings'][name]} in A, {b['settings'][name]} in B"
        for name in _SAMPLING
        if a["settings"][name] != b["settings"][name]
    ]
    ks = powers_of_two(min(a["n"], b["n"]))
    if a["n"] != b["n"]:
        notes.append(
            f"n differs: {a['n']} in A, {b['n']} in B; Avg and Pass@k are estimates of the same with any n, k goes up to {ks[-1]}"
        )
    values_a, values_b = (_values(result, ks) for result in (a, b))
    found = [
        estimates(values)
        for values in (values_a, values_b, {name: values_b[name] - values_a[name] for name in values_a})
    ]

    def entry(name: str) -> dict:
        columns = [
            dict(zip(("a", "b", "difference"), parts, strict=True))
            for parts in zip(*(part[name] for part in found), strict=True)
        ]
        return {"avg": columns[0], "pass": dict(zip(map(str, ks), columns[1:], strict=True))}

    return {
        "models": [a["model"], b["model"]],
        "notes": notes,
        "n": [a["n"], b["n"]],
        "sets": {name: entry(name) for name in values_a},
        "overall": {"mean_over_problems": entry(OVER_PROBLEMS), "mean_over_sets": entry(OVER_SETS)},
    }


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Models, notes and a table for a person."""
    model_a, model_b = comparison["models"]
    rows = dict(comparison["sets"])
    if len(rows) > 1:
        rows[OVER_PROBLEMS] = comparison["overall"]["mean_over_problems"]
        rows[OVER_SETS] = comparison["overall"]["mean_over_sets"]
    lines = [
        [name, label, estimate_text(value["a"]), estimate_text(value["b"]), estimate_text(value["difference"], "+")]
        for name, entry in rows.items()
        for label, value in [("Avg", entry["avg"]), *((f"Pass@{k}", v) for k, v in entry["pass"].items() if k != "1")]
    ]
    return "\n".join(
        [
            f"A: {model_a}  \nB: {model_b}",
            *(f"note: {note}" for note in comparison["notes"]),
            "",
            table(["set", "", "A", "B", "B - A, paired"], lines),
            "",
            METHOD,
        ]
    )


def _values(result: Mapping[str, Any], ks: list[int]) -> dict[str, Any]:
    """Set -> [problems, 1 + len(ks)]."""
    correct: dict[str, list[int]] = {}
    for problem in result["problems"]:  # those of a set stand in order of position
        correct.setdefault(problem["set"], []).append(problem["correct"])
    return {name: statistics(result["n"], correct[name], ks) for name in correct}


def _check_problems(a: list[dict], b: list[dict]) -> list[str]:
    """A note if only the prompts differ. Problems are the same if they stand at the same place of a set with the same label."""
    keyed_a, keyed_b = ({(problem["set"], problem["position"]): problem for problem in problems} for problems in (a, b))
    sets_a, sets_b = ({name for name, _ in keyed} for keyed in (keyed_a, keyed_b))
    if sets_a != sets_b:
        raise ValueError(
            f"the results are of different sets: {', '.join(sorted(sets_a))} in A, {', '.join(sorted(sets_b))} in B"
        )
    for name in sorted(sets_a):
        sizes = [sum(key[0] == name for key in keyed) for keyed in (keyed_a, keyed_b)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the results are of different problems: {name} has {sizes[0]} in A, {sizes[1]} in B")
    for key, problem in keyed_a.items():
        if problem["label"] != keyed_b[key]["label"]:
            raise ValueError(
                f"the results are of different problems: problem {key[1]} of {key[0]} has the label {problem['label'][:60]!r} in A, "
                f"{keyed_b[key]['label'][:60]!r} in B"
            )
    prompts = sum(problem["prompt_sha256"] != keyed_b[key]["prompt_sha256"] for key, problem in keyed_a.items())
    return [f"the prompts differ in {prompts} of {len(a)} problems: another template?"] if prompts else []
