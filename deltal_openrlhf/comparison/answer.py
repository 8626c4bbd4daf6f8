"""The answer of `deltal compare` in plain sentences: the resolved differences, and the number of runs behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from deltal_openrlhf.comparison.plots import HEADLINES, METRICS
from deltal_openrlhf.reports.numbers import count, estimate_text

Arm = Mapping[str, Any]

OVER_STARTS = "difference_over_starts"
LISTED = 6
"""How many resolved differences, or unfinished runs, are spelled out. The tables hold all of them."""


def differences(arm: Arm) -> list[tuple[str, list[str]]]:
    """For each metric a sentence and a list of differences, each with its interval and n.

    The list has all differences of families. Of methods it has the resolved ones, and only for the first metric.
    """
    return [_of_metric(arm, metric, spelled_out=metric == HEADLINES[0]) for metric in HEADLINES]


def interactions(comparison: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """For each metric a sentence and a list of the resolved interactions. Empty if none were asked for."""
    found = []
    for metric in HEADLINES:
        entries = [entry for entry in comparison["interactions"] if entry["metric"] == metric and entry["n"] > 0]
        if entries:
            listed = [_interaction(entry, comparison) for entry in entries if entry["difference"]["resolved"]]
            said = f"{_name(metric)}: of {count(len(entries), 'interaction')} {_resolved(entries)}. {_sizes(entries)}"
            found.append((said, _shortened(listed)))
    return found


def _interaction(entry: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    here, there = (estimate_text(entry[key], "+") for key in ("in_arm", "in_reference"))
    return f"{entry['arm']}: {_line(entry)}; {here} in this arm, {there} in {comparison['spec']['interactions_with']}"


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - LISTED
    return [*lines[:LISTED], f"{more} more in the table"] if more > 0 else lines


def _name(metric: str) -> str:
    name = METRICS.get(metric, metric)
    return f"{name[0].upper()}{name[1:]}"


def _of_metric(arm: Arm, metric: str, spelled_out: bool) -> tuple[str, list[str]]:
    families, pairs = (
        [pair for pair in arm[key] if pair["metric"] == metric and pair["n"] > 0] for key in ("families", "pairs")
    )
    parts = [
        f"of {count(len(found), 'difference')} between {kind} {_resolved(found)}"
        for kind, found in (("families", families), ("methods", pairs))
        if found
    ]
    if not parts:
        return f"{_name(metric)}: no two methods have runs with the same starting point and seed.", []
    listed = [_line(pair, "family ") for pair in families]
    if spelled_out:
        listed += _shortened([_line(pair) for pair in pairs if pair["difference"]["resolved"]])
    return f"{_name(metric)}: {'; '.join(parts)}. {_sizes([*families, *pairs])}", listed


def _resolved(pairs: Sequence[Mapping[str, Any]]) -> str:
    resolved = [pair for pair in pairs if pair["difference"]["resolved"]]
    said = f"{len(resolved) or 'none'} {'is' if len(resolved) <= 1 else 'are'} resolved"
    over_starts = [pair[OVER_STARTS]["resolved"] for pair in resolved if OVER_STARTS in pair]
    return f"{said} ({sum(over_starts) or 'none'} of them over starting points too)" if over_starts else said


def _sizes(pairs: Sequence[Mapping[str, Any]]) -> str:
    ns = sorted({pair["n"] for pair in pairs})
    if ns[-1] < 2:
        return "With one pair of runs there is no interval, so nothing can be resolved."
    between = f"{ns[0]}" if len(ns) == 1 else f"{ns[0]} to {ns[-1]}"
    return f"Each on {between} pairs of runs with the same starting point and seed."


def _line(pair: Mapping[str, Any], kind: str = "") -> str:
    line = f"{kind}{pair['b']} − {kind}{pair['a']}: {_estimate(pair['difference'])}, n = {pair['n']}"
    return f"{line}; over starting points {_estimate(pair[OVER_STARTS])}" if OVER_STARTS in pair else line


def _estimate(difference: Mapping[str, Any]) -> str:
    return estimate_text(difference, "+") + ("" if difference["resolved"] else ", not resolved")


def unfinished(runs: Sequence[str]) -> str:
    names = ", ".join(runs[:LISTED]) + (
        f" and {len(runs) - LISTED} more (all in comparison.json)" if len(runs) > LISTED else ""
    )
    verb = "is" if len(runs) == 1 else "are"
    return f"Not finished: {count(len(runs), 'run')} {verb} missing, and all below holds without: {names}."
