"""What a weight sync takes without a GPU: with the host's call a tensor, and in buckets (deltal_openrlhf/host/weight_buckets.py).

    python scripts/bench_weight_sync.py [--rounds 30] [--models tiny 10M] [--json FILE]

The trainer is a run's (DeepSpeed, ZeRO-2, bfloat16), and so is the engine: vLLM behind the host's Ray actor. A round draws new weights and
sends them both ways, in alternating order. Before each sync the engine's weights are set to zero, and after it they are hashed. Prints
medians, and the median of the rounds' ratios with the smallest and the largest. Exit 1 if the two ways ever gave the engine different
weights, or none.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bench_models import LLAMAS

from deltal_openrlhf import cpu
from deltal_openrlhf.host.process import SETUP_HOOK, prepare
from deltal_openrlhf.models.tiny import write_tiny_model
from deltal_openrlhf.parity.spawn import rank_environment
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.runs.ports import hold_port

WORDS = ["<pad>", "<eos>", "<unk>", *map(str, range(61))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds (default 30)")
    parser.add_argument("--models", nargs="+", choices=LLAMAS, default=list(LLAMAS), help="(default all)")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, allowed is 1 or more")
    if not cpu.is_needed():
        parser.error("torch was built for GPUs, where weights are not sent in buckets")
    held = hold_port("127.0.0.1")
    os.environ |= rank_environment(0, 1, held.getsockname()[1], gpus=0)
    prepare()
    torch.set_num_threads(1)  # as OMP_NUM_THREADS says in a run, which comes too late here
    results = [bench(name, options.rounds) for name in options.models]
    print(json.dumps(results, indent=2))
    if options.json:
        write_atomically(options.json, records(results, 1))
    return int(not all(result["same_weights"] for result in results))


def bench(name: str, rounds: int) -> dict[str, Any]:
    import ray
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer

    with connected(LLAMAS[name]) as (trainer, engine):
        ways = {"host": lambda: ActorPPOTrainer.broadcast_to_vllm(trainer), "buckets": trainer.broadcast_to_vllm}
        parameters = list(trainer.actor.model.module.parameters())
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        same = True
        for number in range(rounds + 1):
            for parameter in parameters:
                torch.nn.init.normal_(parameter)
            found = {ray.get(engine.hash.remote(zeros=True))}
            for way in sorted(ways, reverse=bool(number % 2)):
                begun = time.perf_counter()
                ways[way]()
                seconds[way].append(time.perf_counter() - begun)
                found.add(ray.get(engine.hash.remote()))
                ray.get(engine.hash.remote(zeros=True))
            same &= len(found) == 2  # of zeros and of the weights
    host, buckets = (seconds[way][1:] for way in ("host", "buckets"))  # the first round is not counted
    ratios = [ours / theirs for ours, theirs in zip(buckets, host, strict=True)]
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "tensors": len(parameters),
        "rounds": rounds,
        "host_seconds": statistics.median(host),
        "buckets_seconds": statistics.median(buckets),
        "median_ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "same_weights": same,
    }


@contextmanager
def connected(sizes: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """A trainer and an engine that have a process group, with the same model."""
    import ray
    from openrlhf.trainer import ray as host_ray
    from openrlhf.trainer.ray import vllm_engine
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import AutoModelForCausalLM

    from deltal_openrlhf.host.rebind import rebound
    from deltal_openrlhf.parity import Case, host_update

    ray.init(**worker_settings(), log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_tiny_model(Path(folder), WORDS, WhitespaceSplit(), **sizes)
            with rebound(vllm_engine, "RolloutRayActor", ray.remote(hashing_actor())):
                [engine] = host_ray.create_vllm_engines(
                    num_engines=1,
                    tensor_parallel_size=1,
                    pretrain=folder,
                    seed=0,
                    full_determinism=False,
                    enable_prefix_caching=False,
                    enforce_eager=True,
                    max_model_len=128,
                    gpu_memory_utilization=0.2,
                )
            ray.get(engine.hash.remote())  # it is ready
            model = AutoModelForCausalLM.from_pretrained(folder)
        trainer = host_update.build_trainer(Case(bf16=True), model=model)
        trainer.vllm_engines = [engine]
        vars(trainer.args.vllm).update(num_engines=1, tensor_parallel_size=1)
        trainer._init_vllm_sync_group("gloo")
        yield trainer, engine
    finally:
        ray.shutdown()


def worker_settings() -> dict[str, Any]:
    """Of ray.init, as in a run with one GPU's worth of engines."""
    settings = cpu.ray_init_arguments(num_gpus=1)
    return settings | {"runtime_env": settings["runtime_env"] | {"worker_process_setup_hook": SETUP_HOOK}}


def hashing_actor() -> type:
    """The engine of a run, which also gives a hash of its weights, or of zeros that it puts in their place."""
    from deltal_openrlhf.host.weight_buckets import BucketedRolloutActor

    class Hashing(BucketedRolloutActor):
        async def hash(self, *, zeros: bool = False) -> str:
            def hash_weights(worker: Any) -> str:
                import hashlib

                import torch

                digest = hashlib.sha256()
                for name, weight in sorted(worker.model_runner.model.named_parameters()):
                    if zeros:
                        weight.data.zero_()
                    digest.update(name.encode() + weight.data.contiguous().view(torch.uint8).numpy().tobytes())
                return digest.hexdigest()

            return (await self.llm.collective_rpc(hash_weights))[0]

    return Hashing


if __name__ == "__main__":
    sys.exit(main())
