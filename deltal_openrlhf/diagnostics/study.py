"""All methods, compared on the same partitions of one sample into batches."""

import numpy as np

from deltal_openrlhf.diagnostics import methods
from deltal_openrlhf.diagnostics.advantages import advantages
from deltal_openrlhf.diagnostics.batches import PromptGradients, batch_moments, mean_square, prompt_gradients
from deltal_openrlhf.diagnostics.estimators import cv_ratio, norm, norm_ratio, summary
from deltal_openrlhf.diagnostics.methods import REFERENCE, Method, StepWeights
from deltal_openrlhf.diagnostics.partitions import Partitions
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.settings import Settings
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
"""Larger alphas are measured, but training does not offer them."""


class BatchStudy:
    """Moments of each method's batch gradients; the same partitions for all, so that methods are compared in pairs.

    Args:
        sample: in the order of prompts (GradientSample.by_prompt).
        settings: checked.
        rng: draws the partitions.
    """

    def __init__(self, sample: GradientSample, settings: Settings, rng: np.random.Generator) -> None:
        self.gram, self.settings = sample.gram(), settings
        self.lengths, rewards = sample.lengths_by_prompt(), sample.rewards_by_prompt()
        self.advantages = {
            name: advantages(rewards, self.lengths, estimator=name) for name in (settings.advantage, "opo")
        }
        prompts, size, count = sample.num_prompts, settings.batch_prompts, settings.partitions
        whole = Partitions.draw(np.arange(prompts), size, count, prompts, rng)
        self.partitions = {"step": whole, "rollout": whole.in_blocks(settings.rollout_batches)}
        order, third = np.argsort(self.lengths.mean(axis=1), kind="stable"), prompts // 3
        self.thirds = [
            Partitions.draw(members, size, count, prompts, rng) for members in (order[:third], order[prompts - third :])
        ]
        weights = self._weights(next(method for method in methods.all_methods() if method.key == REFERENCE))
        self.reference_scales = {name: weights.scales(drawn) for name, drawn in self.partitions.items()}
        self.reference_part = weights.profile() * self.advantages[settings.advantage]
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
            self.reference_mean = moments.only(reference_mean="reference_mean")
        if any(method.key in pair for pair in ORDER):
            self.spread[method.key] = moments.only(square="square", mean="mean")
        alpha = 0.0 if method.key == REFERENCE else method.alpha
        if alpha is not None and alpha <= RECOMMENDED_UP_TO and method.scope in (None, "step"):
            self.toward[alpha] = moments.only(**{str(alpha): "toward"})
        estimates, detectable_bias = summary(moments, comparable_scale=method.comparable_scale)
        estimates |= self._norms(gradients, weights)
        return {
            **{name: getattr(method, name) for name in ("key", "name", "mode", "alpha", "scope")},
            "advantage": method.advantage or self.settings.advantage,
            **{name: getattr(method, name) for name in ("kind", "comparable_scale")},
            **{name: estimate.as_json() for name, estimate in estimates.items()},
            "detectable_bias": detectable_bias,
            "responses_per_batch": float((self.lengths > 0).sum(axis=1).mean() * self.settings.batch_prompts),
        }

    def ordering(self) -> list[dict]:
        """The entry `ordering` of findings.json: CV of `a` / CV of `b`, paired, for the neighbours of ORDER."""
        found = []
        for a, b in ORDER:
            of_b = self.spread[b].only(reference_square="square", reference_mean="mean")
            found.append({"a": a, "b": b, "cv_ratio": cv_ratio(Replicates.join([self.spread[a], of_b])).as_json()})
        return found

    def alphas_of_step(self) -> tuple[Replicates, list[float]]:
        """What `recommend` takes, from the rows made so far."""
        alphas = sorted(self.toward)
        return Replicates.join([self.reference_mean, *(self.toward[alpha] for alpha in alphas)]), alphas

    def _weights(self, method: Method) -> StepWeights:
        factors = None
        if method.length_preference is not None:
            factors = methods.lambda_factors(self.lengths, method.length_preference)
        advantages = self.advantages[self.settings.advantage]
        return StepWeights(method, self.lengths, advantages, self.settings.max_length, factors)

    def _gradients(self, weights: StepWeights) -> PromptGradients:
        advantages = self.advantages[weights.method.advantage or self.settings.advantage]
        return prompt_gradients(self.gram, weights.profile(), advantages, self.reference_part)

    def _norms(self, gradients: PromptGradients, weights: StepWeights) -> dict[str, Estimate]:
        """norm_short, norm_long and norm_ratio; not defined where a third of the prompts does not make two batches."""
        if self.thirds[0].steps.shape[1] < 2:
            return dict.fromkeys(("norm_short", "norm_long", "norm_ratio"), Estimate.undefined())
        squares = []
        for third in self.thirds:
            if weights.method.scope == "rollout":
                third = third.in_blocks(min(self.settings.rollout_batches, third.steps.shape[1] // 2))
            squares.append(mean_square(gradients, weights.scales(third), third))
        short, long = squares
        return {"norm_short": norm(short), "norm_long": norm(long), "norm_ratio": norm_ratio(long, short)}
