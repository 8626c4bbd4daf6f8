"""The growth of the variance of a response's gradient with its length: Var(g | L) ~ c L^beta.

y_i = <g_i, g_i> - mean of <g_i, g_j> over responses j to other prompts with a length similar to L_i. The second term estimates |E[g |
L_i]|^2 without bias, because responses to different prompts are independent. So y_i estimates Var(g | L_i). It may be negative.

c and beta solve the score equations of a gamma regression with logarithmic link, sum_i (y_i / mu_i - 1) (1, log L_i) = 0 with mu_i = c
L_i^beta. This quasi-likelihood assumes no distribution, only Var(y) ~ mu^2, and accepts a negative y_i. Intervals are percentile bootstrap
over prompts.
"""

import numpy as np

from deltal_openrlhf.statistics import bootstrap, student
from deltal_openrlhf.statistics.estimate import Estimate

RESAMPLES = 500
BINS, LEAST_IN_BIN = 8, 10
WINDOW = 0.05
"""Share of all responses that counts as of similar length, on either side in the order of lengths."""
LEAST_IN_WINDOW = 8


class LengthFit:
    """Fits of one set of responses; the Gram matrices of several layer types share the resamples of the prompts.

    lengths: [m], all above 0. groups: int [m]. The bootstrap draws prompts with replacement: weights [RESAMPLES, m].
    """

    def __init__(
        self, lengths: np.ndarray, groups: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES
    ) -> None:
        self.log_lengths = np.log(lengths)
        self.lengths = lengths
        prompts, ids = np.unique(groups, return_inverse=True)
        self.num_prompts = len(prompts)
        counts = rng.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), size=resamples)
        self.weights = np.concatenate([np.ones((1, len(lengths))), counts[:, ids]])  # the sample itself first
        self.near = _similar(lengths, ids)
        self.near_total = self.weights @ self.near.T
        self.bins = length_bins(lengths)

    def fit(self, gram: np.ndarray) -> dict:
        """FIT of findings.json. gram: [m, m], <g_i, g_j>."""
        shared = self.weights @ (self.near * gram).T
        mean_square = np.divide(shared, self.near_total, out=np.zeros_like(shared), where=self.near_total > 0)
        weights = np.where(self.near_total > 0, self.weights, 0.0)
        y = np.diagonal(gram) - mean_square  # [1 + resamples, m]
        beta, intercept = gamma_regression(self.log_lengths, y, weights)
        low, high = _percentiles(beta[1:], self.num_prompts)
        found = np.isfinite(beta[0])
        exponent = Estimate.of(beta[0], low, high, resolved=high - low < 1) if found else Estimate.undefined()
        fitted = np.exp(intercept[0] + beta[0] * self.log_lengths)
        bins = [self._bin(members, y, weights, fitted if found else None) for members in self.bins]
        return {
            "beta": exponent.as_json(),
            "responses": len(self.lengths),
            "prompts": self.num_prompts,
            "bins": bins,
            "bins_off": sum(map(_is_off, bins)),
            "intercept": float(intercept[0]) if found else None,
        }

    def _bin(self, members: np.ndarray, y: np.ndarray, weights: np.ndarray, fitted: np.ndarray | None) -> dict:
        """fitted: c L^beta of each response; a bin's is their mean, which is off where no power law holds."""
        total = weights[:, members].sum(axis=1)
        means = np.divide(
            (weights * y)[:, members].sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
        )
        low, high = _percentiles(means[1:], self.num_prompts)
        lengths = self.lengths[members]
        return {
            "length": float(lengths.mean()),
            "from": float(lengths.min()),
            "to": float(lengths.max()),
            "responses": len(lengths),
            "variance": Estimate.of(means[0], low, high, resolved=low > 0).as_json(),
            "fitted": None if fitted is None else float(fitted[members].mean()),
        }


def _is_off(found: dict) -> bool:
    """Whether the interval of a bin's variance misses the fit."""
    return found["fitted"] is not None and Estimate(**found["variance"]).side(found["fitted"]) is not None


def gamma_regression(log_lengths: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """beta and log c of mu = c L^beta for each resample; nan where there is no solution.

    log_lengths: [m]. y, weights: [resamples, m]. c follows from beta, and beta solves the one equation
    F(beta) = sum_i w_i y_i L_i^-beta (log L_i - mean log L) = 0, whose left side falls in beta where every y is positive.
    """
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    mean = (weights @ log_lengths)[:, None] / total
    centred = log_lengths - mean
    weighted = weights * y
    beta = np.zeros((len(y), 1))
    for _ in range(60):
        terms = weighted * np.exp(-beta * centred)
        slope = (terms * centred**2).sum(axis=1, keepdims=True)
        value = (terms * centred).sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.clip(np.where(slope > 0, value / slope, np.sign(value)), -0.5, 0.5)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    level = (weighted * np.exp(-beta * centred)).sum(axis=1, keepdims=True) / total
    good = (np.abs(step) < 1e-6) & (slope > 0) & (level > 0)  # no slope: all lengths are equal
    with np.errstate(divide="ignore", invalid="ignore"):
        intercept = np.where(good, np.log(level) - beta * mean, np.nan)
    return np.where(good, beta, np.nan)[:, 0], intercept[:, 0]


def _percentiles(resampled: np.ndarray, prompts: int) -> tuple[float, float]:
    """95 % interval (see student.expanded_tail); the whole line where more than one resample in 40 has no value."""
    missing = np.isnan(resampled)
    if prompts < 3 or missing.mean() > 0.025:
        return -np.inf, np.inf
    low, high = bootstrap.interval(resampled[~missing], student.expanded_tail(prompts))
    return float(low), float(high)


def _similar(lengths: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """[m, m], 1 where j is of another prompt and has a length within the neighbours of i in the order of lengths."""
    reach = max(round(WINDOW * len(lengths)), LEAST_IN_WINDOW)
    ordered = np.sort(lengths)
    first, last = np.searchsorted(ordered, lengths), np.searchsorted(ordered, lengths, side="right") - 1
    low, high = ordered[np.maximum(first - reach, 0)], ordered[np.minimum(last + reach, len(lengths) - 1)]
    near = (lengths >= low[:, None]) & (lengths <= high[:, None])
    return (near & (ids[:, None] != ids)).astype(np.float64)


def length_bins(lengths: np.ndarray) -> list[np.ndarray]:
    """Members of up to BINS bins of about equal count, in the order of lengths; equal lengths are in one bin."""
    count = max(min(BINS, len(lengths) // LEAST_IN_BIN), 1)
    edges = np.unique(np.quantile(lengths, np.arange(1, count) / count, method="higher"))
    place = np.searchsorted(edges, lengths, side="right")
    bins: list[np.ndarray] = []
    for members in (np.flatnonzero(place == one) for one in np.unique(place)):
        if bins and min(len(members), len(bins[-1])) < LEAST_IN_BIN:  # what many equal lengths leave beside them
            bins[-1] = np.concatenate([bins[-1], members])
        else:
            bins.append(members)
    return bins
