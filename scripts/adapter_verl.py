"""verl's side of scripts/adapter_check.py, in verl's environment: its FSDP2 engine, on a CPU, takes optimizer steps with our adapter.

The gradient that its optimizer would get is compared with brute force. verl has no platform for CPUs, so this registers one.
"""

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}  # where its registry has the FSDP engines

import adapter_reference as reference  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from adapter_reference import AGGREGATIONS, OF_ONE_STEP, Response  # noqa: E402
from hydra import compose, initialize_config_module  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from verl.plugin.platform.platform_base import PlatformBase  # noqa: E402
from verl.plugin.platform.platform_manager import PlatformRegistry  # noqa: E402

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
LOSSES = {"vanilla": "dual clip", "gspo": "gspo", "cispo": "cispo"}


def _method(name: str) -> Any:
    values = {"device_name": "cpu", "vendor_name": "cpu", "current_device": "cpu", "communication_backend_name": "gloo"}
    values |= {
        "device_module": torch.cpu,
        "is_available": True,
        "device_count": 1,
        "get_device_capability": (None, None),
    }
    values |= {
        "visible_devices_envvar": "NONE",
        "ray_resource_name": "CPU",
        "ray_noset_envvars": [],
        "is_ipc_supported": False,
    }
    value = values.get(name, contextlib.nullcontext() if name == "nvtx_range" else None)
    return (
        property(lambda self: value)
        if name.startswith(("device_n", "vendor", "device_m"))
        else lambda self, *_, **__: value
    )


PlatformRegistry.register("cpu")(
    type("Cpu", (PlatformBase,), {name: _method(name) for name in PlatformBase.__abstractmethods__})
)

from verl.trainer.config import CheckpointConfig  # noqa: E402
from verl.utils import tensordict_utils  # noqa: E402
from verl.utils.config import omega_conf_to_dataclass  # noqa: E402
from verl.workers.config import FSDPOptimizerConfig, HFModelConfig  # noqa: E402
from verl.workers.engine import EngineRegistry  # noqa: E402
from verl.workers.utils.losses import ppo_loss  # noqa: E402
from verl.workers.utils.padding import left_right_2_no_padding  # noqa: E402

from deltal_openrlhf.adapters import verl  # noqa: E402


def actor_config(aggregation: dict[str, Any], loss_mode: str) -> Any:
    """By verl's own files of settings and the lines that a user adds."""
    lines = [
        f"_target_={verl.__name__}.AggregationActorConfig",
        "loss_agg_mode=token-sum",
        "+aggregation._target_=deltal_openrlhf.Aggregation",
        *(f"+aggregation.{name}={value}" for name, value in aggregation.items()),
        "strategy=fsdp2",
        "ppo_micro_batch_size_per_gpu=1",
        f"policy_loss.loss_mode={loss_mode}",
        "fsdp_config.use_torch_compile=false",
        "++fsdp_config.mixed_precision={param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}",
    ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        prefixes = (re.match(r"\+*", line)[0] for line in lines)
        given = [
            f"{prefix}actor_rollout_ref.actor.{line.lstrip('+')}" for prefix, line in zip(prefixes, lines, strict=True)
        ]
        settings = compose("ppo_trainer", overrides=[*given, "actor_rollout_ref.rollout.name=vllm"])
    return omega_conf_to_dataclass(settings.actor_rollout_ref.actor)


def make_engine(folder: str, config: Any) -> Any:
    model = HFModelConfig(
        path=folder,
        load_tokenizer=False,
        use_remove_padding=False,
        enable_gradient_checkpointing=False,
        override_config={"attn_implementation": "eager"},
    )
    engine = EngineRegistry.new(
        model_type="language_model",
        backend="fsdp2",
        model_config=model,
        engine_config=config.engine,
        optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=1),
        checkpoint_config=CheckpointConfig(),
    )
    engine.initialize()
    return engine


def make_data(responses: list[Response], nested: bool) -> TensorDict:
    """As a worker gets them: prompts padded on the left and responses on the right, then without padding."""
    longest_prompt, longest = (max(len(getattr(one, name)) for one in responses) for name in ("prompt", "tokens"))

    def right(values: Any) -> list[list[float]]:
        return [[*row, *[0] * (longest - len(row))] for row in values]

    prompts = torch.tensor([[*[0] * (longest_prompt - len(one.prompt)), *one.prompt] for one in responses])
    tokens = torch.tensor(right(one.tokens for one in responses))
    there = torch.tensor(right([1] * len(one.tokens) for one in responses))
    attention_mask = torch.cat([(prompts > 0).long(), there], dim=1)
    data = TensorDict(
        {
            "prompts": prompts,
            "responses": tokens,
            "input_ids": torch.cat([prompts, tokens], dim=1),
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(1) - 1).clamp(min=0),
            "response_mask": torch.tensor(right(list(map(int, one.mask)) for one in responses)),
            "old_log_probs": torch.tensor(right(one.old for one in responses)),
            "advantages": torch.tensor([[one.advantage] * longest for one in responses]),
        },
        batch_size=len(responses),
    )
    data = left_right_2_no_padding(data)
    if nested:  # as the newer trainer hands them over
        del data["max_response_len"]
        for name in ("response_mask", "loss_mask", "old_log_probs", "advantages", "responses", "prompts"):
            lengths = [len(one.prompt if name == "prompts" else one.tokens) for one in responses]
            rows = [row[-n:] if name == "prompts" else row[:n] for row, n in zip(data[name], lengths, strict=True)]
            data[name] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    return data


class PerMicroBatch(verl.StepWeights):
    """The mistake: weights of each micro batch by itself."""

    def train_batch(self, data: Any, loss_function: Any) -> Any:
        aggregation, size = loss_function.keywords["config"].aggregation, data["micro_batch_size_per_gpu"]
        lengths = data["response_mask"].sum(-1)
        x = torch.cat([aggregation.weights(part) for part in lengths.split(size)]) * size / len(lengths) / WORLD
        data["advantages"] = data["advantages"] * x[:, None].float()
        return super(verl.StepWeights, self).train_batch(data, loss_function)


def run(folder: str, name: str, micro: int, wrong: bool, loss_mode: str, nested: bool) -> float:
    model = reference.make_model()
    step = reference.make_responses(model)
    ours = step[RANK * len(step) // WORLD : (RANK + 1) * len(step) // WORLD]
    config = actor_config(AGGREGATIONS[name], loss_mode)
    engine = make_engine(folder, config)
    if wrong:
        engine.__class__ = type("Wrong", (PerMicroBatch, *type(engine).__mro__[2:3]), {})
    data = make_data(ours, nested)
    tensordict_utils.assign_non_tensor(
        data,
        use_dynamic_bsz=False,
        micro_batch_size_per_gpu=len(ours) // micro,
        use_remove_padding=False,
        use_fused_kernels=False,
        temperature=1.0,
        global_batch_size=len(step),
        calculate_entropy=False,
    )
    gradients: list[torch.Tensor] = []

    def optimizer_step() -> float:
        gradients.extend(parameter.grad.full_tensor() for parameter in engine.module.parameters())
        return 0.0

    engine.optimizer_step = optimizer_step
    advantages = data["advantages"]
    with engine.train_mode():
        engine.train_batch(data, functools.partial(ppo_loss, config=config))
    assert wrong or data["advantages"] is advantages  # what the next epoch gets
    wanted = reference.gradient(model, AGGREGATIONS[name], step, step, LOSSES[loss_mode])
    return reference.difference(reference.flat(gradients), wanted)


def cases(few: bool) -> Iterator[dict[str, Any]]:
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as folder:
        reference.make_model().save_pretrained(folder)  # rank 0 writes it
        folders = [folder]
        dist.broadcast_object_list(folders)

        def case(
            name: str, micro: int, wrong: bool = False, loss_mode: str = "vanilla", nested: bool = False
        ) -> dict[str, Any]:
            said = ", ".join([name, *([loss_mode] if loss_mode != "vanilla" else []), *(["nested"] if nested else [])])
            found = run(folders[0], name, micro, wrong, loss_mode, nested)
            said += ", wrong" if wrong else ""
            return {"case": said, "ranks": WORLD, "micro_batches": micro, "wrong": wrong, "relative_difference": found}

        for micro in (1, 2, 4):
            yield case("deltal", micro)
        yield case("deltal", 2, wrong=True)
        if not few:
            yield case("deltal", 4, nested=True)
            for name in OF_ONE_STEP[1:]:
                yield case(name, 2)
            for loss_mode in ("gspo", "cispo"):
                yield case("deltal", 2, loss_mode=loss_mode)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    reference.main(cases)
