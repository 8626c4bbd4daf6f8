"""Every aggregation in SkyRL: AggregationTrainer takes the arguments of RayPPOTrainer, and `aggregation`.

With loss_reduction seq_mean_token_sum_norm the host divides the advantages of an optimizer step (its mini batch) on the driver by D, the
number of the step's responses times max_seq_len. Workers then sum token losses over micro batches and ranks. D x_i times these advantages
give sum_i x_i S_i. The losses of entropy and KL have no advantage, and stay as they are in SkyRL.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from deltal_openrlhf.adapters.checks import aggregation_of, allow, require
from deltal_openrlhf.adapters.weights import numbered, rollout_weights
from deltal_openrlhf.aggregation import Aggregation, response_signs

HOST = "skyrl.train.trainer:RayPPOTrainer"
require(
    "skyrl",
    "0.3.0",
    exactly={
        f"{HOST}._normalize_advantages": "self, data, mini_batch_boundaries, prompt_boundaries",
        "skyrl.backends.skyrl_train.utils.ppo_utils:reduce_loss": "loss, loss_mask",
    },
    among={
        HOST: "cfg",
        "skyrl.train.config:AlgorithmConfig": "policy_loss_type, loss_reduction, max_seq_len",
        "skyrl.train.config:GeneratorConfig": "step_wise_trajectories",
    },
)
from skyrl.train.trainer import RayPPOTrainer  # noqa: E402


class AggregationTrainer(RayPPOTrainer):
    """RayPPOTrainer with an aggregation of ours. Raises ValueError, before it starts, for settings that would make it another."""

    def __init__(self, *arguments: Any, aggregation: Aggregation, **named: Any) -> None:
        cfg = inspect.signature(RayPPOTrainer).bind(*arguments, **named).arguments["cfg"]
        algorithm = cfg.trainer.algorithm
        allow("trainer.algorithm.loss_reduction", algorithm.loss_reduction, "seq_mean_token_sum_norm")
        # Those that are homogeneous in the advantage.
        allow("trainer.algorithm.policy_loss_type", algorithm.policy_loss_type, "regular", "dual_clip", "gspo", "cispo")
        # A trajectory would be several rows, each with a length of its own.
        allow("generator.step_wise_trajectories", cfg.generator.step_wise_trajectories, False)
        self.aggregation = aggregation_of(aggregation)
        super().__init__(*arguments, **named)

    def _normalize_advantages(
        self, data: Any, mini_batch_boundaries: Sequence[tuple[int, int]], prompt_boundaries: Any = None
    ) -> Any:
        data = super()._normalize_advantages(data, mini_batch_boundaries, prompt_boundaries)
        advantages, mask = data["advantages"], data["loss_mask"]
        uids = list(data.metadata["uids"])
        x = rollout_weights(
            self.aggregation,
            mask.sum(-1),
            [torch.arange(start, end) for start, end in mini_batch_boundaries],
            groups=numbered(uids + [None] * (len(mask) - len(uids))),  # rows that pad the batch have no token
            advantages=response_signs(advantages, mask),
        )
        for start, end in mini_batch_boundaries:
            x[start:end] *= (end - start) * self.cfg.trainer.algorithm.max_seq_len
        data["advantages"] = advantages * x[:, None].to(advantages.dtype)
        return data
