"""A controller that stops when the driver asks it to, with a checkpoint of the last finished step."""

import functools
import math
import time
from typing import TYPE_CHECKING, Any

from openrlhf.utils.logging_utils import init_logger

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import kept_steps, stop
from deltal_openrlhf.host.kept_steps import Steps
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.stop import Attention, AttentiveQueue, StopAsked, Stopped

if TYPE_CHECKING:
    from openrlhf.trainer.ppo_trainer import BasePPOTrainer
else:
    BasePPOTrainer = object

logger = init_logger(__name__)

TOLD_WITHIN = 2.0
"""Seconds within which the driver says that it was a signal that ended a process of the run."""


def told_within(attention: Attention, seconds: float) -> bool:
    """Whether the driver says within this many seconds that the run has to stop."""
    end = time.monotonic() + seconds
    while not (asked := attention.asked(now=True)) and time.monotonic() < end:
        time.sleep(0.1)
    return bool(asked)


class StoppableMixin(BasePPOTrainer):
    """A mixin in front of the host's controller, which is a BasePPOTrainer.

    It abandons a step while its responses come, and finishes one whose update has begun. It saves what the host saves after a step,
    whatever --ckpt.save_steps is.
    """

    args: Arguments
    best_eval_metric_value: float
    _steps = Steps()
    _states: dict
    """The client states of the last finished step."""
    _evaluated = 0
    """The last step that was evaluated."""
    rollout_queue: Any
    """Of the asynchronous controller only."""
    _updating = False
    """Whether the parameters are no longer those of the last finished step."""

    @functools.cached_property
    def attention(self) -> Attention:
        return Attention()

    def init_checkpoint_states(self) -> dict:
        states = super().init_checkpoint_states()
        step = states.get("global_step", 0)
        self._say(begun=step, finished=step, saved=step)
        return states

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Train like the host. Raises Stopped when the driver asks for it, once the last finished step is saved, if it may be."""
        self.attention.alive("training begins", now=True)
        if hasattr(self, "rollout_queue"):
            self.rollout_queue = AttentiveQueue(self.rollout_queue, self.attention)
        try:
            with self.attention.while_waiting():
                super().fit(*args, **kwargs)
        except StopAsked:
            raise self._finish() from None
        except Exception as error:
            # The signal may have gone to all processes, and vLLM's end on it.
            if self._updating or not told_within(self.attention, TOLD_WITHIN):
                raise
            logger.info(f"The run is told to stop; what ended before: {error}")
            raise self._finish() from error
        self.attention.alive("training ends", now=True)

    def ppo_train(self, global_steps: int) -> dict:
        self.attention.check(now=True)
        self._updating = True
        status = super().ppo_train(global_steps)
        self.attention.alive("an update")
        return status

    def broadcast_to_vllm(self) -> None:
        """Send weights like the host, unless nothing will be generated any more. (Async training waits for the generation in progress.)"""
        if not self.attention.asked(now=True):
            super().broadcast_to_vllm()
            self.attention.alive("a weight sync")

    def save_logs_and_checkpoints(
        self, global_step: int, logs_dict: dict | None = None, client_states: dict | None = None
    ) -> None:
        self._states = client_states or {}
        self._say(finished=global_step)
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)
        self._updating = False
        if self._saves_by_itself(global_step):
            self._say(saved=global_step)
        self.attention.alive(f"step {global_step}", now=True)
        self.attention.check(now=True)

    def save_best_checkpoint(self, eval_metrics: dict, global_step: int, client_states: dict | None = None) -> None:
        best = self.best_eval_metric_value
        super().save_best_checkpoint(eval_metrics, global_step, client_states)
        if self.best_eval_metric_value != best and not self.args.ckpt.disable_ds:
            self._say(saved=global_step)
        self._evaluated = global_step

    def _say(self, **changed: int) -> None:
        self._steps = self._steps._replace(**changed)
        kept_steps.say(self._steps)

    def _saves_by_itself(self, step: int) -> bool:
        """Whether the host has saved a checkpoint after this step."""
        return step % self.args.ckpt.save_steps == 0 and not self.args.ckpt.disable_ds

    def _finish(self) -> Stopped:
        """Save the last finished step if it is not saved yet, and close the trackers."""
        stopped = self._save()
        for tracker in (self.wandb_logger, self.tensorboard_logger):
            if tracker:
                tracker.close()
        return stopped

    def _save(self) -> Stopped:
        ckpt, steps = self.args.ckpt, self._steps
        if steps.finished == steps.begun:
            return Stopped(str(steps))
        if ckpt.disable_ds:
            return Stopped(f"{steps} (--ckpt.disable_ds)")
        step, told = steps.finished, ""
        if not self._saves_by_itself(step):
            if reason := stop.save_forbidden():
                return Stopped(f"{steps}: {reason}")
            # The host saves after every save_steps steps, and would log once more.
            with rebound(ckpt, "save_steps", 1), rebound(self.args.logger, "logging_steps", math.inf):
                super().save_logs_and_checkpoints(step, {}, self._states)
            self._say(saved=step)
            told = " although --ckpt.save_steps is -1" if ckpt.save_steps == math.inf else ""
        if self.args.eval.dataset and step % self.args.eval.steps == 0 and step != self._evaluated:
            told += f", without the evaluation after step {step}"
        return Stopped(
            f"checkpoint global_step{step} is saved in {ckpt.path}{told}; the same command with --ckpt.load_enable resumes from it"
        )
