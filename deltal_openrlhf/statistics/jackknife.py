"""Intervals: delete-one-prompt jackknife of moments that are themselves averages over random partitions.

With M(-p) the moments without prompt p, the jackknife covariance of M is (P - 1)/P sum_p (M(-p) - mean)(M(-p) - mean)'. Two things
would make it too large, and are estimated and subtracted:

    finite R      each M(-p) is an average over R partitions. Its deviation from the mean is of order 1/P, and the noise of it adds up
                  over p. It shows in the spread over partitions. (The noise of M itself, which is much smaller, is added.)
    pairs         M are averages over pairs of prompts. What a pair has that neither of its prompts has with the others is counted
                  twice (Efron and Stein 1981), which is half of all where the mean gradient is small against the noise.

Means of batch gradients enter as products of different batches, without bias; products of two moments are debiased by their covariance.
Intervals are 95 %; ratios have Fieller's, which reaches infinity where the denominator cannot be told from 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deltal_openrlhf.statistics import student
from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.statistics.fieller import Z, fieller

SMALLEST_SHARE = 0.25
"""No combination of moments has a variance below this share of its plain jackknife variance: what is subtracted is estimated too."""


def leave_one_out(means: np.ndarray) -> Estimate:
    """The plain jackknife. means: [1 + units], the mean of all, and that without each unit; nan where it is not defined.

    resolved: the interval excludes 0. Undefined for fewer than three units, or where a mean is.
    """
    value, replicates = means[0], means[1:]
    if len(replicates) < 3 or np.isnan(means).any():
        return Estimate.undefined()
    half = Z * math.sqrt((len(replicates) - 1) * replicates.var())
    return Estimate.of(value, value - half, value + half, resolved=abs(value) > half)


@dataclass(frozen=True)
class Replicates:
    """k moments over the same R partitions of P prompts.

    draws: [k, R], of each partition. left_out: [k, R, P], of each partition without prompt p. pairs: [k, P, P], what each pair of
    prompts adds to the moment (moment = mean over pairs, as far as pairs matter), symmetric; 0 for a moment of single batches.
    """

    names: tuple[str, ...]
    draws: np.ndarray
    left_out: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, moments: Mapping[str, tuple[np.ndarray, np.ndarray]], pairs: Mapping[str, np.ndarray]) -> "Replicates":
        """moments: name -> draws [R], left_out [R, P]. pairs: name -> [P, P], of any size and symmetry; 0 for the names it lacks."""
        draws, left_out = (np.stack(arrays) for arrays in zip(*moments.values(), strict=True))
        prompts = left_out.shape[2]
        own = np.zeros((len(moments), prompts, prompts))
        for k, name in enumerate(moments):
            if name in pairs:
                own[k] = _of_the_pair_alone(pairs[name])
        return cls(tuple(moments), draws, left_out, own)

    @classmethod
    def join(cls, parts: Sequence["Replicates"]) -> "Replicates":
        """The moments of all parts, which share their partitions."""
        names = tuple(name for part in parts for name in part.names)
        return cls(
            names,
            np.concatenate([part.draws for part in parts]),
            np.concatenate([part.left_out for part in parts]),
            np.concatenate([part.pairs for part in parts]),
        )

    def only(self, **names: str) -> "Replicates":
        """Some of the moments under new names: new name -> its name here."""
        k = [self.names.index(name) for name in names.values()]
        return Replicates(tuple(names), self.draws[k], self.left_out[k], self.pairs[k])

    def __getitem__(self, name: str) -> "Combination":
        k = self.names.index(name)
        return Combination(self, float(self.draws[k].mean()), np.eye(len(self.names))[k])

    @cached_property
    def influence(self) -> np.ndarray:
        """[k, P]: left_out averaged over partitions, less its mean over prompts."""
        return self._centred.mean(axis=1)

    @cached_property
    def _centred(self) -> np.ndarray:
        return self.left_out - self.left_out.mean(axis=2, keepdims=True)

    @cached_property
    def _excess(self) -> np.ndarray:
        """[k, k], what the plain jackknife covariance has too much."""
        count, prompts = self.left_out.shape[1:]
        noise = (self._centred - self.influence[:, None]).reshape(len(self.names), -1)
        pairs = self.pairs.reshape(len(self.names), -1)
        partitions = (prompts - 1) / prompts * noise @ noise.T / (count * (count - 1))
        return partitions + 2 * pairs @ pairs.T / (prompts * (prompts - 1)) ** 2

    @cached_property
    def _finite(self) -> np.ndarray:
        """[k, k], covariance of the moments themselves over another choice of the R partitions."""
        draws = self.draws - self.draws.mean(axis=1, keepdims=True)
        return draws @ draws.T / (draws.shape[1] * (draws.shape[1] - 1))

    def covariance(self, gradients: np.ndarray) -> np.ndarray:
        """[j, j], of the j combinations sum_k gradients[j, k] * moment k."""
        prompts = self.influence.shape[1]
        influence = gradients @ self.influence
        plain = (prompts - 1) / prompts * influence @ influence.T
        return _subtract(plain, gradients @ self._excess @ gradients.T) + gradients @ self._finite @ gradients.T

    def quantile(self, gradient: np.ndarray) -> float:
        """97.5 % of Student's t, with the degrees of freedom of the combination's variance (Satterthwaite).

        The plain jackknife variance is a sum of P squares: its own variance comes from their spread, and what is subtracted from it
        leaves that as it is. Many prompts of equal influence give about P degrees of freedom, a few long responses far fewer.
        """
        squares = (gradient @ self.influence) ** 2
        spread = float(squares.var() * len(squares))
        if spread == 0:
            return Z
        prompts = len(squares)
        left = float(self.covariance(gradient[None])[0, 0]) * prompts / (prompts - 1)
        return student.quantile(max(2 * left**2 / spread, 2.0))


@dataclass(frozen=True)
class Combination:
    """A number made of moments, with its gradient [k] in them."""

    moments: Replicates
    value: float
    gradient: np.ndarray

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(max(self.moments.covariance(self.gradient[None])[0, 0], 0.0))  # below 0 by rounding only

    @property
    def margin(self) -> float:
        """Half of the 95 % interval."""
        return self.moments.quantile(self.gradient) * self.error

    @property
    def estimate(self) -> Estimate:
        """value plus or minus margin. resolved: the interval excludes 0."""
        half = self.margin
        return Estimate.of(self.value, self.value - half, self.value + half, resolved=abs(self.value) > half)

    def __add__(self, other: "Combination") -> "Combination":
        return Combination(self.moments, self.value + other.value, self.gradient + other.gradient)

    def __sub__(self, other: "Combination") -> "Combination":
        return self + other.times(-1.0)

    def times(self, factor: float) -> "Combination":
        return Combination(self.moments, factor * self.value, factor * self.gradient)

    def __mul__(self, other: "Combination") -> "Combination":
        """The product of what the two estimate: their product less their covariance."""
        covariance = self.moments.covariance(np.stack([self.gradient, other.gradient]))[0, 1]
        gradient = other.value * self.gradient + self.value * other.gradient
        return Combination(self.moments, self.value * other.value - covariance, gradient)

    def over(self, other: "Combination") -> tuple[float, float, float]:
        """The ratio and its interval."""
        covariance = self.moments.covariance(np.stack([self.gradient, other.gradient]))
        ratio = self.value / other.value if other.value > 0 else 0.0
        quantile = self.moments.quantile(self.gradient - ratio * other.gradient)
        return fieller(self.value, other.value, covariance * (quantile / Z) ** 2)


def _of_the_pair_alone(kernel: np.ndarray) -> np.ndarray:
    """kernel [P, P] made symmetric, less what is due to each of the two prompts; 0 on the diagonal."""
    kernel = (kernel + kernel.T) / 2
    np.fill_diagonal(kernel, 0.0)
    prompts = len(kernel)
    mean = kernel.sum(axis=1) / (prompts - 1)
    kernel = kernel - mean[:, None] - mean + mean.mean()
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _subtract(plain: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """plain - excess, [j, j], where no combination keeps less than SMALLEST_SHARE of its plain variance."""
    scale = np.sqrt(np.diagonal(plain))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(plain / np.outer(scale, scale))
    kept = values > 1e-12
    root = scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])  # plain = root root'
    inverse = (vectors[:, kept] / np.sqrt(values[kept])).T / scale
    shares, axes = np.linalg.eigh(np.eye(int(kept.sum())) - inverse @ excess @ inverse.T)
    root = root @ axes
    return (root * np.maximum(shares, SMALLEST_SHARE)) @ root.T
