"""What ∆L costs: the time of ppo_train with it over the host's own token-mean, on a fixed buffer, in interleaved pairs.

    python scripts/bench_overhead.py [--pairs 100] [--json FILE]

Two real trainers on two equal DeepSpeed engines (fp32, ZeRO-2, AdamW) in one process: the stock host (ActorPPOTrainer and
DeepspeedStrategy untouched, token-mean) and ours (deltal, alpha 0.75, with every guard). The order within a pair alternates. Prints the
median ratio with a bootstrap 95 % interval; exit 1 if the median is above 1.01 or the interval's upper end above 1.02.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path

from deltal_openrlhf.parity import Case, run_on_ranks

MEDIAN_LIMIT, UPPER_LIMIT = 1.01, 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="interleaved pairs of ppo_train (default 100)")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.pairs < 3:
        parser.error(f"--pairs is {options.pairs}, allowed is 3 or more")
    result = run_on_ranks(1, measure, options.pairs, timeout=60 + 20 * options.pairs)[0]
    ratios = [ours / host for ours, host in zip(result["ours"], result["host"], strict=True)]
    low, high = bootstrap_median(ratios)
    summary = {
        "parameters": result["parameters"],
        "pairs": options.pairs,
        "host_seconds": statistics.median(result["host"]),
        "ours_seconds": statistics.median(result["ours"]),
        "median_ratio": statistics.median(ratios),
        "interval_95": [low, high],
    }
    print(json.dumps(summary, indent=2))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return int(summary["median_ratio"] > MEDIAN_LIMIT or high > UPPER_LIMIT)


def measure(rank: int, pairs: int) -> dict:
    """Seconds of every ppo_train of both trainers."""
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from deltal_openrlhf.parity import real

    model = make_model()
    parameters = sum(p.numel() for p in model.parameters())
    ours = real.build_trainer(Case(mode="deltal", alpha=0.75, micro=4, adamw=True), max_norm=1.0, model=model)
    real._trainer_class, real._strategy_class = lambda case: ActorPPOTrainer, lambda case: DeepspeedStrategy
    host = real.build_trainer(Case(mode="token-mean", micro=4), max_norm=1.0, model=make_model())
    trainers = {"host": host, "ours": ours}
    for trainer in trainers.values():
        for sample in real.experiences(Case()):
            trainer.replay_buffer.append(sample)
        trainer.ppo_train(0.0)  # allocations and optimizer state
    seconds: dict[str, list[float]] = {"host": [], "ours": []}
    started = time.perf_counter()
    for pair in range(pairs):
        for name in ("host", "ours") if pair % 2 else ("ours", "host"):
            begin = time.perf_counter()
            trainers[name].ppo_train(0.0)
            seconds[name].append(time.perf_counter() - begin)
        if (pair + 1) % 10 == 0:
            left = (time.perf_counter() - started) / (pair + 1) * (pairs - pair - 1)
            print(f"{pair + 1}/{pairs} pairs, about {left:.0f} s left", flush=True)
    return {"parameters": parameters, **seconds}


def make_model():
    """A Llama of 27M parameters in fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=448,
            intermediate_size=1280,
            num_hidden_layers=9,
            num_attention_heads=7,
            num_key_value_heads=7,
            max_position_embeddings=128,
            attn_implementation="sdpa",
            use_cache=False,
        )
    )


def bootstrap_median(values: list[float], draws: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of the median, seeded."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


if __name__ == "__main__":
    sys.exit(main())
