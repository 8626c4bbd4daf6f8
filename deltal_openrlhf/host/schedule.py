"""The host's learning-rate flags for an optimizer that is not torch's."""

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers.trainer import get_scheduler

WITH_LEAST_RATE = ("cosine_with_min_lr", "cosine_warmup_with_min_lr")


def learning_rate_schedule(args: Any, num_steps: int) -> LRScheduler:
    """As DeepspeedStrategy makes it from --actor.lr_scheduler, lr_warmup_ratio, min_lr_ratio and --actor.adam.lr: over num_steps
    optimizer steps, on a stand-in optimizer. get_last_lr()[0] is the rate of the next step."""
    stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.actor.adam.lr)
    least = {"min_lr_rate": args.actor.min_lr_ratio} if args.actor.lr_scheduler in WITH_LEAST_RATE else {}
    return get_scheduler(
        args.actor.lr_scheduler,
        stand_in,
        num_warmup_steps=math.ceil(num_steps * args.actor.lr_warmup_ratio),
        num_training_steps=num_steps,
        scheduler_specific_kwargs=least,
    )
