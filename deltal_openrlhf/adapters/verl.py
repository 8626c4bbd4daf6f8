"""Every aggregation of one optimizer step in verl's FSDP actor, by verl's own configuration:

    actor_rollout_ref.actor._target_=deltal_openrlhf.adapters.verl.AggregationActorConfig
    actor_rollout_ref.actor.loss_agg_mode=token-sum
    +actor_rollout_ref.actor.aggregation._target_=deltal_openrlhf.Aggregation
    +actor_rollout_ref.actor.aggregation.mode=deltal   (and alpha, max_length)

With token-sum the host's gradient of a mini batch, which is one optimizer step, is that of sum_i S_i over all ranks. An engine gathers the
lengths of its responses and scales this rank's advantages with x_i. A worker makes its configuration before its engine, so this module is
there in time. An entry point in verl.plugins would be too, but verl goes on without a word where a plugin fails.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import distributed as dist

from deltal_openrlhf.adapters.checks import allow, require
from deltal_openrlhf.aggregation import Aggregation

require(
    "verl",
    "0.9.1",
    exactly={
        "verl.workers.engine:BaseEngine.train_batch": "self, data, loss_function",
        "verl.workers.engine:BaseEngine.get_data_parallel_group": "self",
        "verl.workers.utils.losses:ppo_loss": "config, model_output, data, dp_group",
    },
    among={"verl.workers.config:FSDPActorConfig": "strategy, policy_loss, loss_agg_mode, entropy_coeff, use_kl_loss"},
)
from verl.workers.config import FSDPActorConfig  # noqa: E402
from verl.workers.engine import EngineRegistry  # noqa: E402
from verl.workers.utils.losses import ppo_loss  # noqa: E402


@dataclass
class AggregationActorConfig(FSDPActorConfig):
    """The host's configuration with an aggregation of ours. Raises ValueError for settings that would make it another."""

    aggregation: Aggregation | None = None
    made: ClassVar[bool] = False
    """Whether this process has one. Its engine then trains with no other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allow("actor.strategy", self.strategy, "fsdp", "fsdp2")
        allow("actor.loss_agg_mode", self.loss_agg_mode, "token-sum")  # it would sum entropy and KL too
        allow("actor.entropy_coeff", self.entropy_coeff, 0)
        allow("actor.use_kl_loss", self.use_kl_loss, False)
        mode = self.policy_loss.loss_mode  # homogeneous in the advantage, and summed by loss_agg_mode
        allow("actor.policy_loss.loss_mode", mode, "vanilla", "gspo", "gpg", "cispo")
        if not isinstance(self.aggregation, Aggregation) or self.aggregation.spans_steps:
            raise ValueError(f"actor.aggregation is {self.aggregation}, allowed is one of a single optimizer step")
        AggregationActorConfig.made = True


class StepWeights:
    """For an engine: scales the advantages of an optimizer step with x_i before it cuts the step into micro batches."""

    def train_batch(self, data: Any, loss_function: Any) -> Any:
        config = getattr(loss_function, "keywords", {}).get("config")
        if isinstance(config, AggregationActorConfig):
            allow("the loss function of the actor", loss_function.func, ppo_loss)
            data = _weighed(data, config.aggregation, self.get_data_parallel_group())  # type: ignore[attr-defined]
        elif AggregationActorConfig.made:  # the step would be plain token-sum
            raise RuntimeError(
                f"the loss function of the actor has no AggregationActorConfig as its config: {loss_function}"
            )
        return super().train_batch(data, loss_function)  # type: ignore[misc]


def _weighed(data: Any, aggregation: Any, group: Any) -> Any:
    lengths: list[list[float]] = [[] for _ in range(dist.get_world_size(group))]
    dist.all_gather_object(lengths, [float(mask.sum()) for mask in data["response_mask"].unbind()], group)
    x = aggregation.weights([length for rank in lengths for length in rank])
    ours, old = x.split([len(rank) for rank in lengths])[dist.get_rank(group)], data["advantages"]
    rows = [row * x_i.to(row) for row, x_i in zip(old.unbind(), ours, strict=True)]
    as_one = functools.partial(torch.nested.as_nested_tensor, layout=torch.jagged) if old.is_nested else torch.stack
    return data.copy().update({"advantages": as_one(rows)})  # the caller's keeps what the next epoch scales


for engines in (EngineRegistry._engines["language_model"][backend] for backend in ("fsdp", "fsdp2")):
    engines |= {device: type(engine.__name__, (StepWeights, engine), {}) for device, engine in engines.items()}
