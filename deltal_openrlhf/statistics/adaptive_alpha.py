"""An alpha of ∆L that follows the responses: --alpha auto.

For responses to P prompts with lengths L_i and squared gradient norms v_i = |A_i s_i|^2, the weights L_i^-alpha have the signal-to-noise
ratio

    R(alpha) = (sum_i L_i^-alpha)^2 / sum_i L_i^(-2 alpha) v_i

If the expected gradient of a response does not depend on its length, the assumption under which ∆L is unbiased, the expected cosine between
the gradient of a step and the plain mean gradient grows with R. `deltal diagnose` has that cosine for its criterion; it also sees the bias,
which R does not.

v_i is not known without a backward pass for each response. Its proxy is A_i^2 E_i, where E_i adds up the squared gradients of the tokens'
log-probabilities in their logits. A factor common to all v_i does not matter.

The alpha in force is a function of earlier rollouts only, so a step does not choose the weights of its own gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deltal_openrlhf.statistics.bootstrap import interval
from deltal_openrlhf.statistics.seeds import seed_of

GRID = np.arange(21) / 20
RESAMPLES = 1000
LEAST_PROMPTS = 10
"""With fewer that have a gradient, alpha stays."""


@dataclass
class AdaptiveAlpha:
    """The alpha in force. After every `window` rollouts it moves to the largest R on GRID over their responses, if R there is larger than R
    in force with a 95 % interval, by a bootstrap over prompts; else it stays. The interval is that of two given alphas. It does not know
    that one was chosen on the same responses, so alpha moves without cause in more than 2.5 % of the decisions.

    alpha: in [0, 1]. window: 1 or more. seed: of the bootstrap. responses: those since the last decision, rows (prompt, length, v).
    """

    alpha: float
    window: int
    seed: int
    rollouts: int = 0
    responses: list[tuple[int, float, float]] = field(default_factory=list)

    def add(
        self, lengths: Sequence[float], squared_norms: Sequence[float], prompts: Sequence[int]
    ) -> dict[str, float] | None:
        """Take a rollout that was trained on with the alpha in force. After the last of a window, decide.

        Args:
            lengths: [num_responses] in tokens, 0 for one that is not trained on.
            squared_norms: [num_responses], v_i up to a common factor.
            prompts: [num_responses], which responses belong to one prompt, in this rollout.

        Returns:
            None, or of a decision best, low and high: the alpha of the largest R and its 95 % interval.
        """
        first = 1 + max((row[0] for row in self.responses), default=-1)
        rows = zip(prompts, lengths, squared_norms, strict=True)
        self.responses += [(first + int(prompt), float(length), float(v)) for prompt, length, v in rows if length]
        self.rollouts += 1
        if self.rollouts % self.window:
            return None
        taken, self.responses = self.responses, []
        return self._decide(taken)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain numbers and lists."""
        return {"alpha": self.alpha, "rollouts": self.rollouts, "responses": [list(row) for row in self.responses]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue as the run that saved the state would have."""
        self.alpha, self.rollouts = state["alpha"], state["rollouts"]
        self.responses = [(prompt, length, v) for prompt, length, v in state["responses"]]

    def _decide(self, responses: Sequence[tuple[int, float, float]]) -> dict[str, float] | None:
        prompts, lengths, v = np.array(responses, dtype=float).reshape(-1, 3).T
        ids = np.unique(prompts, return_inverse=True)[1]
        of_prompts = np.zeros((2, ids.max(initial=-1) + 1, len(GRID)))
        powers = lengths[:, None] ** -GRID
        np.add.at(of_prompts[0], ids, powers)
        np.add.at(of_prompts[1], ids, powers**2 * v[:, None])
        if (of_prompts[1, :, 0] > 0).sum() < LEAST_PROMPTS:
            return None
        rng = np.random.default_rng(seed_of(self.seed, "alpha", self.rollouts))
        num = of_prompts.shape[1]
        drawn = rng.multinomial(num, np.full(num, 1 / num), size=RESAMPLES)
        sums = np.einsum("rp,kpg->krg", drawn, of_prompts)
        ratios = _log_ratio(sums[:, sums[1, :, 0] > 0])  # the others drew no prompt that has a gradient
        best = int(_log_ratio(of_prompts.sum(axis=1)).argmax())
        in_force = int(np.abs(GRID - self.alpha).argmin())
        low, _ = interval(ratios[:, best] - ratios[:, in_force])
        if low > 0:
            self.alpha = float(GRID[best])
        bounds = interval(GRID[ratios.argmax(axis=1)])
        return {"best": float(GRID[best]), "low": float(bounds[0]), "high": float(bounds[1])}


def _log_ratio(sums: np.ndarray) -> np.ndarray:
    """log R of [2, ..., alphas]: sums of L^-alpha and of L^(-2 alpha) v."""
    return 2 * np.log(sums[0]) - np.log(sums[1])
