"""One sample of responses with the Gram matrices of their gradients, which is all that the statistics need."""

from dataclasses import dataclass, replace

import numpy as np

TYPES = ("q", "k", "v", "qkv", "o", "mlp", "embedding", "norm", "head", "other")


@dataclass(frozen=True)
class GradientSample:
    """N responses, n to each of P prompts, and the inner products of their score vectors.

    s_i is the gradient of sum_t log pi(y_t | ...) over the trained tokens of response i, without the advantage.
    """

    lengths: np.ndarray
    """int [N], trained tokens"""
    rewards: np.ndarray
    """float64 [N]"""
    groups: np.ndarray
    """int [N], prompt ids; every prompt has the same number n of responses"""
    truncated: np.ndarray
    """bool [N], the response hit the length limit"""
    grams: dict[str, np.ndarray]
    """layer type (one of TYPES) -> [N, N], <s_i, s_j> over that type's parameters; in the order of display. Their sum is the whole."""

    @property
    def num_prompts(self) -> int:
        """P."""
        return len(np.unique(self.groups))

    @property
    def responses_per_prompt(self) -> int:
        """n."""
        return len(self.lengths) // self.num_prompts

    def lengths_by_prompt(self) -> np.ndarray:
        """float64 [P, n], of a sample in the order of prompts."""
        return self.lengths.reshape(self.num_prompts, -1).astype(np.float64)

    def rewards_by_prompt(self) -> np.ndarray:
        """float64 [P, n], of a sample in the order of prompts."""
        return self.rewards.reshape(self.num_prompts, -1)

    def gram(self) -> np.ndarray:
        """The Gram matrix over all parameters, float64 [N, N]."""
        return np.sum([gram.astype(np.float64) for gram in self.grams.values()], axis=0)

    def check(self) -> None:
        """Raise ValueError, in one line, for arrays that do not fit together or values that cannot be."""
        shape = np.shape(self.lengths)
        if len(shape) != 1 or shape[0] == 0:
            raise ValueError(f"lengths has shape {shape}, allowed is [responses] with at least one response")
        for name in ("rewards", "groups", "truncated"):
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(
                    f"{name} has shape {np.shape(getattr(self, name))}, lengths has {shape}; they must be the same"
                )
        if not self.grams:
            raise ValueError(f"grams is empty, needed is at least one of {', '.join(TYPES)}")
        for name, gram in self.grams.items():
            if name not in TYPES:
                raise ValueError(f"grams holds the layer type {name!r}, allowed are {', '.join(TYPES)}")
            if gram.shape != shape * 2:
                raise ValueError(f"the Gram matrix of {name} has shape {gram.shape}, allowed is {shape * 2}")
            if not np.isfinite(gram).all():
                raise ValueError(f"the Gram matrix of {name} holds a non-finite value, allowed are finite numbers")
        if not np.isfinite(self.rewards).all():
            raise ValueError("rewards holds a non-finite value, allowed are finite numbers")
        if (np.asarray(self.lengths) < 0).any():
            raise ValueError(f"lengths holds {np.min(self.lengths)}, allowed are token counts of 0 and more")
        prompts, counts = np.unique(self.groups, return_counts=True)
        if counts.min() != counts.max():
            few = prompts[counts.argmin()]
            raise ValueError(
                f"prompt {few} has {counts.min()} responses and another has {counts.max()}, every prompt must have the same number"
            )

    def by_prompt(self) -> "GradientSample":
        """The same sample, checked, with the responses of a prompt next to each other and prompt ids 0..P-1."""
        self.check()
        order = np.argsort(self.groups, kind="stable")
        in_order = bool((order == np.arange(len(order))).all())
        return replace(
            self,
            lengths=np.asarray(self.lengths)[order],
            rewards=np.asarray(self.rewards, dtype=np.float64)[order],
            groups=np.unique(self.groups, return_inverse=True)[1][order],
            truncated=np.asarray(self.truncated, dtype=bool)[order],
            grams=self.grams if in_order else {name: gram[np.ix_(order, order)] for name, gram in self.grams.items()},
        )
