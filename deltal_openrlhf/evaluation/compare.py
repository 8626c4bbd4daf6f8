"""Paired differences of two results.json of the same problems, B minus A.

A problem that is hard for one model is usually hard for the other. So the interval is that of the differences problem by problem. It is
narrower than the two results' own intervals suggest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltal_openrlhf.evaluation.estimates import OVER_PROBLEMS, OVER_SETS, estimates, powers_of_two, statistics
from deltal_openrlhf.evaluation.report import estimate_text, method, table, with_overall
from deltal_openrlhf.evaluation.results import FORMAT

FILE = "results.json"

_SETTINGS = ("temperature", "top_p", "max_new_tokens", "unmarked")
_GRADED_BY = ("math-verify", "deltal-openrlhf")
_FIELDS = {"model": str, "n": int, "settings": dict, "versions": dict, "problems": list}
_PROBLEM_FIELDS = {"set": str, "position": int, "label": str, "prompt_sha256": str, "correct": int}


def read_results(path: Path) -> dict[str, Any]:
    """Read results.json, or that of a folder, with its "path". Raises ValueError, in one line, also for a damaged one."""
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON") from error
    if not isinstance(found, dict) or found.get("format") not in (1, FORMAT):
        raise ValueError(f"{path}: not a result of deltal eval (format 1 or {FORMAT})")
    if damage := _damage(found):
        raise ValueError(f"{path}: a damaged result of deltal eval: {damage}")
    return {**found, "path": str(path)}


def _damage(found: dict[str, Any]) -> str | None:
    """The first field that is not as `results` and `evaluate` write it, among those that a comparison needs. None if all are right."""
    if wrong := _wrong_field(found, _FIELDS):
        return wrong
    for name in _SETTINGS:
        if name not in found["settings"]:
            return f"settings has no {name!r}"
    n, problems = found["n"], found["problems"]
    if n < 1:
        return f"n is {n}"
    if not problems:
        return "it holds no problems"
    for number, problem in enumerate(problems, 1):
        if not isinstance(problem, dict):
            return f"problem {number} of the list is not an object"
        if wrong := _wrong_field(problem, _PROBLEM_FIELDS):
            return f"problem {number} of the list: {wrong}"
        if not 0 <= problem["correct"] <= n:
            return f"problem {number} of the list: {problem['correct']} correct of {n}"
    if len(_keyed(problems)) < len(problems):
        return "a problem stands in it twice"
    return None


def _wrong_field(found: dict[str, Any], fields: Mapping[str, type]) -> str | None:
    for name, kind in fields.items():
        if name not in found:
            return f"no {name!r}"
        if type(found[name]) is not kind:
            return f"{name} is {str(found[name])[:40]!r}, wanted is {kind.__name__}"
    return None


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of Avg and of Pass@k for each k that both have: {"models", "paths", "notes", "n", "sets", "overall"}.

    For each set, and overall as mean over problems and over sets: {"avg": {"a", "b", "difference"}, "pass": {k: the same}}, where
    "a" and "b" are estimates (Estimate.as_json) and "difference" is b - a, paired by problem, resolved if its interval excludes 0.
    Raises ValueError if the two are not about the same problems.
    """
    notes = _check_problems(a["problems"], b["problems"])
    notes += [
        f"{name} differs: {a['settings'][name]} in A, {b['settings'][name]} in B"
        for name in _SETTINGS
        if a["settings"][name] != b["settings"][name]
    ]
    for package in _GRADED_BY:
        versions = [result["versions"].get(package, "none") for result in (a, b)]
        if versions[0] != versions[1]:
            notes.append(f"version of {package} differs: {versions[0]} in A, {versions[1]} in B")
    ks = powers_of_two(min(a["n"], b["n"]))
    if a["n"] != b["n"]:
        notes.append(
            f"n differs: {a['n']} in A, {b['n']} in B; Avg and Pass@k estimate the same values with any n; k goes up to {ks[-1]}"
        )
    values_a, values_b = (_values(result, ks) for result in (a, b))
    found_a, found_b = estimates(values_a), estimates(values_b)
    found = estimates({name: values_b[name] - values_a[name] for name in values_a})

    def entry(name: str) -> dict[str, Any]:
        columns = [
            {"a": of_a.as_json(), "b": of_b.as_json(), "difference": difference.against(0.0).as_json()}
            for of_a, of_b, difference in zip(found_a[name], found_b[name], found[name], strict=True)
        ]
        return {"avg": columns[0], "pass": dict(zip(map(str, ks), columns[1:], strict=True))}

    return {
        "models": [a["model"], b["model"]],
        "paths": [a["path"], b["path"]],
        "notes": notes,
        "n": [a["n"], b["n"]],
        "sets": {name: entry(name) for name in values_a},
        "overall": {"mean_over_problems": entry(OVER_PROBLEMS), "mean_over_sets": entry(OVER_SETS)},
    }


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Models, notes and a table for a reader."""
    header = [
        f"{letter}: {model} ({path})"
        for letter, model, path in zip("AB", comparison["models"], comparison["paths"], strict=True)
    ]
    lines = [
        [name, label, estimate_text(value["a"]), estimate_text(value["b"]), estimate_text(value["difference"], "+")]
        for name, entry in with_overall(comparison).items()
        for label, value in [("Avg", entry["avg"]), *((f"Pass@{k}", v) for k, v in entry["pass"].items() if k != "1")]
    ]
    entries = comparison["sets"].values()
    shown = (
        estimate for entry in entries for part in (entry["avg"], *entry["pass"].values()) for estimate in part.values()
    )
    return "\n".join(
        [
            "  \n".join(header),
            *(f"note: {note}" for note in comparison["notes"]),
            "",
            table(["set", "", "A", "B", "B - A, paired"], lines),
            "",
            method(shown),
        ]
    )


def _values(result: Mapping[str, Any], ks: list[int]) -> dict[str, Any]:
    """Set -> [problems in order of position, 1 + len(ks)]."""
    correct: dict[str, list[int]] = {}
    for problem in sorted(result["problems"], key=lambda problem: problem["position"]):
        correct.setdefault(problem["set"], []).append(problem["correct"])
    return {name: statistics(result["n"], correct[name], ks) for name in correct}


def _keyed(problems: list[dict]) -> dict[tuple[str, int], dict]:
    return {(problem["set"], problem["position"]): problem for problem in problems}


def _check_problems(a: list[dict], b: list[dict]) -> list[str]:
    """Returns a note if only the prompts differ. Problems are the same if they have the same place in a set and the same label."""
    keyed_a, keyed_b = _keyed(a), _keyed(b)
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
        if key not in keyed_b:
            raise ValueError(f"the results are of different problems: problem {key[1]} of {key[0]} is only in A")
        if problem["label"] != keyed_b[key]["label"]:
            raise ValueError(
                f"the results are of different problems: problem {key[1]} of {key[0]} has the label {problem['label'][:60]!r} in A, "
                f"{keyed_b[key]['label'][:60]!r} in B"
            )
    prompts = sum(problem["prompt_sha256"] != keyed_b[key]["prompt_sha256"] for key, problem in keyed_a.items())
    return [f"the prompts differ in {prompts} of {len(a)} problems: another template?"] if prompts else []
