"""The real ActorPPOTrainer and DeepSpeed engine on the batch of cases.py, without Ray and vLLM."""

from types import SimpleNamespace
from typing import Any, TypeVar

import deepspeed
import torch
from openrlhf.models import Actor
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from deltal_openrlhf.host.collectives import everyones
from deltal_openrlhf.host.scope_means import attach_scope_means
from deltal_openrlhf.host.strategy import DeltaLStrategy
from deltal_openrlhf.host.trainer import DeltaLActorTrainer
from deltal_openrlhf.modes import MODES_WITH_M
from deltal_openrlhf.parity.cases import (
    BIG_M,
    GROUP_SIZE,
    LONGEST,
    NUM_RESPONSES,
    NUM_SHORT,
    Case,
    learning_rate,
    make_batch,
    make_model,
)

Trainer = TypeVar("Trainer", bound=DeltaLActorTrainer)


class ParityStrategy(DeltaLStrategy):
    """Plain SGD at the case's rate in place of AdamW, and the loss at the wrong scale in that negative control."""

    case: Case

    def get_ds_train_config(self, *args: Any, **kwargs: Any) -> dict:
        config = super().get_ds_train_config(*args, **kwargs)
        if "optimizer" in config and not self.case.adamw:
            config["optimizer"] = {"type": "SGD", "params": {"lr": learning_rate(self.case)}}
        return config | {"zero_allow_untested_optimizer": True}

    def backward(self, loss: Tensor, model: Any, optimizer: Any, **kwargs: Any) -> None:
        super().backward(loss * 2 if self.case.wrong == "scale" else loss, model, optimizer, **kwargs)


class ParityTrainer(DeltaLActorTrainer):
    """trained_on: the responses of every optimizer step, by number."""

    trained_on: list[list[int]]

    def ppo_train(self, kl_ctl: float) -> dict:
        self.trained_on = [[]]
        status = super().ppo_train(kl_ctl)
        self.trained_on.pop()
        return status

    def training_step(
        self, experience: Experience, kl_ctl: float, step: int, loss_batch_info: dict | None = None
    ) -> dict:
        if experience.prompts:  # not the empty micro batches of a short rollout
            self.trained_on[-1] += [int(label) for label in experience.labels]
        status = super().training_step(experience, kl_ctl, step, loss_batch_info)
        whole = (step + 1) % self.loss_divisor == 0
        if self.replay_buffer.dynamic_optimizer_step[step] if self.args.train.dynamic_batch_enable else whole:
            self.trained_on.append([])
        return status


class NormalisedByMicroBatch(DeltaLActorTrainer):
    """The mistake of a negative control: each micro batch's weights are normalised by themselves."""

    def _set_weights(self, micro_batches: list[Tensor]) -> None:
        for rows in micro_batches:
            super()._set_weights([rows])
        for weights in self._weights:
            weights /= self.loss_divisor


def normalised_by_micro_batch(trainer_class: type[Trainer]) -> type[Trainer]:
    """The trainer with the mistake."""
    return type("Wrong", (NormalisedByMicroBatch, trainer_class), {})


def train(case: Case, rank: int, world: int, **classes: Any) -> dict[str, Any]:
    """Parameters after the rollout's optimizer steps, and which responses each of them trained on. classes: of build_trainer."""
    trainer = build_trainer(case, **classes)
    samples = experiences(case)
    attach_scope_means(samples, trainer.settings, GROUP_SIZE)
    for sample in samples[: NUM_SHORT if case.short else None][rank::world]:
        trainer.replay_buffer.append(sample)
    trainer.ppo_train(trainer.args.algo.kl.init_coef)

    steps: list[list[int]] = [sum(parts, []) for parts in zip(*everyones(trainer.trained_on), strict=True)]
    outcome: dict[str, Any] = {"after": parameters(trainer.actor), "steps": steps}
    if trainer.ema_model is not None:
        trainer.strategy.average.fill()
        outcome["ema"] = parameters(trainer.ema_model)
    return outcome


def build_trainer(
    case: Case,
    max_norm: float = 0.0,
    model: torch.nn.Module | None = None,
    eps: float = 1e-8,
    *,
    strategy_class: type = ParityStrategy,
    trainer_class: type | None = None,
) -> Any:
    """A ParityTrainer on a fresh DeepSpeed engine in this process's group, or a trainer of another class on another strategy.

    eps: of AdamW. trainer_class: None for that of the case.
    """
    args = arguments(case)
    strategy = strategy_class(
        seed=1,
        max_norm=max_norm,
        micro_train_batch_size=case.micro,
        train_batch_size=args.train.batch_size,
        zero_stage=case.zero,
        args=args,
    )
    strategy.case = case
    strategy.setup_distributed()
    model = model or make_model(case.lora)
    actor, ema = Actor(model.bfloat16() if case.bf16 else model), None
    actor.packing_samples, actor.temperature, actor.is_vlm = args.ds.packing_samples, 1.0, False
    adam = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": eps, "weight_decay": 0.0}
    config: dict[str, Any] = {"optim": "adam", "muon": {}, "adam": adam, "max_norm": max_norm, "scheduler_steps": 10}
    config |= {"lr_scheduler": "linear" if case.decay else "constant", "lr_warmup_ratio": 0.0, "min_lr_ratio": 0.1}
    actor, optimizer, scheduler = strategy.prepare((actor, config))
    if case.ema:
        ema = strategy.prepare(Actor(make_model(lora=False)))
    if trainer_class is None:
        trainer_class = normalised_by_micro_batch(ParityTrainer) if case.wrong == "micro-batch" else ParityTrainer
    return trainer_class(
        strategy,
        actor,
        ema,
        optimizer,
        scheduler,
        ema_beta=0.5,
        micro_train_batch_size=case.micro,
        dataloader_pin_memory=False,
    )


def experiences(case: Case, rows: list[dict] | None = None) -> list[Experience]:
    """The whole rollout batch, one response each. rows: of make_batch by default."""
    return [_experience(i, row, case) for i, row in enumerate(rows or make_batch(case.holes))]


def arguments(case: Case) -> SimpleNamespace:
    """The host's hierarchical arguments, as far as trainer and strategy read them."""
    space = SimpleNamespace
    num = NUM_RESPONSES
    return space(
        local_rank=-1,
        deltal=space(
            alpha=case.alpha,
            alpha_window=None,
            scope=case.scope,
            max_length=BIG_M if case.mode in MODES_WITH_M else None,
            overlong_filtering=case.filtering,
            allow_changed_loss=False,
            sgd=False,
            baseline=None,
            resumed=None,
            start="",
        ),
        train=space(
            seed=1,
            full_determinism_enable=False,
            micro_batch_size=case.micro,
            batch_size=num // case.steps,
            dynamic_batch_enable=case.dynamic,
            max_tokens_per_gpu=80,
            max_epochs=case.epochs,
            colocate_all=False,
            async_enable=False,
            agent_func_path=None,
        ),
        rollout=space(
            batch_size=num // GROUP_SIZE, n_samples_per_prompt=GROUP_SIZE, temperature=1.0, max_new_tokens=LONGEST
        ),
        data=space(max_len=2 * LONGEST),
        ds=space(
            param_dtype="bf16" if case.bf16 else "fp32",
            zero_stage=case.zero,
            packing_samples=case.packing or case.dynamic,
            ring_attn_size=1,
            tensor_parallel_size=1,
            adam_offload=False,
        ),
        vllm=space(sync_backend="gloo"),
        algo=space(
            advantage=space(
                estimator="reinforce",
                gamma=1.0,
                is_correction_level=case.correction,
                is_correction_mode="mask",
                is_correction_gating="ratio",
                is_correction_threshold=[0.8, 1.25],
            ),
            kl=space(use_loss=case.kl, init_coef=0.1 if case.kl else 0.0, estimator="k3", unbiased_gradient=False),
        ),
        actor=space(
            eps_clip_low_high=(0.2, 0.2),
            dual_clip=case.dual_clip,
            loss_agg_mode=case.mode,
            policy_loss_type="gspo" if case.gspo else "ppo",
            aux_loss_coef=0,
            entropy_coef=0.05 if case.entropy else None,
        ),
    )


def _experience(number: int, row: dict, case: Case) -> Experience:
    ids, mask = row["ids"][None], row["mask"][None]
    return Experience(
        sequences=ids,
        attention_mask=torch.ones_like(ids),
        action_mask=mask,
        action_log_probs=row["old"][None],
        base_action_log_probs=row["base"][None] if case.kl else None,
        rollout_log_probs=row["rollout"][None] if case.correction != "off" else None,
        advantages=row["advantage"] * mask.float(),
        response_length=mask.sum(-1).float(),
        total_length=torch.tensor([float(ids.shape[1])]),
        truncated=torch.tensor([row["truncated"]]),
        prompts=[f"prompt {number // GROUP_SIZE}"],
        labels=[str(number)],
        index=[number],
        info={"reward": torch.tensor([row["advantage"]])},
    )


def parameters(actor: Actor) -> dict[str, Tensor]:
    """The trained parameters, whole, on the CPU."""
    module = actor.model.module
    with deepspeed.zero.GatheredParameters(list(module.parameters())):
        return {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}
