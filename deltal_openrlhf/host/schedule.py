"""The learning-rate schedule that the host requests from DeepSpeed, for optimizers that DeepSpeed does not make."""

import math

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers.trainer import get_scheduler

from deltal_openrlhf.arguments import Actor
from deltal_openrlhf.host.optimizer_flags import WITH_LEAST_RATE


def learning_rate_schedule(actor: Actor, num_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
    """Make the schedule like DeepspeedStrategy, from --actor.lr_scheduler, lr_warmup_ratio, min_lr_ratio and --actor.adam.lr.

    num_steps: optimizer steps of the whole run. optimizer: None for one that is not torch's. The schedule then has a stand-in, and
    get_last_lr()[0] is the rate of the next step.
    """
    if optimizer is None:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=actor.adam.lr)
    least = {"min_lr_rate": actor.min_lr_ratio} if actor.lr_scheduler in WITH_LEAST_RATE else {}
    return get_scheduler(
        actor.lr_scheduler,
        optimizer,
        num_warmup_steps=math.ceil(num_steps * actor.lr_warmup_ratio),
        num_training_steps=num_steps,
        scheduler_specific_kwargs=least,
    )
