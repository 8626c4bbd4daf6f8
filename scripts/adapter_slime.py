"""slime's side of scripts/adapter_check.py: its converter, schedule and loss function, on a CPU.

Samples go through RolloutManager's conversion with our adapter, build_dp_schedule and loss_function. Megatron's part is here: it divides
a loss by the number of micro batches, and averages over ranks. slime comes from --source; empty modules replace what it imports of SGLang.
Compared is the gradient of each of the two optimizer steps of a rollout batch.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

os.environ["TORCH_COMPILE_DISABLE"] = "1"


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules for what slime imports and does not use here."""

    NAMES = ("sglang", "sglang_router")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        made = MagicMock(name=spec.name)
        made.__path__, made.__spec__ = [], spec
        return made

    def exec_module(self, module: Any) -> None:
        pass


sys.meta_path.append(Absent())

import adapter_reference as reference  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from adapter_reference import AGGREGATIONS, Response  # noqa: E402
from megatron.core import mpu  # noqa: E402
from slime.backends.megatron_utils.loss import loss_function  # noqa: E402
from slime.utils.dp_schedule import build_dp_schedule  # noqa: E402
from slime.utils.types import Sample  # noqa: E402

from deltal_openrlhf import Aggregation  # noqa: E402
from deltal_openrlhf.adapters import slime  # noqa: E402

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def arguments(responses: int, micro: int, estimator: str) -> Namespace:
    return Namespace(
        loss_type="policy_loss",
        use_critic=False,
        calculate_per_token_loss=False,
        custom_pg_loss_reducer_function_path=None,
        custom_reward_post_process_path=None,
        advantage_estimator=estimator,
        normalize_advantages=False,
        use_opd=False,
        custom_advantage_function_path=None,
        rewards_normalization=False,
        reward_key=None,
        global_batch_size=responses // 2,
        micro_batch_size=responses // 2 // WORLD // micro,
        use_dynamic_batch_size=False,
        max_tokens_per_gpu=None,
        balance_data=False,
        balance_by_flops=False,
        rollout_temperature=1.0,
        log_probs_chunk_size=-1,
        entropy_coef=0.0,
        use_rollout_logprobs=False,
        use_opsm=False,
        eps_clip=0.2,
        eps_clip_high=0.2,
        eps_clip_c=None,
        get_mismatch_metrics=False,
        use_tis=False,
        use_kl_loss=False,
        recompute_loss_function=False,
        allgather_cp=False,
        rollout_top_p=1.0,
    )


def per_micro_batch(args: Namespace, samples: list[Any], aggregation: Aggregation) -> dict[str, Any]:
    """The mistake: weights of each micro batch by itself."""
    data = slime.converter(aggregation)(args, samples)
    parts = torch.tensor([sum(mask) for mask in data["loss_masks"]]).split(args.micro_batch_size)
    x = torch.cat([aggregation.weights(part) for part in parts]) * args.micro_batch_size / args.global_batch_size
    data["rollout_mask_sums"] = torch.where(x > 0, 1 / x / args.global_batch_size, 1.0).tolist()
    return data


def sample(one: Response, index: int, prompts: list[Any]) -> Any:
    return Sample(
        group_index=prompts.index(one.prompt),
        index=index,
        rollout_id=index,
        tokens=[*one.prompt, *one.tokens],
        response_length=len(one.tokens),
        reward=one.advantage,
        loss_mask=list(map(int, one.mask)),
        status=Sample.Status.COMPLETED,
    )


def micro_batch(
    model: Any, data: dict[str, Any], rows: list[int], rollout: list[Response]
) -> tuple[dict[str, Any], torch.Tensor]:
    """What the loss function gets: a batch, and the logits of its responses in a row."""
    tokens = [torch.tensor(data["tokens"][row]) for row in rows]
    batch = {
        "unconcat_tokens": tokens,
        "total_lengths": [len(one) for one in tokens],
        "response_lengths": [data["response_lengths"][row] for row in rows],
        "loss_masks": [torch.tensor(data["loss_masks"][row], dtype=torch.int) for row in rows],
        "rollout_mask_sums": torch.tensor([data["rollout_mask_sums"][row] for row in rows], dtype=torch.float32),
        "advantages": [torch.full((data["response_lengths"][row],), data["rewards"][row]) for row in rows],
        "log_probs": [torch.tensor(rollout[row].old) for row in rows],
    }
    return batch, torch.cat([model(one[None]).logits for one in tokens], dim=1)


def run(name: str, micro: int, wrong: bool, estimator: str) -> float:
    model = reference.make_model()
    rollout = [
        one if one.length else one._replace(mask=(True,) * len(one.mask)) for one in reference.make_responses(model)
    ]
    rollout[5] = rollout[5]._replace(mask=(False,) * len(rollout[5].mask))
    args = arguments(len(rollout), micro, estimator)
    prompts = list(dict.fromkeys(one.prompt for one in rollout))
    samples = [sample(one, index, prompts) for index, one in enumerate(rollout)]
    aggregation = Aggregation(**AGGREGATIONS[name])
    data = per_micro_batch(args, samples, aggregation) if wrong else slime.converter(aggregation)(args, samples)
    layout = {"dp_size": WORLD, "cp_size": 1, "vpp_size": 1, "microbatch_group_size_per_vp_stage": 1}
    partitions, indices, counts, sizes = build_dp_schedule(
        args,
        layout,
        [len(one) for one in data["tokens"]],
        global_batch_size=args.global_batch_size,
        rollout_indices=data["rollout_ids"],
    )
    ours, differences = iter(indices[RANK]), []
    for step, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        assert count == micro
        model.zero_grad()
        for _ in range(count):
            rows = [partitions[RANK][local] for local in next(ours)]
            batch, logits = micro_batch(model, data, rows, rollout)
            loss, _, _ = loss_function(args, batch, count, size, logits)
            (loss / count).backward()
        got = reference.flat(parameter.grad for parameter in model.parameters())
        dist.all_reduce(got)
        members = rollout[step * size : (step + 1) * size]
        wanted = reference.gradient(
            model, AGGREGATIONS[name], members, rollout, {"grpo": "ppo"}.get(estimator, estimator)
        )
        differences.append(reference.difference(got / WORLD, wanted))
    return max(differences)


def cases(few: bool) -> Iterator[dict[str, Any]]:
    dist.init_process_group("gloo")
    mpu.initialize_model_parallel()

    def case(name: str, micro: int, wrong: bool = False, estimator: str = "grpo") -> dict[str, Any]:
        said = ", ".join([name, *([estimator] if estimator != "grpo" else []), *(["wrong"] if wrong else [])])
        found = run(name, micro, wrong, estimator)
        return {"case": said, "ranks": WORLD, "micro_batches": micro, "wrong": wrong, "relative_difference": found}

    for micro in (1, 2, 4):
        yield case("deltal", micro)
    yield case("deltal", 2, wrong=True)
    if not few:
        for name in list(AGGREGATIONS)[1:]:
            yield case(name, 2)
        yield case("deltal", 2, estimator="cispo")
        yield case("deltal", 2, estimator="gspo")
    dist.destroy_process_group()


if __name__ == "__main__":
    reference.main(cases)
