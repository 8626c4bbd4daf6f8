"""SkyRL's side of scripts/adapter_check.py, in SkyRL's environment: its trainer's advantages and its worker's micro batches, on a CPU.

Advantages go through RayPPOTrainer._normalize_advantages with our adapter, and each rank's share through PolicyWorkerBase.forward_backward.
The worker's model is a tiny one, and the ranks' gradients are averaged over gloo, as FSDP does. Compared is the gradient of each of the
two optimizer steps of a rollout batch.
"""

import os
import typing
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import typing_extensions

typing.TypedDict = typing_extensions.TypedDict  # SkyRL 0.3 uses what Python 3.12 has

import adapter_reference as reference  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from adapter_reference import AGGREGATIONS, MAX_LENGTH, Response  # noqa: E402
from skyrl.backends.skyrl_train.training_batch import TrainingInputBatch  # noqa: E402
from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry  # noqa: E402
from skyrl.backends.skyrl_train.workers.worker import PolicyWorkerBase  # noqa: E402
from skyrl.train.config import AlgorithmConfig, CISPOConfig  # noqa: E402

from deltal_openrlhf import Aggregation  # noqa: E402
from deltal_openrlhf.adapters.skyrl import AggregationTrainer  # noqa: E402

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
LOSSES = {"regular": "ppo", "dual_clip": "dual clip", "gspo": "gspo", "cispo": "cispo"}
torch.cuda.current_device = lambda: "cpu"  # where the worker moves its data


class PerMicroBatch(AggregationTrainer):
    """The mistake: weights of each micro batch by itself."""

    def _normalize_advantages(self, data: Any, mini_batch_boundaries: Any, prompt_boundaries: Any = None) -> Any:
        size = self.cfg.trainer.micro_train_batch_size_per_gpu
        parts = data["loss_mask"].sum(-1).split(size)
        share = size / (mini_batch_boundaries[0][1] - mini_batch_boundaries[0][0])
        x = torch.cat([self.aggregation.weights(part) for part in parts]) * share
        data["advantages"] = data["advantages"] * x[:, None].float()
        return data


class Policy(torch.nn.Module):
    """What the worker calls, around a plain model."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, sequences: Any, num_actions: int, attention_mask: Any, **_: Any) -> Any:
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        logits = self.inner(sequences, attention_mask=attention_mask, position_ids=positions).logits[:, :-1]
        chosen = logits.log_softmax(-1).gather(-1, sequences[:, 1:, None]).squeeze(-1)
        return chosen[:, -num_actions:], {"entropy": torch.zeros(sequences.shape)}


class Strategy:
    """The worker's distributed strategy."""

    def backward(self, loss: torch.Tensor, model: Any, optimizer: Any) -> None:
        loss.backward()

    def all_reduce(self, metrics: Any, op: str, group: Any = None) -> Any:
        return metrics


def make_worker(model: torch.nn.Module, algorithm: Any, micro: int) -> Any:
    worker = object.__new__(PolicyWorkerBase)
    worker.cfg = SimpleNamespace(
        algorithm=algorithm, micro_train_batch_size_per_gpu=micro, max_tokens_per_microbatch=-1
    )
    worker.model, worker.strategy, worker.optimizer = Policy(model), Strategy(), None
    worker.scheduler = SimpleNamespace(get_last_lr=lambda: [0.0])
    worker.mesh_rank = SimpleNamespace(dp_size=WORLD)
    worker.device_mesh = SimpleNamespace(get_group=lambda name: None)
    worker.policy_loss_fn = PolicyLossRegistry.get(algorithm.policy_loss_type)
    return worker


def make_data(responses: list[Response]) -> TrainingInputBatch:
    """Sequences padded on the left."""

    def left(rows: Any, width: int) -> torch.Tensor:
        return torch.tensor([[*[0] * (width - len(row)), *row] for row in rows])

    sequences = [(*one.prompt, *one.tokens) for one in responses]
    whole, longest = max(map(len, sequences)), max(len(one.tokens) for one in responses)
    there = left([[1] * len(one.tokens) for one in responses], longest)
    data = TrainingInputBatch(
        {
            "sequences": left(sequences, whole),
            "attention_mask": left([[1] * len(row) for row in sequences], whole),
            "response_mask": there,
            "loss_mask": left([list(map(int, one.mask)) for one in responses], longest),
            "action_log_probs": left([one.old for one in responses], longest),
            "advantages": torch.tensor([[one.advantage] for one in responses]) * there,
        }
    )
    data.metadata = {"uids": [str(one.prompt) for one in responses], "response_length": longest}
    return data


def run(name: str, micro: int, wrong: bool, loss: str) -> float:
    model = reference.make_model()
    rollout = reference.make_responses(model)
    half = len(rollout) // 2
    algorithm = AlgorithmConfig(
        policy_loss_type=loss,
        loss_reduction="seq_mean_token_sum_norm",
        max_seq_len=2 * MAX_LENGTH,
        use_kl_loss=False,
        temperature=1.0,
        cispo=CISPOConfig(cispo_eps_clip_low=0.2, cispo_eps_clip_high=0.2),
    )
    rows = half // WORLD
    trainer = object.__new__(PerMicroBatch if wrong else AggregationTrainer)
    trainer.aggregation = Aggregation(**AGGREGATIONS[name])
    trainer.cfg = SimpleNamespace(
        trainer=SimpleNamespace(algorithm=algorithm, micro_train_batch_size_per_gpu=rows // micro)
    )
    boundaries = [(0, half), (half, len(rollout))]
    data = trainer._normalize_advantages(make_data(rollout), boundaries, None)
    worker, differences = make_worker(model, algorithm, rows // micro), []
    for start, end in boundaries:
        model.zero_grad()
        worker.forward_backward(data[start + RANK * rows : start + (RANK + 1) * rows])
        got = reference.flat(parameter.grad for parameter in model.parameters())
        dist.all_reduce(got)
        wanted = reference.gradient(model, AGGREGATIONS[name], rollout[start:end], rollout, LOSSES[loss])
        differences.append(reference.difference(got / WORLD, wanted))
    return max(differences)


def cases(few: bool) -> Iterator[dict[str, Any]]:
    dist.init_process_group("gloo")

    def case(name: str, micro: int, wrong: bool = False, loss: str = "regular") -> dict[str, Any]:
        said = ", ".join([name, *([loss] if loss != "regular" else []), *(["wrong"] if wrong else [])])
        found = run(name, micro, wrong, loss)
        return {"case": said, "ranks": WORLD, "micro_batches": micro, "wrong": wrong, "relative_difference": found}

    for micro in (1, 2, 4):
        yield case("deltal", micro)
    yield case("deltal", 2, wrong=True)
    if not few:
        for name in list(AGGREGATIONS)[1:]:
            yield case(name, 2)
        for loss in list(LOSSES)[1:]:
            yield case("deltal", 2, loss=loss)
    dist.destroy_process_group()


if __name__ == "__main__":
    reference.main(cases)
