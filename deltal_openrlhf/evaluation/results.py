"""results.json: the estimates of an evaluation, and for each problem how many of its responses were correct."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltal_openrlhf.evaluation.estimates import OVER_PROBLEMS, OVER_SETS, estimates, powers_of_two, statistics
from deltal_openrlhf.evaluation.problems import Problem, by_set, digest
from deltal_openrlhf.evaluation.store import Record
from deltal_openrlhf.grading.grader import STATUSES

FORMAT = 2
"""1 had "mean" in place of "value", and no "resolved"."""
QUANTILES = (5, 25, 50, 75, 95)


def results(problems: Sequence[Problem], records: Mapping[tuple[str, int, int], Record], n: int) -> dict[str, Any]:
    """The estimates in the form of results.json. records: all n responses to each problem, by (set, position, sample).

    "sets" has for each set "avg" and "pass" (k -> Pass@k) as estimates (Estimate.as_json), "length" in tokens, "truncated" (share cut off
    by the length limit) and "statuses" (counts). "overall" has the same over all responses, with "avg" and "pass" twice, as
    "mean_over_problems" and "mean_over_sets". "problems" has set, position, label, digest of the prompt and number of correct responses.
    """
    sets = by_set(problems)
    ks = powers_of_two(n)
    correct = {
        name: [sum(records[name, problem.position, sample].correct for sample in range(n)) for problem in members]
        for name, members in sets.items()
    }
    found = estimates({name: statistics(n, counts, ks) for name, counts in correct.items()})

    def accuracy(name: str) -> dict:
        avg, *passes = (estimate.as_json() for estimate in found[name])
        return {"avg": avg, "pass": dict(zip(map(str, ks), passes, strict=True))}

    of_set = {
        name: [records[name, problem.position, sample] for problem in members for sample in range(n)]
        for name, members in sets.items()
    }
    everything = [record for members in of_set.values() for record in members]
    return {
        "format": FORMAT,
        "n": n,
        "sets": {name: {"problems": len(sets[name]), **accuracy(name), **_responses(of_set[name])} for name in sets},
        "overall": {
            "problems": len(problems),
            "mean_over_problems": accuracy(OVER_PROBLEMS),
            "mean_over_sets": accuracy(OVER_SETS),
            **_responses(everything),
        },
        "problems": [
            {
                "set": name,
                "position": problem.position,
                "label": problem.label,
                "prompt_sha256": digest(problem.prompt),
                "correct": count,
            }
            for name, members in sets.items()
            for problem, count in zip(members, correct[name], strict=True)
        ],
    }


def _responses(records: Sequence[Record]) -> dict[str, Any]:
    lengths = np.array([record.tokens for record in records])
    counts = Counter(record.status for record in records)
    return {
        "responses": len(records),
        "length": {
            "mean": float(lengths.mean()),
            **{f"p{q}": float(value) for q, value in zip(QUANTILES, np.percentile(lengths, QUANTILES), strict=True)},
            "max": int(lengths.max()),
        },
        "truncated": sum(record.finish_reason == "length" for record in records) / len(records),
        "statuses": {status: counts[status] for status in STATUSES},
    }
