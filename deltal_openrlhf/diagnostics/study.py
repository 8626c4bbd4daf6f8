"""All methods on the same partitions of one sample into batches."""

import numpy as np

from deltal_openrlhf.diagnostics.batches import (
    Partitions,
    PromptGradients,
    batch_moments,
    mean_square,
    prompt_gradients,
)
from deltal_openrlhf.diagnostics.estimators import cv_ratio, norm, norm_ratio, summary
from deltal_openrlhf.diagnostics.methods import (
    REFERENCE,
    Method,
    StepWeights,
    all_methods,
    balanced_factors,
    lambda_factors,
)
from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.statistics.jackknife import Replicates

ORDER = (
    ("seq-mean-token-mean", "deltal-1-step"),
    ("deltal-1-step", "deltal-0.75-step"),
    ("deltal-0.75-step", "deltal-0.5-step"),
    ("deltal-0.5-step", "deltal-0.25-step"),
    ("deltal-0.25-step", REFERENCE),
    ("token-mean", REFERENCE),
)
"""Neighbours in the paper's order of the CV: GRPO = ∆L 1 <= ∆L with less alpha <= Dr. GRPO = DAPO."""
RECOMMENDED_UP_TO = 1.0
"""Larger alphas are measured, and not offered in training."""


class BatchStudy:
    """Moments of each method's batch gradients; the same partitions for all, so that methods are compared in pairs.

    Args:
        gram: [N, N] of score vectors, the n responses to each prompt next to each other.
        lengths: float64 [P, n].
        advantages: estimator -> [P, n]; "opo", and the one of all other methods.
        max_length: M.
        batch_prompts, partitions, rollout_batches: B, R, and the batches of a rollout.
        rng: draws the partitions.
    """

    def __init__(
        self,
        *,
        gram: np.ndarray,
        lengths: np.ndarray,
        advantages: dict[str, np.ndarray],
        max_length: float,
        batch_prompts: int,
        partitions: int,
        rollout_batches: int,
        rng: np.random.Generator,
    ) -> None:
        self.gram, self.lengths, self.advantages, self.max_length = gram, lengths, advantages, max_length
        self.advantage = next(name for name in advantages if name != "opo")
        self.batch_prompts, self.rollout_batches = batch_prompts, rollout_batches
        prompts = len(lengths)
        whole = Partitions.draw(np.arange(prompts), batch_prompts, partitions, prompts, rng)
        self.partitions = {"step": whole, "rollout": whole.in_blocks(rollout_batches)}
        order, third = np.argsort(lengths.mean(axis=1), kind="stable"), prompts // 3
        self.thirds = [
            Partitions.draw(members, batch_prompts, partitions, prompts, rng)
            for members in (order[:third], order[prompts - third :])
        ]
        self.reference = next(method for method in all_methods() if method.key == REFERENCE)
        weights = self._weights(self.reference)
        self.reference_scales = {name: weights.scales(drawn) for name, drawn in self.partitions.items()}
        self.reference_part = weights.profile() * advantages[self.advantage]
        self.reference_gradients = self._gradients(weights)
        self.toward: dict[float, Replicates] = {}  # of alpha, for the recommendation
        self.spread: dict[str, Replicates] = {}  # of methods in ORDER

    def row(self, method: Method) -> dict:
        """The entry of one method in findings.json."""
        weights = self._weights(method)
        gradients = self._gradients(weights)
        drawn = "rollout" if method.scope == "rollout" else "step"
        partitions = self.partitions[drawn]
        scales = weights.scales(partitions)
        moments = batch_moments(gradients, self.reference_gradients, scales, self.reference_scales[drawn], partitions)
        if method.key == REFERENCE:
            self.reference_mean = moments.only("reference_mean", as_name="reference_mean")
        if any(method.key in pair for pair in ORDER):
            self.spread[method.key] = Replicates.join([moments.only(name, as_name=name) for name in ("square", "mean")])
        alpha = 0.0 if method.key == REFERENCE else method.alpha
        if alpha is not None and alpha <= RECOMMENDED_UP_TO and method.scope in (None, "step"):
            self.toward[alpha] = moments.only("toward", as_name=str(alpha))
        estimates, detectable_bias = summary(moments, comparable_scale=method.comparable_scale)
        estimates |= self._norms(gradients, weights)
        return {
            "key": method.key,
            "name": method.name,
            "mode": method.mode,
            "alpha": method.alpha,
            "scope": method.scope,
            "advantage": method.advantage or self.advantage,
            "kind": method.kind,
            "comparable_scale": method.comparable_scale,
            **{name: estimate.as_json() for name, estimate in estimates.items()},
            "detectable_bias": detectable_bias,
            "responses_per_batch": float((self.lengths > 0).sum(axis=1).mean() * self.batch_prompts),
        }

    def ordering(self) -> list[dict]:
        """The entry `ordering` of findings.json: CV of `a` / CV of `b`, paired, for the neighbours of ORDER."""
        found = []
        for a, b in ORDER:
            one, other = self.spread[a], self.spread[b]
            moments = Replicates.join(
                [
                    one.only("square", as_name="square"),
                    one.only("mean", as_name="mean"),
                    other.only("square", as_name="reference_square"),
                    other.only("mean", as_name="reference_mean"),
                ]
            )
            found.append({"a": a, "b": b, "cv_ratio": cv_ratio(moments).as_json()})
        return found

    def alphas_of_step(self) -> tuple[Replicates, list[float]]:
        """What `recommend` takes, of the rows made so far."""
        alphas = sorted(self.toward)
        return Replicates.join([self.reference_mean, *(self.toward[alpha] for alpha in alphas)]), alphas

    def _weights(self, method: Method) -> StepWeights:
        factors = None
        if method.length_preference is not None:
            factors = lambda_factors(self.lengths, method.length_preference)
        elif method.mode == "balanced-aggregation":
            factors = balanced_factors(self.lengths, self.advantages[self.advantage], self.max_length)
        return StepWeights(method, self.lengths, self.max_length, factors)

    def _gradients(self, weights: StepWeights) -> PromptGradients:
        advantages = self.advantages[weights.method.advantage or self.advantage]
        return prompt_gradients(self.gram, weights.profile(), advantages, self.reference_part)

    def _norms(self, gradients: PromptGradients, weights: StepWeights) -> dict[str, Estimate]:
        """norm_short, norm_long and norm_ratio; not defined where a third of the prompts does not make two batches."""
        if self.thirds[0].steps.shape[1] < 2:
            return dict.fromkeys(("norm_short", "norm_long", "norm_ratio"), Estimate.undefined())
        squares = []
        for third in self.thirds:
            if weights.method.scope == "rollout":
                third = third.in_blocks(min(self.rollout_batches, third.steps.shape[1] // 2))
            squares.append(mean_square(gradients, weights.scales(third), third))
        short, long = squares
        return {"norm_short": norm(short), "norm_long": norm(long), "norm_ratio": norm_ratio(long, short)}
