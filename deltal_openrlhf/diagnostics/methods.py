"""The compared estimators: weights of one optimizer step, and advantages.

A method gives one optimizer step the gradient G = sum_i x_i A_i s_i. deltal_openrlhf.aggregation computes the weights x_i. This file
selects them and adds what the comparisons change:

    OPO                   arXiv 2505.23585: advantages r - sum(L r) / sum(L), weights of Dr. GRPO norm
    λ-GRPO                arXiv 2510.06870: token-mean times f_i, f = n softmax(h^λ) over a prompt's n responses, h = 1 + r z,
                          z = (L - mean) / std of the prompt's lengths. λ is learned there; here it is fixed at +1 (prefers long
                          responses) and -1 (short ones), with r = 1/9, which is a public reimplementation's

In every method the weights of a step are a fixed profile times one number of that step, x_i = scale(step) u_i. Within a step, only the
normaliser depends on the other responses. So the gradient of a step is scale * sum over its prompts of v_p, where v_p = sum of u_i A_i s_i
over the prompt's responses. Batch statistics therefore need only the [P, P] inner products of v_p.

Let u_i be the weights of one step over the whole sample. Then 1 / scale is the step's share of the whole normaliser (of tokens, of
responses, of sum_j L_j^-alpha). It adds up over the prompts of the step.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from deltal_openrlhf.aggregation import Aggregation
from deltal_openrlhf.diagnostics.partitions import Partitions
from deltal_openrlhf.modes import MODES_WITH_M, SCOPES

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
REFERENCE = "seq-mean-token-sum-norm"
"""Dr. GRPO norm: the plain mean of the responses' gradients, up to a constant."""
BASELINES = {"token-mean": "DAPO norm", "seq-mean-token-mean": "GRPO norm", REFERENCE: "Dr. GRPO norm"}
LAMBDA_REACH = 1 / 9


@dataclass(frozen=True)
class Method:
    key: str
    name: str
    mode: str
    """one of modes.MODES, or the name of the comparison"""
    kind: str
    """baseline, deltal or comparison"""
    weights: str
    """one of modes.MODES: whose weights are taken"""
    alpha: float | None = None
    scope: str | None = None
    advantage: str | None = None
    """of its own (opo); None is the sample's"""
    length_preference: float | None = None
    """λ of λ-GRPO"""
    comparable_scale: bool = False
    """its mean is meant to be the reference's vector, not only its direction"""


def all_methods() -> list[Method]:
    """The baselines (the reference is the last of them), ∆L over alpha and scope, the comparisons. alpha 0 is the reference."""
    deltal = partial(Method, mode="deltal", kind="deltal", weights="deltal", comparable_scale=True)
    lambda_grpo = partial(Method, mode="lambda-grpo", kind="comparison", weights="token-mean")
    names = {"step": "", "rollout": " (rollout)", "group": " (group)"}
    return [
        *(Method(m, name, m, "baseline", m, comparable_scale=m == REFERENCE) for m, name in BASELINES.items()),
        *(
            deltal(f"deltal-{alpha:g}-{scope}", f"∆L {alpha:g}{names[scope]}", alpha=alpha, scope=scope)
            for scope in SCOPES
            for alpha in ALPHAS
        ),
        Method("opo", "OPO", "opo", "comparison", REFERENCE, advantage="opo"),
        lambda_grpo("lambda-grpo-long", "λ-GRPO (fixed λ = 1)", length_preference=1),
        lambda_grpo("lambda-grpo-short", "λ-GRPO (fixed λ = -1)", length_preference=-1),
        Method("prompt-mean", "Prompt mean", "prompt-mean", "comparison", "prompt-mean"),
        Method("balanced", "Balanced aggregation", "balanced", "comparison", "balanced"),
    ]


def lambda_factors(lengths: np.ndarray, preference: float) -> np.ndarray:
    """f_i of λ-GRPO, [prompts, n], mean 1 in each prompt. lengths: [prompts, n]; a prompt of equal lengths has f = 1."""
    std = lengths.std(axis=1, keepdims=True)
    z = (lengths - lengths.mean(axis=1, keepdims=True)) / np.where(std > 0, std, 1)
    h = np.maximum(1 + LAMBDA_REACH * z, LAMBDA_REACH)  # |z| < sqrt(n), so this bound takes no part up to n = 65
    logits = h**preference
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    return lengths.shape[1] * softmax / softmax.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class StepWeights:
    """Weights x_i of a method for steps made of whole prompts.

    lengths, advantages: [P, n]. factors: [P, n], what a comparison multiplies the weights with; None is 1.
    """

    method: Method
    lengths: np.ndarray
    advantages: np.ndarray
    max_length: float
    factors: np.ndarray | None = None

    def profile(self) -> np.ndarray:
        """u_i [P, n]: the weights of one step over the whole sample."""
        return self._plain if self.factors is None else self._plain * self.factors

    def scales(self, partitions: Partitions) -> np.ndarray:
        """x_i / u_i of each step, [R, batches]; 0 for a step without a trained token. A block of batches is one rollout.

        The scope rollout takes the mean of L^-alpha over the rollout: the weights are those of one step of the whole rollout, but for
        the number of responses.
        """
        normaliser = self.shares[partitions.steps].sum(axis=2)
        if self.method.scope == "rollout":
            rollouts = partitions.rollouts()
            counts = (self.lengths > 0).sum(axis=1)
            responses, of_rollout = counts[partitions.steps].sum(axis=2), counts[rollouts].sum(axis=2)
            normaliser = self.shares[rollouts].sum(axis=2) * responses / np.maximum(of_rollout, 1)
        return np.divide(1.0, normaliser, out=np.zeros_like(normaliser), where=normaliser > 0)

    @cached_property
    def shares(self) -> np.ndarray:
        """[P]: each prompt's part of the normaliser. In one step x_i L_i add up to 1 for means over tokens, x_i M for the other modes."""
        has_m = self.method.weights in MODES_WITH_M
        return (self._plain * (self.max_length if has_m else self.lengths)).sum(axis=1)

    @cached_property
    def _plain(self) -> np.ndarray:
        """The profile before the factors, [P, n]; the step is its own rollout.

        alpha above 1 is for measurement and not offered in training, so aggregation.py refuses it; L^-alpha is (L^alpha)^-1.
        """
        method, alpha, lengths = self.method, self.method.alpha, self.lengths
        if alpha is not None and alpha > 1:
            lengths, alpha = lengths**alpha, 1.0
        groups = torch.arange(len(lengths)).repeat_interleave(lengths.shape[1])
        aggregation = Aggregation(method.weights, alpha=alpha, scope=method.scope, max_length=self.max_length)
        flat, signs = torch.from_numpy(lengths.reshape(-1)), torch.from_numpy(self.advantages.reshape(-1))
        return aggregation.weights(flat, groups, advantages=signs).numpy().reshape(lengths.shape)
