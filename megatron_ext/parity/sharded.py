"""The real trainer and engine on one rank of a case. They give the gradient, and the parameters after a plain step and after an
Adam step.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from deltal_openrlhf.host.scope_means import attach_scope_means
from deltal_openrlhf.parity.cases import GROUP_SIZE
from deltal_openrlhf.parity.host_update import arguments, experiences, normalised_by_micro_batch
from megatron_ext.engine import Engine, OptimizerSettings
from megatron_ext.groups import another_layout
from megatron_ext.model import MegatronModel, ModelSettings
from megatron_ext.parity.cases import ADAM, MAX_NORM, ShardedCase, make_rows
from megatron_ext.strategy import MegatronStrategy
from megatron_ext.trainer import MegatronActor, MegatronActorTrainer

SIZES = ("tensor", "pipeline", "virtual_pipeline", "context", "expert")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def train(case: ShardedCase, folder: str) -> dict[str, Any]:
    """gradient, sgd, adam: full tensors by Hugging Face name; loss of the whole optimizer step; norm before clipping."""
    trainer = build_trainer(case, folder, OptimizerSettings(**ADAM, max_norm=MAX_NORM))
    trainer.ppo_train(trainer.args.algo.kl.init_coef)
    return trainer.strategy.outcome


def build_trainer(case: ShardedCase, folder: str, optimizer: OptimizerSettings) -> MegatronActorTrainer:
    """The trainer of a run on the model in `folder`, with this rank's responses in its buffer. In a process group of case.world ranks."""
    strategy = _strategy(case, optimizer.max_norm)
    with another_layout():
        strategy.setup_distributed()
    settings = ModelSettings(folder, DTYPES[case.dtype], chunk_size=7, recompute=case.recompute, modules=case.modules)
    engine = Engine(MegatronModel(settings, case.layout), packed=case.packed, optimizer=optimizer)
    strategy.engine = engine
    stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=optimizer.lr)
    strategy.schedule = torch.optim.lr_scheduler.LambdaLR(stand_in, lambda step: 1.0)
    trainer_class = (
        normalised_by_micro_batch(MegatronActorTrainer) if case.wrong == "micro-batch" else MegatronActorTrainer
    )
    trainer = trainer_class(
        strategy,
        MegatronActor(engine),
        ema_model=None,
        actor_optim=None,
        actor_scheduler=strategy.schedule,
        micro_train_batch_size=case.loss.micro,
        dataloader_pin_memory=False,
    )
    samples = experiences(case.loss, make_rows(case))
    attach_scope_means(samples, trainer.settings, GROUP_SIZE)
    for sample in samples[parallel_state.get_data_parallel_rank() :: case.data_parallel]:
        trainer.replay_buffer.append(sample)
    return trainer


def _arguments(case: ShardedCase) -> SimpleNamespace:
    args = arguments(case.loss)
    args.ds.param_dtype = "bf16"  # the host wants it of every tensor parallel run; the model has its own dtype
    args.ds.tensor_parallel_size = case.layout.replica
    layout = case.layout
    sizes = {f"{name}_parallel_size": getattr(layout, name) for name in SIZES}
    args.megatron = SimpleNamespace(
        **sizes, sequence_parallel=layout.sequence_parallel, max_tokens_per_micro_batch=case.max_tokens
    )
    return args


def _strategy(case: ShardedCase, max_norm: float) -> MegatronStrategy:
    class ParityStrategy(MegatronStrategy):
        def begin_step(self) -> None:
            super().begin_step()
            self.losses: list[float] = []

        def backward(self, loss: Tensor, model: Any, optimizer: Any, **kwargs: Any) -> None:
            super().backward(loss * 2 if case.wrong == "scale" else loss, model, optimizer, **kwargs)
            self.losses.append(self.loss.item())

        def finish_step(self) -> None:
            _gather_gradients(self.engine)
            self.outcome: dict[str, Any] = {
                "gradient": _export_gradients(self.engine),
                "loss": _whole_loss(self.losses),
            }
            self.outcome["sgd"] = _after_plain_step(self.engine)
            super().finish_step()
            self.outcome |= {"adam": dict(_copies(self.engine)), "norm": self.last_norm}

    args = _arguments(case)
    return ParityStrategy(
        seed=1,
        max_norm=max_norm,
        micro_train_batch_size=case.loss.micro,
        train_batch_size=args.train.batch_size,
        args=args,
    )


def _whole_loss(losses: list[float]) -> float:
    """The losses of the micro batches as the engine combines them: averaged over them and over data parallel ranks."""
    device = torch.cuda.current_device()
    last = parallel_state.is_pipeline_last_stage()
    total = torch.tensor([sum(losses) / max(len(losses), 1) if last else 0.0], device=device)
    dist.all_reduce(total)
    copies = dist.get_world_size() / parallel_state.get_pipeline_model_parallel_world_size()
    return total.item() / copies


def _gather_gradients(engine: Engine) -> None:
    """The distributed optimizer leaves every rank the reduced gradient of its own shard: put the shards together."""
    for chunk in engine.chunks:
        for buffer in chunk.buffers + chunk.expert_parallel_buffers:
            for bucket in buffer.buckets:
                group = buffer.data_parallel_group
                shard = bucket.grad_data.chunk(group.size())[group.rank()].clone()
                parts = [torch.empty_like(shard) for _ in range(group.size())]
                dist.all_gather(parts, shard, group=group)
                bucket.grad_data.copy_(torch.cat(parts))


def _export_gradients(engine: Engine) -> dict[str, Tensor]:
    """The mapping to Hugging Face names only cuts and joins, so gradients go the way of parameters."""
    parameters: list[Any] = [p for _, p in engine.model.named_parameters()]
    values = [p.data for p in parameters]
    for parameter in parameters:
        parameter.data = parameter.main_grad
    gradients = dict(_copies(engine))
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value
    return gradients


@torch.no_grad()
def _after_plain_step(engine: Engine) -> dict[str, Tensor]:
    """Parameters after SGD at learning rate 1 without clipping; the model keeps its own."""
    parameters: list[Any] = [p for _, p in engine.model.named_parameters()]
    before = [p.detach().clone() for p in parameters]
    for parameter in parameters:
        parameter.sub_(parameter.main_grad.to(parameter.dtype))
    after = dict(_copies(engine))
    for parameter, value in zip(parameters, before, strict=True):
        parameter.copy_(value)
    return after


def _copies(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in engine.model.export():
        yield name, tensor.float().cpu().clone()
