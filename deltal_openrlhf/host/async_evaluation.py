"""Evaluations of asynchronous training. The training half makes them between two steps, so a metric and the weights saved for it agree.

In the host the generating half evaluates when it next asks for work. Training has continued by then, so `best` holds the weights of a later
step than its metric. Engines may have newer weights than the named step, too. Once the data is used up, that half no longer asks, so the
last evaluations never happen (OpenRLHF#1341). Here training waits until the evaluation is done.
"""

import time
from typing import TYPE_CHECKING, Any

import ray
from openrlhf.trainer import ppo_trainer, ppo_trainer_async

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.data_order import data_order_bound
from deltal_openrlhf.host.data_sets import data_sets_bound
from deltal_openrlhf.host.eval_metrics import compute_eval_metrics
from deltal_openrlhf.host.rebind import rebound

if TYPE_CHECKING:
    from openrlhf.trainer.ppo_trainer_async import TrainingActor
else:
    TrainingActor = object

_Synchronous = ppo_trainer.PPOTrainer.__ray_metadata__.modified_class


class EvaluationMixin(TrainingActor):
    """A mixin in front of the host's TrainingActor."""

    args: Arguments
    eval_dataloader: Any = None
    _seconds = 0.0
    """Of the last evaluation, which the host would count to the next step."""

    def prepare_evaluation(self, **generate_kwargs: Any) -> None:
        """Read the evaluation sets. Called once, before fit. generate_kwargs: those of the host's generating half."""
        self.generate_kwargs = generate_kwargs
        with data_sets_bound(ppo_trainer_async), data_order_bound(ppo_trainer_async):
            prompts, self.eval_dataloader, _ = ppo_trainer_async.prepare_datasets(self.strategy, self.tokenizer)
            self.samples_generator = ppo_trainer_async.SamplesGenerator(
                strategy=self.strategy,
                prompts_dataloader=prompts,
                eval_dataloader=self.eval_dataloader,
                tokenizer=self.tokenizer,
                vllm_engines=self.vllm_engines,
            )

    def save_logs_and_checkpoints(
        self, global_step: int, logs_dict: dict | None = None, client_states: dict | None = None
    ) -> None:
        if logs_dict and "timing/step_total" in logs_dict:
            logs_dict["timing/step_total"] -= self._seconds
        self._seconds = 0.0
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)
        if self.eval_dataloader is not None and global_step % self.args.eval.steps == 0:
            began = time.time()
            metrics = self._evaluate(global_step)
            self.save_best_checkpoint(metrics, global_step, client_states)
            self._seconds = time.time() - began

    def _evaluate(self, global_step: int) -> dict:
        """The engines have this step's weights, which train_step has sent; nobody sends others meanwhile."""
        sampling = self.args.eval
        given = {"temperature": sampling.temperature, "n_samples_per_prompt": sampling.n_samples_per_prompt}
        ray.get(self.vllm_lock.acquire.remote())
        try:
            with rebound(ppo_trainer, "compute_eval_metrics", compute_eval_metrics):
                return _Synchronous.evaluate(self, global_step, **self.generate_kwargs | given)
        finally:
            ray.get(self.vllm_lock.release.remote())
