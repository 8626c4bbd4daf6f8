"""Fieller's interval of a ratio, which reaches infinity where the denominator cannot be told from 0."""

import math

import numpy as np

Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


def fieller(a: float, b: float, covariance: np.ndarray) -> tuple[float, float, float]:
    """Ratio a / b of two numbers that are not negative, and its 95 % interval: all r >= 0 with (a - r b)^2 <= Z^2 Var(a - r b).

    covariance: [2, 2] of a and b. The ratio is 0 where a < 0 and nan where b <= 0; high is inf where b cannot be told from 0.
    """
    value = max(a, 0.0) / b if b > 0 else math.nan
    # (b^2 - Z^2 Vbb) r^2 - 2 (a b - Z^2 Vab) r + (a^2 - Z^2 Vaa) <= 0
    square = b**2 - Z**2 * covariance[1, 1]
    half = a * b - Z**2 * covariance[0, 1]
    constant = a**2 - Z**2 * covariance[0, 0]
    root = math.sqrt(max(half**2 - square * constant, 0.0))
    if b > 0 and square > 0:
        return value, max((half - root) / square, 0.0), max((half + root) / square, 0.0)
    if constant > 0 and a > 0 and half + root > 0:
        return value, constant / (half + root), math.inf  # what is left out reaches from below 0 to this root
    return value, 0.0, math.inf
