"""All that this package relies on in OpenRLHF, and the names it binds. Nothing else of the host is touched; no file is edited.

Checked against OpenRLHF 0.11.2. A later version in which every symbol below has the same parameters runs; one in which a symbol is gone
or takes other parameters is refused at start with its name.

What a run binds, in the driver only, and until the run ends:

    openrlhf.utils.deepspeed.DeepspeedStrategy        -> the backend's strategy; DeepSpeed's is DeltaLStrategy (guards, checkpoints)
    openrlhf.trainer.ray.ppo_actor.PolicyModelActor   -> the backend's policy worker; DeepSpeed's is DeltaLPolicyModelActor
    openrlhf.trainer.ray.launcher.ReferenceModelActor -> the backend's reference worker; with DeepSpeed the host's own
    openrlhf.trainer.ppo_trainer.PPOTrainer           -> DeltaLController
    openrlhf.trainer.ppo_trainer_async.PPOTrainerAsync -> DeltaLControllerAsync, and inside it both its halves
    openrlhf.trainer.ray.create_vllm_engines          -> engines that raise when there is no reward (reward.py)
    argparse.ArgumentParser.parse_args                -> adds our flags to the host's parser, checks all flags

The Ray actors unpickle our classes by reference; inside them the trainer, its window iterator, the halves of the async controller, the
experience maker and what draws the prompts are bound while they are built or run (actor.py, trainer.py, controller.py, data_order.py).
Where a baseline needs the probabilities' squares, a forward pass computes them in place of entropies (token_energies.py). Without a GPU,
the trainer's engines and their process group are bound while it sends them weights (weight_buckets.py).
In every process two functions of transformers are bound that decide on and run the Python of a model (remote_code.py).
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from deltal_openrlhf import backends
from deltal_openrlhf.backends import Backend
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.signatures import changed, resolve
from deltal_openrlhf.runs.packages import installed_version

CHECKED_AGAINST = "0.11.2"
CLI_MODULE = "openrlhf.cli.train_ppo_ray"

# module:symbol -> the parameters (or, for classes, the attributes) that we rely on, in order.
SIGNATURES: dict[str, str] = {
    "openrlhf.models.loss:PolicyLoss.forward": "self, log_probs, old_log_probs, advantages, action_mask, rollout_log_probs, dp_size, "
    "batch_num_tokens, global_batch_size",
    "openrlhf.models.loss:PolicyLoss.__init__": "self, clip_eps_low, clip_eps_high, dual_clip, token_level_loss, policy_loss_type, "
    "is_correction_level, is_correction_mode, is_correction_gating, is_correction_threshold",
    "openrlhf.models.loss:aggregate_loss": "loss, loss_mask, token_level_loss, dp_size, batch_num_tokens, global_batch_size",
    "openrlhf.utils.loss_utils:iter_grad_accum_global_norm": "data_iter, strategy, accumulated_gradient, mask_fn",
    "openrlhf.trainer.ray.ppo_actor:iter_grad_accum_global_norm": "data_iter, strategy, accumulated_gradient, mask_fn",
    "openrlhf.trainer.ray.ppo_actor:get_loss_batch_info": "strategy, loss_mask, replay_buffer, step, dynamic_batch, batch_num_tokens, "
    "global_batch_size",
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer.__init__": "self, strategy, actor, ema_model, actor_optim, actor_scheduler, ema_beta, "
    "micro_train_batch_size, buffer_limit, buffer_cpu_offload, eps_clip, tokenizer, dataloader_pin_memory, vllm_engines, kwargs",
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer.ppo_train": "self, kl_ctl",
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer.broadcast_to_vllm": "self",
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer.training_step": "self, experience, kl_ctl, step, loss_batch_info",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.init_model_from_pretrained": "self, strategy, pretrain, max_steps, vllm_engines",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.save_checkpoint": "self, tag, client_states, metric_value, metric_key",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.fit": "self, kl_ctl",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.save_model": "self",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.reload_states": "self",
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.offload_states": "self",
    "openrlhf.trainer.ray.launcher:ReferenceModelActor.init_model_from_pretrained": "self, strategy, pretrain",
    "openrlhf.trainer.ray.launcher:BaseModelActor._setup_distributed": "self, strategy",
    "openrlhf.trainer.ray.launcher:BaseModelActor.execute_batch": "self, method_name, all_data, start_idx, end_idx",
    "openrlhf.trainer.ray.launcher:RayActorGroup.__init__": "self, num_nodes, num_gpus_per_node, ray_actor_type, pg, num_gpus_per_actor, "
    "duplicate_actors, resources, num_resources_per_node",
    "openrlhf.trainer.ppo_utils.replay_buffer:NaiveReplayBuffer.setup_dynamic_batch": "self, strategy",
    "openrlhf.trainer.ppo_utils.replay_buffer:NaiveReplayBuffer.collate_fn": "self, batch",
    "openrlhf.trainer.ppo_trainer:PPOTrainer.__init__": "self, pretrain, strategy, actor_model_group, critic_model_group, "
    "reward_model_group, reference_model_group, vllm_engines, generate_kwargs",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.train_step": "self, rollout_samples, global_step",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer._compute_rollout_stats": "self, experiences",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.save_logs_and_checkpoints": "self, global_step, logs_dict, client_states",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.save_best_checkpoint": "self, eval_metrics, global_step, client_states",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.init_checkpoint_states": "self",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.restore_best_checkpoint_state": "self, checkpoint_states",
    "openrlhf.trainer.ppo_trainer:PPOTrainer.get_max_steps": "self",
    "openrlhf.trainer.ppo_trainer_async:GenerateSamplesActor.get_max_steps": "self",
    "openrlhf.trainer.ppo_trainer:prepare_datasets": "strategy, tokenizer",
    "openrlhf.trainer.ppo_trainer:blending_datasets": "datasets, probabilities, strategy, seed, max_count, stopping_strategy, "
    "dataset_split",
    "openrlhf.trainer.ppo_trainer:compute_eval_metrics": "eval_dataloader, samples_list, n_samples_per_prompt",
    "openrlhf.trainer.ppo_trainer:PPOTrainer.evaluate": "self, global_step, generate_kwargs",
    "openrlhf.datasets.prompts_dataset:preprocess_data": "data, input_template, input_key, label_key, apply_chat_template",
    "openrlhf.trainer.ppo_trainer_async:prepare_datasets": "strategy, tokenizer",
    "openrlhf.trainer.ppo_trainer_async:SamplesGenerator.generate_samples": "self, generate_kwargs",
    "openrlhf.trainer.ppo_trainer:SamplesGenerator.generate_samples": "self, generate_kwargs",
    "openrlhf.trainer.ppo_trainer:SamplesGenerator.generate_eval_samples": "self, generate_kwargs",
    "openrlhf.trainer.ppo_trainer:SamplesGenerator._generate_vllm": "self, dataloader_iter, num_prompts, dynamic_filtering, "
    "generate_kwargs",
    "openrlhf.trainer.ppo_trainer:SamplesGenerator._dispatch_prompts_to_vllm": "self, prompts, labels, images, generate_kwargs",
    "openrlhf.trainer.ppo_trainer:SamplesGenerator._process_response_into_experience": "self, response, generate_kwargs",
    "openrlhf.trainer.ppo_trainer_async:GenerateSamplesActor._should_eval": "self, global_step",
    "openrlhf.trainer.ppo_trainer_async:SamplesGenerator.__init__": "self, strategy, prompts_dataloader, eval_dataloader, tokenizer, "
    "vllm_engines",
    "openrlhf.trainer.ppo_trainer_async:GenerateSamplesActor.__init__": "self, pretrain, strategy, vllm_engines, vllm_lock, rollout_queue, "
    "rollout_slots, generate_kwargs",
    "openrlhf.trainer.ppo_trainer_async:TrainingActor.__init__": "self, pretrain, strategy, actor_model_group, critic_model_group, "
    "reward_model_group, reference_model_group, vllm_engines, vllm_lock, rollout_queue, rollout_slots",
    "openrlhf.trainer.ppo_trainer_async:PPOTrainerAsync.__init__": "self, pretrain, strategy, actor_model_group, critic_model_group, "
    "reward_model_group, reference_model_group, vllm_engines, generate_kwargs",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.backward": "self, loss, model, _optimizer, kwargs",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.optimizer_step": "self, _optimizer, model, _scheduler, name, kwargs",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.get_grad_norm": "self, model",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.setup_distributed": "self, timeout",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.prepare": "self, args",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.save_model": "self, model, tokenizer, output_dir, kwargs",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.load_ckpt": "self, model, load_dir, tag, load_module_strict, load_optimizer_states, "
    "load_lr_scheduler_states, load_module_only",
    "openrlhf.utils.deepspeed:DeepspeedStrategy._write_ckpt_metric": "self, ckpt_dir, metric_value, metric_key",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.get_ds_train_config": "self, optim_dict, max_norm",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.moving_average": "self, model, model_ema, beta, device",
    "openrlhf.utils.deepspeed:DeepspeedStrategy.save_ckpt": "self, model, save_dir, tag, max_num, max_mem, client_state, save_latest, "
    "metric_value, metric_key",
    "openrlhf.utils.deepspeed:DeepspeedStrategy._read_ckpt_metric": "self, ckpt_dir",
    "openrlhf.utils.config:hierarchize": "args",
    "openrlhf.trainer.ppo_utils.length_penalty:apply_length_penalties": "experiences, args",
    "openrlhf.trainer.ray:create_vllm_engines": "num_engines, tensor_parallel_size, pretrain, seed, full_determinism, "
    "enable_prefix_caching, enforce_eager, max_model_len, shared_pg, gpu_memory_utilization, vllm_enable_sleep, logprobs_mode, "
    "agent_func_path, remote_rm_url, max_images_per_prompt",
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.__init__": "self, args, bundle_indices, agent_func_path, remote_rm_url, "
    "mm_pad_token_ids, kwargs",
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.generate_responses": "self, prompt, label, sampling_params, max_length, "
    "hf_tokenizer, num_samples, images",
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.generate": "self, prompt_token_ids, sampling_params, multi_modal_data",
    # What images.py asks and overrides.
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.update_weight_cuda_ipc": "self, name, dtype, shape, ipc_handles, empty_cache",
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.get_num_unfinished_requests": "self",
    "openrlhf.utils:get_tokenizer": "pretrain, model, padding_side, strategy, use_fast",
    "vllm.v1.engine.async_llm:AsyncLLM.reset_encoder_cache": "self",
    # What weight_buckets.py stands for.
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.update_weight": "self, name, dtype, shape, empty_cache",
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.reset_prefix_cache": "self",
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer._init_vllm_sync_group": "self, backend",
    "openrlhf.trainer.ray.vllm_engine:SingleTurnAgentExecutor.__init__": "self, remote_rm_url",
    "openrlhf.utils.agent:SingleTurnAgentExecutor.execute": "self, prompt, label, sampling_params, max_length, hf_tokenizer, "
    "llm_engine, images",
    "openrlhf.utils.agent:SingleTurnAgentExecutor._fetch_rewards_via_http": "self, queries_list, prompts_list, labels_list",
    "openrlhf.utils.agent:SingleTurnAgentExecutor._fetch_rewards_via_func": "self, queries_list, prompts_list, labels_list",
    "openrlhf.utils.logging_utils:WandbLogger.__init__": "self, args",
    # What remote_code.py binds of transformers, which OpenRLHF pins.
    "transformers.dynamic_module_utils:resolve_trust_remote_code": "trust_remote_code, model_name, has_local_code, has_remote_code, "
    "error_message, upstream_repo",
    "transformers.dynamic_module_utils:get_class_in_module": "class_name, module_path, force_reload",
    "openrlhf.trainer.ppo_utils.kl_controller:AdaptiveKLController.__init__": "self, init_kl_coef, target, horizon",
    # What planned_steps.py counts.
    "openrlhf.trainer.ppo_trainer:RemoteExperienceMaker.split_rollout_samples": "self, rollout_samples",
    # What experience_maker.py extends.
    "openrlhf.trainer.ppo_trainer:RemoteExperienceMaker.__init__": "self, actor_model_group, critic_model_group, reward_model_group, "
    "initial_model_group, kl_controller, strategy, tokenizer, kwargs",
    "openrlhf.trainer.ppo_trainer:RemoteExperienceMaker.compute_advantages_and_returns": "self, experiences",
    "openrlhf.trainer.ppo_trainer:RemoteExperienceMaker._flatten_results": "self, refs, duplicate_factor",
    # What token_energies.py uses.
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.forward": "self, sequences, action_mask, attention_mask, packed_seq_lens, "
    "mm_train_inputs_list",
    "openrlhf.models.actor:Actor.forward": "self, sequences, action_mask, attention_mask, return_output, allgather_logits, "
    "return_logprobs, ring_attn_group, packed_seq_lens, return_entropy, mm_inputs",
    "openrlhf.models.actor:compute_entropy": "logits",
    "openrlhf.trainer.ppo_trainer:balance_experiences": "experiences, args",
    "openrlhf.trainer.ray.launcher:RayActorGroup.async_run_method_batch": "self, method_name, kwargs",
    # What stop.py, stoppable.py and process.py ask of the host, and of Ray, which it pins.
    "openrlhf.trainer.ppo_trainer:PPOTrainer.fit": "self, global_step",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.ppo_train": "self, global_steps",
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.broadcast_to_vllm": "self",
    "openrlhf.trainer.ppo_trainer_async:TrainingActor.fit": "self, global_step",
    "openrlhf.trainer.ppo_trainer_async:GenerateSamplesActor.fit": "self, episode, total_consumed_prompts",
    "openrlhf.trainer.ppo_utils.samples_generator:ray.wait": "ray_waitables, num_returns, timeout, fetch_local",
    "ray.util.queue:Queue.get": "self, block, timeout",
    "ray.experimental.internal_kv:_internal_kv_put": "key, value, overwrite, namespace",
    "ray.experimental.internal_kv:_internal_kv_get": "key, namespace",
    "ray._private.utils:set_sigterm_handler": "sigterm_handler",
    # What strategy.py, guards.py and ema.py ask of DeepSpeed, which OpenRLHF pins.
    "deepspeed.runtime.engine:DeepSpeedEngine.zero_optimization_partition_weights": "self",
    "deepspeed.runtime.engine:DeepSpeedEngine.gradient_clipping": "self",
    "deepspeed.runtime.zero.partition_parameters:GatheredParameters.__init__": "self, params, modifier_rank, fwd_module, enabled",
    "deepspeed.runtime.engine:DeepSpeedEngine.managed_gradient_accumulation": "self",
    "deepspeed.runtime.engine:DeepSpeedEngine.is_gradient_accumulation_boundary": "self",
    "deepspeed.runtime.zero.stage_1_and_2:DeepSpeedZeroOptimizer.has_overflow": "self, partition_gradients",
    "deepspeed.runtime.bf16_optimizer:get_global_norm_of_tensors": "input_tensors, norm_type, mpu, use_graph, moe_ep_group",
}
# Fields of the host's Experience that carry what we need.
EXPERIENCE_FIELDS = ("action_mask", "truncated", "info", "prompts", "rewards", "index")


def check_host() -> list[str]:
    """What of the host is missing or changed, one line each; empty when this package can run on it."""
    version = installed_version("openrlhf")
    if version is None:
        return [f"openrlhf is not installed; this package was checked against openrlhf {CHECKED_AGAINST}"]
    problems = [problem for target, wanted in SIGNATURES.items() if (problem := changed(target, wanted))]
    if not problems:
        fields = resolve("openrlhf.trainer.ppo_utils.experience:Experience").__dataclass_fields__
        problems = [f"has no Experience.{name}" for name in EXPERIENCE_FIELDS if name not in fields] + _check_loss()
    return [f"openrlhf {version} {problem}; checked against openrlhf {CHECKED_AGAINST}" for problem in problems]


def _check_loss() -> list[str]:
    """policy_loss.py needs the host's token-mean to be sum / batch_num_tokens x dp_size, read at every call."""
    import torch

    loss = resolve("openrlhf.models.loss:PolicyLoss")(token_level_loss=False)
    loss.token_level_loss = True
    advantages, mask, zeros = torch.tensor([[1.0, 2.0], [4.0, 8.0]]), torch.tensor([[1, 1], [1, 0]]), torch.zeros(2, 2)
    value = loss(zeros, zeros, advantages, action_mask=mask, dp_size=2, batch_num_tokens=torch.ones(()))[0].item()
    return [] if value == -14.0 else [f"aggregates PolicyLoss differently ({value}, wanted -14.0)"]


class _ChosenByFlags:
    """Stands under the name of a class of the host's before the flags are read; chooses the class when it is first used."""

    def __init__(self, choose: Callable[[], Any]) -> None:
        self._choose = functools.cache(choose)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._choose()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._choose(), name)

    def __reduce__(self) -> tuple:
        # The host's groups of workers keep it and travel to the controller.
        return _itself, (self._choose(),)


def _itself(value: Any) -> Any:
    return value


@contextmanager
def host_classes_bound(backend: Callable[[], Backend] = lambda: backends.load(backends.DEFAULT)) -> Iterator[None]:
    """Bind our classes where the host's command line imports them. backend: the training backend, asked for when it is needed."""
    import ray
    from openrlhf.trainer import ppo_trainer, ppo_trainer_async
    from openrlhf.trainer.ray import launcher, ppo_actor
    from openrlhf.utils import deepspeed

    # A backend's classes derive from the host's and from these, which have to be made before the host's names are bound.
    from deltal_openrlhf.host import actor, controller, strategy  # noqa: F401

    host_reference = launcher.ReferenceModelActor

    def policy() -> Any:
        return ray.remote(num_gpus=1)(backend().policy_actor())

    def reference() -> Any:
        ours = backend().reference_actor()
        return host_reference if ours is None else ray.remote(num_gpus=1)(ours)

    with ExitStack() as stack:
        for owner, name, value in (
            (deepspeed, "DeepspeedStrategy", _ChosenByFlags(lambda: backend().strategy())),
            (ppo_actor, "PolicyModelActor", _ChosenByFlags(policy)),
            (launcher, "ReferenceModelActor", _ChosenByFlags(reference)),
            (ppo_trainer, "PPOTrainer", ray.remote(controller.DeltaLController)),
            (ppo_trainer_async, "PPOTrainerAsync", ray.remote(controller.DeltaLControllerAsync)),
        ):
            stack.enter_context(rebound(owner, name, value))
        yield


@contextmanager
def parser_bound(
    add_flags: Callable[[argparse.ArgumentParser], None], check: Callable[[argparse.Namespace], None]
) -> Iterator[None]:
    """The host builds its parser under __main__ and offers no other way in: wrap parse_args, for this parser only.

    add_flags gets the host's parser before it parses; check gets the flat result, and may change it.
    """
    host_parse_args = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> argparse.Namespace:
        if not any(action.dest == "actor.loss_agg_mode" for action in self._actions):
            return host_parse_args(self, *args, **kwargs)
        add_flags(self)
        namespace = host_parse_args(self, *args, **kwargs)
        check(namespace)
        return namespace

    with rebound(argparse.ArgumentParser, "parse_args", parse_args):
        yield
