"""Every aggregation in TRL's GRPOTrainer: AggregationTrainer takes its arguments, and `aggregation`.

The host's gradient of an optimizer step is that of sum_i S_i / D. With loss_type dr_grpo, D is the number of the step's responses times
max_completion_length; with cispo, it is the mean number of a step's tokens. The advantages x_i D A_i turn it into that of sum_i x_i S_i.
They are set once a generation batch is there. What has no advantage (losses of KL, entropy and router) stays as it is in TRL.
"""

import inspect
from typing import Any

import torch

from deltal_openrlhf.adapters.checks import aggregation_of, allow, require
from deltal_openrlhf.adapters.weights import rollout_weights
from deltal_openrlhf.aggregation import Aggregation, response_signs

HOST = "trl.trainer.grpo_trainer:GRPOTrainer"
SETTINGS = "gradient_accumulation_steps, max_completion_length, steps_per_generation, loss_type, top_entropy_quantile, use_liger_kernel"
require(
    "trl",
    "1.16.0",
    exactly={
        f"{HOST}._prepare_inputs": "self, generation_batch",
        f"{HOST}._generate_and_score_completions": "self, inputs",
        f"{HOST}._compute_loss": "self, model, inputs",
    },
    among={HOST: "args", "trl:GRPOConfig": SETTINGS},
)
from trl import GRPOTrainer  # noqa: E402


class AggregationTrainer(GRPOTrainer):
    """GRPOTrainer with an aggregation of ours. Raises ValueError, before it loads a model, for settings that would make it another."""

    def __init__(self, *arguments: Any, aggregation: Aggregation, **named: Any) -> None:
        args: Any = inspect.signature(GRPOTrainer).bind(*arguments, **named).arguments.get("args")
        allow("loss_type", args and args.loss_type, "dr_grpo", "cispo")  # they sum the token losses
        allow("top_entropy_quantile", args.top_entropy_quantile, 1.0)  # the threshold of others is one of a micro batch
        allow("use_liger_kernel", args.use_liger_kernel, False)  # its kernels were never compared
        # Otherwise an optimizer step has responses of two generation batches.
        if args.steps_per_generation % args.gradient_accumulation_steps:
            allowed = f"a multiple of gradient_accumulation_steps, {args.gradient_accumulation_steps}"
            raise ValueError(f"steps_per_generation is {args.steps_per_generation}, allowed is {allowed}")
        self.aggregation = aggregation_of(aggregation)
        super().__init__(*arguments, **named)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        made = super()._generate_and_score_completions(inputs)
        if self.model.training:  # the rows are still in order: rank after rank, num_generations of a prompt
            rows = torch.arange(len(made["advantages"]), device=made["advantages"].device)
            made["group"] = (self.accelerator.process_index * len(rows) + rows) // self.num_generations
        return made

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self.model.training and self._buffered_inputs is not before:
            self._weigh(self._buffered_inputs)
        return inputs

    def _weigh(self, batches: list[dict[str, Any]]) -> None:
        """Scale the advantages of a generation batch in place. batches: the micro batches of this rank."""
        every = self.accelerator.gather(torch.stack([_rows(batch) for batch in batches])[None]).movedim(2, 0)
        accumulated, shape = self.args.gradient_accumulation_steps, every.shape[1:]  # ranks, micro batches, responses
        rows = torch.arange(shape.numel(), device=every.device).view(shape)
        steps = [step.flatten() for step in rows.split(accumulated, dim=1)]
        lengths, groups, signs = every.flatten(1)
        x = rollout_weights(self.aggregation, lengths, steps, groups=groups, advantages=signs).view(shape)
        for batch, ours in zip(batches, x[self.accelerator.process_index], strict=True):
            divisor = shape[0] * accumulated * shape[2] * self.max_completion_length
            if self.loss_type == "cispo":
                divisor = batch["num_items_in_batch"].clamp(min=1) * accumulated / shape[1]
            advantages, scale = batch["advantages"], ours * divisor
            batch["advantages"] = advantages * (scale if advantages.dim() == 1 else scale[:, None]).to(advantages.dtype)


def _rows(batch: dict[str, Any]) -> torch.Tensor:
    """[3, num_responses]: tokens, prompt, and sign of the advantages."""
    mask, advantages = batch["completion_mask"] * batch.get("tool_mask", 1), batch["advantages"]
    signs = advantages if advantages.dim() == 1 else response_signs(advantages, mask)
    return torch.stack([mask.sum(1).double(), batch["group"].double(), signs.double()])
