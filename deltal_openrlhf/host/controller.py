"""The host's single controller (sync and async), extended with what only the controller can see.

- It sees whole rollout batches before they are cut into micro batches and spread over ranks. So it stops the
  run on a missing reward (the host swallows the exception of a reward function), and experience_maker.py computes the scope means.
- It sees the status of every PPO step and every evaluation, and writes each as one JSON line. On request it saves the responses too.
- It sees checkpoint states: a run resumes only with the loss it was saved with.
- The driver tells it when the run has to stop (stoppable.py).
"""

import functools
import time
from collections.abc import Sequence
from typing import Any

import ray
import torch
from openrlhf.trainer import ppo_trainer, ppo_trainer_async
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.utils.logging_utils import init_logger
from transformers import PreTrainedTokenizerBase

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import adaptive_kl, extra_logs, finished, run_settings
from deltal_openrlhf.host.async_evaluation import EvaluationMixin
from deltal_openrlhf.host.data_order import data_order_bound, used_prompts
from deltal_openrlhf.host.data_sets import data_sets_bound
from deltal_openrlhf.host.eval_metrics import compute_eval_metrics
from deltal_openrlhf.host.experience_maker import DeltaLExperienceMaker
from deltal_openrlhf.host.metrics import length_metrics
from deltal_openrlhf.host.planned_steps import planned_steps, rollout_prompts
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.resume import check_resumed_loss
from deltal_openrlhf.host.rollout_files import RolloutFiles
from deltal_openrlhf.host.scope_means import trained_lengths
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.stop import Attention, StopAsked
from deltal_openrlhf.host.stoppable import TOLD_WITHIN, StoppableMixin, told_within
from deltal_openrlhf.host.trained import Trained
from deltal_openrlhf.host.wandb_logger import DeltaLWandbLogger
from deltal_openrlhf.runs.metrics_file import EVALS, SILENT_STEPS, MetricsFile, silence

logger = init_logger(__name__)

ADAPTIVE_ALPHA = "adaptive_alpha"
"""Key of AdaptiveAlpha.state in the states of a checkpoint."""


class ControllerMixin(StoppableMixin):
    """A mixin in front of the host's controller, which is a BasePPOTrainer."""

    args: Arguments
    tokenizer: PreTrainedTokenizerBase
    total_steps: int | None = None
    last_rows: Sequence[dict] = ()

    @functools.cached_property
    def trained(self) -> Trained:
        return Trained()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with (
            rebound(ppo_trainer, "WandbLogger", DeltaLWandbLogger),
            rebound(ppo_trainer, "RemoteExperienceMaker", DeltaLExperienceMaker),
        ):
            super().__init__(*args, **kwargs)

    def init_checkpoint_states(self) -> dict:
        self.settings = LossSettings.from_args(self.args)
        self._check_workers()
        states = super().init_checkpoint_states()
        if not states:
            # The folder is there, a checkpoint is not: the run was killed while it saved its first one.
            with rebound(self.args.ckpt, "load_enable", False):
                states = super().init_checkpoint_states()
        step = states["global_step"]
        if step:
            # Where the host's own loader left off, in a checkpoint of the stock host, is not said to be of an episode.
            states["data_loader_state_dict"] = {"episode": states["episode"], **states["data_loader_state_dict"]}
        if step and not self.args.deltal.allow_changed_loss:
            check_resumed_loss(self.settings, states.get("deltal"))
        if not step:
            finished.forget(self.args)
        adaptive_kl.restore(states, self.kl_ctl, self.args)
        if self.settings.alpha_window is not None and ADAPTIVE_ALPHA in states:
            self.experience_maker.adaptive.restore(states[ADAPTIVE_ALPHA])
        run_settings.write(self.args, self.settings)
        self.metrics_file = MetricsFile(self.args.ckpt.output_dir, resumed_step=step)
        self.evals_file = MetricsFile(self.args.ckpt.output_dir, resumed_step=step, name=EVALS)
        self.rollout_files = RolloutFiles(
            self.args, self.settings, lambda tokens: self.tokenizer.batch_decode([tokens])[0], resumed_step=step
        )
        self.trained.resumed = step > 0
        return states

    def fit(self, *args: Any, **kwargs: Any) -> None:
        super().fit(*args, **kwargs)
        self.trained.check(self.args)

    def restore_best_checkpoint_state(self, checkpoint_states: dict) -> None:
        """As the host, but another --ckpt.best_metric_key than the saved one holds: the best value of the old one says nothing of it."""
        key, saved = self.args.ckpt.best_metric_key, checkpoint_states.get("best_eval_metric_key")
        if key and saved and key != saved:
            logger.info(
                f"--ckpt.best_metric_key is {key}, the checkpoint's best is by {saved}: the best one is looked for anew"
            )
            return
        super().restore_best_checkpoint_state(checkpoint_states)

    def _check_workers(self) -> None:
        wanted = self.settings.signature()
        for rank, signature in enumerate(ray.get(self.actor_model_group.async_run_method("loss_signature"))):
            if signature != wanted:
                raise RuntimeError(
                    f"training worker of rank {rank} has other loss settings: {signature}; the driver has {wanted}"
                )
        logger.info(self.settings.describe())

    def train_step(self, rollout_samples: Sequence[Experience], global_step: int) -> tuple[dict, int]:
        self._check_rewards(rollout_samples)
        self.rollout_files.save_if_due(rollout_samples, global_step + 1)
        if self.args.critic.model_name_or_path and len(rollout_samples) % self.args.train.batch_size:
            # Seen before the start where that is possible (check_whole_rollouts); dynamic filtering and async runs are not.
            raise RuntimeError(
                f"a rollout of {len(rollout_samples)} responses is not a multiple of --train.batch_size {self.args.train.batch_size}; the "
                "critic's trainer is the host's and would shift all its later optimizer steps"
            )
        logs = extra_logs.take_uneven(rollout_samples)
        status, global_step = super().train_step(rollout_samples, global_step)
        self.trained.add(status)
        status.update(logs)
        if self.settings.alpha_window is not None:
            status.update(self.experience_maker.logs)
        if "deltal/weight_sum_x_M" not in status and global_step - 1 > self.args.critic.freezing_steps:
            raise RuntimeError(
                "the policy was trained without this package's trainer: the host changed; nothing was logged by it"
            )
        return status, global_step

    def _check_rewards(self, rollout_samples: Sequence[Experience]) -> None:
        """A reward is never made up: the host leaves None where the reward function raised or the reward service was away."""
        source = self.args.reward.remote_url
        missing = [s for s in rollout_samples if s.rewards is None] if source else []
        if missing:
            raise RuntimeError(
                f"{len(missing)} of {len(rollout_samples)} responses got no reward from {source}; the reason is in the log behind "
                f"'Failed to fetch reward'; the first such prompt: {missing[0].prompts[0]!r}"
            )

    def _compute_rollout_stats(self, experiences: Sequence[Experience]) -> dict:
        lengths = torch.cat([e.action_mask.sum(-1) for e in experiences])
        trained = torch.cat([trained_lengths(e.action_mask, e.truncated, self.settings) for e in experiences])
        spreads = [e.info.get("group_reward_std") for e in experiences]
        spread = None if any(s is None for s in spreads) else torch.cat(spreads)
        return {**super()._compute_rollout_stats(experiences), **length_metrics(lengths, trained, spread)}

    def save_logs_and_checkpoints(
        self, global_step: int, logs_dict: dict | None = None, client_states: dict | None = None
    ) -> None:
        numbers = {k: v for k, v in (logs_dict or {}).items() if isinstance(v, int | float)}
        self.last_rows = [*self.last_rows[-SILENT_STEPS:], numbers]
        if note := silence(self.last_rows):
            logger.warning(note)
        if client_states:
            adaptive_kl.remember(client_states, self.kl_ctl, self.args)
            if self.settings.alpha_window is not None:
                client_states[ADAPTIVE_ALPHA] = self.experience_maker.adaptive.state()
            # The host counts what was drawn, and draws what waited for its step again after a resume.
            client_states["total_consumed_prompts"] = used_prompts(client_states["data_loader_state_dict"])
        self.metrics_file.append({"step": global_step, "total_steps": self.total_steps, "time": time.time(), **numbers})
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)

    def save_best_checkpoint(self, eval_metrics: dict, global_step: int, client_states: dict | None = None) -> None:
        """The host comes here with every evaluation: after its own one in sync, with that of the generating actor in async training."""
        numbers = {k: v for k, v in eval_metrics.items() if isinstance(v, int | float)}
        self.evals_file.append({"step": global_step, "time": time.time(), **numbers})
        super().save_best_checkpoint(eval_metrics, global_step, client_states)


class DeltaLController(ControllerMixin, ppo_trainer.PPOTrainer.__ray_metadata__.modified_class):
    """Synchronous controller."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with data_sets_bound(ppo_trainer), data_order_bound(ppo_trainer):
            super().__init__(*args, **kwargs)
        prompts = len(self.prompts_dataloader)
        self.total_steps = -(-prompts // rollout_prompts(self.args)) * self.args.train.num_episodes
        self.max_steps = planned_steps(self.args, prompts, self.strategy.steps_of_rollout)
        check_whole_rollouts(self.args, prompts)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict:
        with rebound(ppo_trainer, "compute_eval_metrics", compute_eval_metrics):
            return super().evaluate(*args, **kwargs)


class DeltaLGenerateSamplesActor(ppo_trainer_async.GenerateSamplesActor.__ray_metadata__.modified_class):
    """The generating half of the asynchronous controller."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with data_sets_bound(ppo_trainer_async), data_order_bound(ppo_trainer_async):
            super().__init__(*args, **kwargs)
        strategy = self.samples_generator.strategy
        self.max_steps = planned_steps(self.args, len(self.prompts_dataloader), strategy.steps_of_rollout)

    def _should_eval(self, global_step: int) -> bool:
        return False  # the training half evaluates

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """As the host; ends without an error when the run has to stop: the training half saves, and says so."""
        attention = Attention()
        try:
            with attention.while_waiting():
                super().fit(*args, **kwargs)
        except StopAsked:
            logger.info(f"generation ends: {attention.asked()}")
        except Exception as error:
            # The signal may have gone to all processes, and vLLM's end on it: the training half still saves.
            if not told_within(attention, TOLD_WITHIN):
                raise
            logger.info(f"generation ends: {error}")


class DeltaLTrainingActor(
    EvaluationMixin, ControllerMixin, ppo_trainer_async.TrainingActor.__ray_metadata__.modified_class
):
    """The training half of the asynchronous controller, which also evaluates."""


class DeltaLControllerAsync(ppo_trainer_async.PPOTrainerAsync.__ray_metadata__.modified_class):
    """Asynchronous controller."""

    def __init__(self, pretrain: str, strategy: Any, *args: Any, **kwargs: Any) -> None:
        with (
            rebound(ppo_trainer_async, "TrainingActor", ray.remote(DeltaLTrainingActor)),
            rebound(ppo_trainer_async, "GenerateSamplesActor", ray.remote(DeltaLGenerateSamplesActor)),
        ):
            super().__init__(pretrain, strategy, *args, **kwargs)
        if strategy.args.eval.dataset and strategy.args.eval.steps != float("inf"):
            ray.get(self.trainer_actor.prepare_evaluation.remote(**kwargs))


def check_whole_rollouts(args: Arguments, num_prompts: int) -> None:
    """Refuse short rollouts with a critic. The critic's trainer is the host's, where an incomplete optimizer step would shift all later
    ones.
    """
    if args.critic.model_name_or_path and num_prompts % args.rollout.batch_size:
        raise ValueError(
            f"{num_prompts} prompts are not a multiple of --rollout.batch_size {args.rollout.batch_size}; with a critic (--algo.advantage."
            "estimator gae) they have to be: set --data.max_samples"
        )
