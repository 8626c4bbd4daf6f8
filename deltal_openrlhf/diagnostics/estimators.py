"""From the moments of batch gradients (batches.py) to the figures that a reader sees for each method, with 95 % intervals.

    cv                      sqrt(E|G - EG|^2) / |EG| = sqrt(1/t - 1), t = |EG|^2 / E|G|^2, its interval is that of t
    cv_ratio                cv / cv of the reference, paired
    cosine                  cos(EG, EF), F the reference's batch gradient: the bias of the direction
    relative_norm           |EG| / |EF|
    relative_bias           |a EG - EF| / |EF|, a = 1, or the best scalar if the scales are meant to differ
    batch_cosine            E cos(G, EG)
    batch_cosine_reference  E cos(G, EF): the direction of one batch, its bias and noise together
    norm                    sqrt E|G|^2

Squares and products of means are estimated without bias, so |EG|^2 may come out negative. In that case there is no value.
"""

import math

import numpy as np

from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.statistics.fieller import Z, fieller
from deltal_openrlhf.statistics.jackknife import Combination, Replicates

POWER_80_PERCENT = 0.8416212335729143
"""80 % of the normal distribution."""
ROUNDING = 1e-6
"""The reference against itself differs from 1 or 0 by rounding; nothing so small is a finding."""


def summary(moments: Replicates, *, comparable_scale: bool) -> tuple[dict[str, Estimate], float | None]:
    """The entries cv to norm of one method in findings.json, from the moments of batches.py, and its detectable bias."""
    bias, detectable = _relative_bias(moments, comparable_scale)
    found = {
        "cv": _cv(moments),
        "cv_ratio": cv_ratio(moments),
        "cosine": _cosine(moments),
        "relative_norm": _root_of_ratio(*moments["mean"].over(moments["reference_mean"])),
        "relative_bias": bias,
        "ess": moments["ess"].estimate,
        "batch_cosine": _batch_cosine(moments["own"], moments["mean"]),
        "batch_cosine_reference": _batch_cosine(moments["toward"], moments["reference_mean"]),
        "norm": norm(moments),
    }
    return found, detectable


def norm(moments: Replicates) -> Estimate:
    """sqrt E|G|^2."""
    square = moments["square"]
    half = square.margin
    return Estimate.of(*_roots(square.value, square.value - half, square.value + half), resolved=square.value > half)


def norm_ratio(long: Replicates, short: Replicates) -> Estimate:
    """sqrt(E|G|^2 of long / E|G|^2 of short), of different prompts and so independent. resolved: the interval excludes 1."""
    a, b = long["square"], short["square"]
    return _root_of_ratio(*fieller(a.value, b.value, np.diag([a.margin**2, b.margin**2]) / Z**2))


def _roots(*squares: float) -> tuple[float, ...]:
    return tuple(math.sqrt(max(square, 0.0)) if not math.isnan(square) else math.nan for square in squares)


def _root_of_ratio(value: float, low: float, high: float) -> Estimate:
    """The root of a ratio that is 1 where two methods are alike. resolved: its interval excludes 1."""
    value, low, high = _roots(value, low, high)
    return Estimate.of(value, low, high, resolved=low > 1 + ROUNDING or high < 1 - ROUNDING)


def _cv(moments: Replicates) -> Estimate:
    def cv(share: float) -> float:
        return math.sqrt(1 / min(share, 1.0) - 1) if share > 0 else math.inf

    value, low, high = moments["mean"].over(moments["square"])
    return Estimate.of(cv(value), cv(high), cv(low), resolved=low > 0)


def cv_ratio(moments: Replicates) -> Estimate:
    """cv / cv of the reference, from the moments square, mean, reference_square and reference_mean. resolved: the interval excludes 1."""
    # (cv / the reference's)^2 = noise |EF|^2 / (the reference's noise |EG|^2)
    mean, reference_mean = moments["mean"], moments["reference_mean"]
    noise, reference_noise = moments["square"] - mean, moments["reference_square"] - reference_mean
    return _root_of_ratio(*(noise * reference_mean).over(reference_noise * mean))


def _squared_cosine(moments: Replicates) -> tuple[Combination, Combination]:
    cross = moments["cross"]
    return cross * cross, moments["mean"] * moments["reference_mean"]


def _cosine(moments: Replicates) -> Estimate:
    squared, size = _squared_cosine(moments)
    value, low, high = squared.over(size)
    if moments["mean"].value <= 0 or math.isnan(value):
        return Estimate.undefined()
    resolved = high < 1 - ROUNDING
    value, low, high = (min(root, 1.0) for root in _roots(value, low, high))
    if low == 0:
        low = -high  # the square cannot tell the sign
    if moments["cross"].value < 0:
        value, low, high = -value, -high, -low
    return Estimate.of(value, low, high, resolved=resolved)


def _relative_bias(moments: Replicates, comparable_scale: bool) -> tuple[Estimate, float | None]:
    """The bias, and the one that would be resolved with 80 % power, from the standard error of the bias's square."""
    mean, reference_mean = moments["mean"], moments["reference_mean"]
    if comparable_scale:
        square, size = mean + reference_mean - moments["cross"].times(2.0), reference_mean
        value, low, high = square.over(size)
    else:  # with the best scalar |a EG - EF|^2 / |EF|^2 = 1 - cos^2
        square, size = _squared_cosine(moments)
        ratio, least, most = square.over(size)
        value, low, high = 1 - ratio, 1 - most, 1 - least
    if mean.value <= 0 and not comparable_scale or math.isnan(value):
        return Estimate.undefined(), None
    excess = square - size.times(square.value / size.value)
    detectable = math.sqrt((excess.margin + POWER_80_PERCENT * excess.error) / size.value)
    value, low, high = _roots(value, low, high)
    return Estimate.of(value, low, high, resolved=low > ROUNDING), detectable


def _batch_cosine(product: Combination, mean: Combination) -> Estimate:
    """E<G, EF>/|G| / |EF|. Near |EF| = 0 both go with |EF|^2, so the square is nearly linear. resolved: |EF| is."""
    if mean.value <= 0:
        return Estimate.undefined()
    ratio = product.value / mean.value
    square = product.value * ratio
    half = (product.times(2 * ratio) - mean.times(ratio**2)).margin
    value, low, high = (min(root, 1.0) for root in _roots(square, square - half, square + half))
    return Estimate.of(math.copysign(value, product.value), low, high, resolved=mean.value > mean.margin)
