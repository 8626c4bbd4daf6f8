"""The host's Ray training workers on Megatron engines, for the policy and the reference model."""

import os
from typing import TYPE_CHECKING, Any

import torch
from openrlhf.trainer.ray import launcher
from openrlhf.utils import get_tokenizer
from openrlhf.utils.logging_utils import init_logger
from torch import Tensor

from deltal_openrlhf.host.actor import DeltaLPolicyModelActor
from deltal_openrlhf.host.token_energies import Scored, token_energies

if TYPE_CHECKING:
    from megatron_ext.engine import Engine, OptimizerSettings
    from megatron_ext.strategy import MegatronStrategy

logger = init_logger(__name__)


class LogProbs(launcher.BaseModelActor):
    """Log-probabilities without gradients, for a worker with an `engine`. One run of the schedule covers all of the host's micro
    batches.
    """

    engine: "Engine"
    strategy: "MegatronStrategy"
    needs_energies = False

    def execute_batch(self, method_name: str, all_data: dict, start_idx: int, end_idx: int) -> list:
        if method_name != "forward":
            return super().execute_batch(method_name, all_data, start_idx, end_idx)
        names = ("sequences", "action_mask", "attention_mask")
        return self._log_probs(*(all_data[name][start_idx:end_idx] for name in names))

    def forward(self, sequences: Tensor, action_mask: Tensor, attention_mask: Tensor) -> Tensor | Scored:
        """[num_responses, num_actions] fp32, 0 where nothing was sampled. sequences, attention_mask: [num_responses, num_tokens]."""
        return self._log_probs([sequences], [action_mask], [attention_mask])[0]

    def _log_probs(
        self, sequences: list[Tensor], masks: list[Tensor], attention_masks: list[Tensor]
    ) -> list[Tensor] | list[Scored]:
        device = torch.cuda.current_device()
        pairs = [(s.to(device), a.to(device)) for s, a in zip(sequences, attention_masks, strict=True)]
        budget = self.strategy.args.megatron.max_tokens_per_micro_batch
        rows = self.engine.log_probs(pairs, max_tokens=budget, squares=self.needs_energies)
        found = [
            (values[..., -mask.shape[1] :].cpu(), mask.cpu().float()) for values, mask in zip(rows, masks, strict=True)
        ]
        if not self.needs_energies:
            return [values * mask for values, mask in found]
        return [Scored(values[0] * mask, token_energies(*values) * mask) for values, mask in found]


class MegatronPolicyModelActor(LogProbs, DeltaLPolicyModelActor):
    """The policy's worker."""

    def init_model_from_pretrained(
        self, strategy: "MegatronStrategy", pretrain: str, max_steps: int, vllm_engines: list | None = None
    ) -> None:
        args = strategy.args
        self.save_hf_ckpt, self.disable_ds_ckpt = args.ckpt.save_hf, args.ckpt.disable_ds
        self.vllm_engines, self.max_steps = vllm_engines, max_steps
        self.ema_model = None
        self._setup_distributed(strategy)
        from deltal_openrlhf.host.schedule import learning_rate_schedule
        from megatron_ext.engine import OptimizerSettings
        from megatron_ext.trainer import MegatronActor, MegatronActorTrainer

        adam = args.actor.adam
        optimizer = OptimizerSettings(
            adam.lr, (adam.betas[0], adam.betas[1]), adam.eps, adam.weight_decay, args.actor.max_norm
        )
        self.engine = strategy.engine = _engine(strategy, pretrain, optimizer)
        self.actor = MegatronActor(self.engine)
        self.tokenizer = get_tokenizer(pretrain, None, "left", strategy, use_fast=not args.data.disable_fast_tokenizer)
        self.actor_scheduler = strategy.schedule = learning_rate_schedule(args.actor, max_steps)

        self.checkpoint_states: dict[str, Any] = {}
        folder = os.path.join(args.ckpt.path, "_actor")
        if args.ckpt.load_enable and os.path.exists(folder):
            strategy.print(f"Loading the checkpoint: {folder}")
            _, self.checkpoint_states = strategy.load_ckpt(self.actor.model, folder)
        if args.ds.enable_sleep:
            self.engine.offload()
        self.trainer = MegatronActorTrainer(
            strategy,
            self.actor,
            ema_model=None,
            actor_optim=None,
            actor_scheduler=self.actor_scheduler,
            micro_train_batch_size=args.train.micro_batch_size,
            tokenizer=self.tokenizer,
            eps_clip=args.actor.eps_clip,
            vllm_engines=vllm_engines,
        )
        self.needs_energies = self.trainer.settings.needs_energies
        logger.info(f"rank {strategy.get_rank()}: {self.trainer.settings.describe()}; {strategy.layout.describe()}")

    def reload_states(self) -> None:
        self.engine.reload()

    def offload_states(self) -> None:
        self.engine.offload()


class MegatronReferenceModelActor(LogProbs):
    """The reference model's worker."""

    def init_model_from_pretrained(self, strategy: "MegatronStrategy", pretrain: str) -> None:
        self._setup_distributed(strategy)
        self.engine = _engine(strategy, pretrain, None)


def _engine(strategy: "MegatronStrategy", pretrain: str, optimizer: "OptimizerSettings | None") -> "Engine":
    from megatron_ext.engine import Engine
    from megatron_ext.model import MegatronModel, ModelSettings

    args = strategy.args
    settings = ModelSettings(
        path=pretrain,
        dtype=torch.bfloat16,
        chunk_size=args.megatron.logprob_chunk_size,
        temperature=args.rollout.temperature,
        recompute=args.actor.gradient_checkpointing_enable and optimizer is not None,
        aux_loss_coef=args.actor.aux_loss_coef if optimizer is not None else 0.0,
    )
    engine = Engine(MegatronModel(settings, strategy.layout), packed=args.ds.packing_samples, optimizer=optimizer)
    strategy.pulse.alive("a model is ready")
    for chunk in engine.chunks:
        strategy.pulse.follow(chunk)
    return engine
