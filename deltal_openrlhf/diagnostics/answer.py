"""The answer of `deltal diagnose` in plain sentences. No sentence says more than its interval."""

from collections.abc import Mapping
from typing import Any

from deltal_openrlhf.diagnostics.methods import REFERENCE
from deltal_openrlhf.reports.numbers import estimate_text, is_missing, number
from deltal_openrlhf.statistics.estimate import Estimate

SHOWN = "deltal-1-step"
"""The ∆L method of the answer. Alpha 1 with scope step has the least variance if variance grows in proportion to length."""
LEAST_OFF = 1
"""The number of bins, of about eight, whose 95 % intervals may miss the fit before the fit counts as bad."""


def sentences(findings: Mapping[str, Any]) -> list[str]:
    """The sentences about variance, noise and bias. The page adds the recommendation."""
    fits = findings["variance"]
    if "all" not in fits["with_advantage"]:
        return [f"Without the advantage: {growth(fits['without_advantage']['all'])}"]
    found = [growth(fits["with_advantage"]["all"])]
    methods = {method["key"]: method for method in findings["estimators"]}
    if REFERENCE in methods and not methods[REFERENCE]["cv"]["resolved"]:
        found.append(
            "These responses are too few to tell the mean gradient of Dr. GRPO norm from 0. Everything below that is relative to it is "
            "rough."
        )
    if SHOWN in methods:
        found += [noise(methods[SHOWN]), bias(methods[SHOWN])]
    return found


def growth(fit: Mapping[str, Any]) -> str:
    beta = fit["beta"]
    if is_missing(beta):
        return "How the variance of a response's gradient grows with its length L could not be fitted."
    said = f"The variance of a response's gradient grows with its length as L^β, β = {estimate_text(beta)}"
    side = Estimate(**beta).side(1.0)
    off = fit["bins_off"]
    if off > LEAST_OFF:
        return f"{said}. This is not a power law: {off} of {len(fit['bins'])} bins of lengths lie off the fit."
    if not beta["resolved"]:
        return f"{said}. Not resolved: the interval is too wide to tell how it grows."
    if side is None:
        return f"{said}. Growth in proportion to the length (β = 1) lies inside the interval."
    return f"{said}. It grows {'faster' if side > 0 else 'slower'} than the length (β = 1 lies outside the interval)."


def noise(method: Mapping[str, Any]) -> str:
    ratio, name = method["cv_ratio"], method["name"]
    if ratio["value"] is None:
        return f"Noise of {name} relative to Dr. GRPO norm: not resolved, because these data give no ratio."
    said = (
        f"A batch gradient of {name} has {estimate_text(ratio)} times the coefficient of variation of Dr. GRPO norm's "
        "(noise relative to the mean)"
    )
    side = Estimate(**ratio).side(1.0)
    if not ratio["resolved"] or side is None:
        return f"{said}. Not resolved: these data do not show which of the two is noisier."
    return f"{said}. It is {'less' if side < 0 else 'more'} noisy."


def bias(method: Mapping[str, Any]) -> str:
    relative, power, name = method["relative_bias"], method["detectable_bias"], method["name"]
    seen = (
        "The smallest bias that these data would have shown is unknown"
        if power is None
        else f"These data would have shown a bias of {number(power)} of its norm or more with 80 % chance"
    )
    if is_missing(relative):
        return f"Bias of {name}: not resolved, because these data give no value."
    size = f"relative bias {estimate_text(relative)}"
    if not is_missing(method["cosine"]):
        size += f", cosine {estimate_text(method['cosine'])}"
    if relative["resolved"] or method["cosine"]["resolved"]:
        return f"{name} is biased: its mean gradient is not that of Dr. GRPO norm ({size})."
    if method["comparable_scale"] and method["relative_norm"]["resolved"]:
        return (
            f"{name} is biased in length: its mean gradient is {estimate_text(method['relative_norm'])} times as long as that of Dr. GRPO "
            f"norm. No bias beyond that was resolved ({size}). That does not prove that there is none. {seen}."
        )
    return f"No bias of {name} relative to Dr. GRPO norm was resolved ({size}). That does not prove that there is none. {seen}."
