"""Every aggregation in slime, by a converter that a file of yours makes:

    from deltal_openrlhf import Aggregation
    from deltal_openrlhf.adapters.slime import converter
    convert = converter(Aggregation("deltal", alpha=0.75, max_length=8192))

and --custom-convert-samples-to-train-data-path YOUR_FILE.convert. slime's loss of an optimizer step is sum_r S_r / (G d_r): G is
--global-batch-size, in rollouts, and d_r the entry of rollout r in rollout_mask_sums, by default its trained tokens. The converter
sets d_r = 1 / (G x_r). A rollout of several samples is one response, as it is in slime. The losses of entropy and KL get these weights too.
"""

import functools
from argparse import Namespace
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from deltal_openrlhf.adapters.checks import aggregation_of, allow, require, resolve
from deltal_openrlhf.adapters.weights import numbered, rollout_weights
from deltal_openrlhf.aggregation import Aggregation, response_signs
from deltal_openrlhf.modes import PROMPT_MODES

require(
    "slime",
    "0.3.1",
    exactly={
        "slime.ray.rollout:RolloutManager._convert_samples_to_train_data": "self, samples",
        "slime.ray.rollout:RolloutManager._post_process_rewards": "self, samples",
        "slime.utils.dp_schedule:build_dp_schedule": "args, train_parallel_config, total_lengths, global_batch_size, rollout_indices",
    },
    among={"slime.utils.types:Sample": "group_index, rollout_id"},
)
from slime.utils.misc import load_function  # noqa: E402

MANAGER: Any = resolve("slime.ray.rollout:RolloutManager")


def converter(aggregation: Aggregation) -> Callable[[Namespace, list[Any]], dict[str, Any]]:
    """The function for slime. It raises ValueError, before the first update, for settings that would make it another aggregation."""
    aggregation_of(aggregation)

    def convert(args: Namespace, samples: list[Any]) -> dict[str, Any]:
        allow("--loss-type", args.loss_type, "policy_loss")
        if args.use_critic:  # its loss would get these weights
            raise ValueError("--advantage-estimator is ppo, allowed is one without a critic")
        allow("--calculate-per-token-loss", args.calculate_per_token_loss, False)
        allow("--custom-pg-loss-reducer-function-path", args.custom_pg_loss_reducer_function_path, None)
        if aggregation.mode == "balanced":  # what is known here are rewards: advantages must have their signs
            allow("with balanced, --advantage-estimator", args.advantage_estimator, "grpo", "gspo", "cispo")
            allow("with balanced, --normalize-advantages", args.normalize_advantages, False)
            allow("with balanced, --use-opd", args.use_opd, False)
            allow("with balanced, --custom-advantage-function-path", args.custom_advantage_function_path, None)
        by_prompt = aggregation.mode in PROMPT_MODES or aggregation.scope == "group"
        if by_prompt and any(sample.group_index is None for sample in samples):
            what = f"the scope {aggregation.scope}" if aggregation.scope else aggregation.mode
            raise ValueError(f"Sample.group_index is None, allowed with {what} is the number of the prompt")
        path = args.custom_reward_post_process_path
        host = SimpleNamespace(args=args, custom_convert_samples_to_train_data_func=None)
        host.custom_reward_post_process_func = load_function(path) if path else None
        host._post_process_rewards = functools.partial(MANAGER._post_process_rewards, host)
        data = MANAGER._convert_samples_to_train_data(host, samples)

        ids = numbered(data["rollout_ids"])  # slime takes rollouts into its steps in this order
        first = [data["rollout_ids"].index(name) for name in dict.fromkeys(data["rollout_ids"])]
        size = args.global_batch_size
        members, rewards = ids == torch.arange(len(first))[:, None], torch.tensor(data["rewards"])
        x = rollout_weights(
            aggregation,
            torch.tensor(data["rollout_mask_sums"], dtype=torch.float64)[first],
            [part for part in torch.arange(len(first)).split(size) if len(part) == size],  # slime drops the rest
            groups=numbered([samples[row].group_index for row in first]),
            advantages=response_signs(rewards.expand(members.shape), members),
        )
        divisors = torch.where(x > 0, 1 / (x * size), 1.0)
        if (least := float(divisors.min())) < 1:
            said = f"a divisor would be {least:.3g}, and slime divides by no less than 1"
            if aggregation.max_length is not None:
                said += f"; max_length (M) is {aggregation.max_length}, allowed is {aggregation.max_length / least:.4g} or more"
            raise ValueError(said)
        data["rollout_mask_sums"] = divisors[ids].tolist()
        return data

    return convert
