"""The runs of scripts/bench_trl.py: what both sides get, how each is started, and what is read of it."""

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench_models import LLAMAS

from deltal_openrlhf.quickstart import coin_reward, model, sums, task, training
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.metrics_file import NAME, read_metrics

OURS = ("deltal", "loop")
"""`deltal train`, and the loop in one process that `deltal compare` trains with, which computes in float32."""
SIDES = (*OURS, "trl")
PROMPTS, SAMPLES, MICRO_BATCH = 4, 8, 8
RESPONSES = PROMPTS * SAMPLES
LONGEST_PROMPT, LONGEST = 64, 2048
"""Tokens of a prompt and of a response, at most."""
RATE = 1e-6
MODELS = (*LLAMAS, "135M")
"""Those of LLAMAS have random weights and the quick start's tokenizer. 135M is the folder of `deltal model smollm2`."""
PARTS = ("generation", "make_experience", "ppo_train", "broadcast")


class Cell(NamedTuple):
    model: str
    length: int
    """Tokens of each response."""


class Bench(NamedTuple):
    """What is the same in every run."""

    out: Path
    steps: int
    threads: int
    gpu: bool


# ── What all sides get ──


def make_model(name: str, folder: Path) -> None:
    """Write the folder, which names no end token."""
    beside = folder.with_name(f"{folder.name}.made")
    if name in LLAMAS:
        import torch

        torch.manual_seed(0)
        size = replace(CPU, llama=LLAMAS[name] | {"max_position_embeddings": LONGEST_PROMPT + LONGEST})
        tokenizer = model.build_tokenizer(size)
        model.save(model.build_model(tokenizer, size), tokenizer, beside, size)
    else:
        subprocess.run(
            [sys.executable, "-m", "deltal_openrlhf.cli.main", "model", "smollm2", "--out", str(beside)], check=True
        )
    for file, key in (
        ("config.json", "eos_token_id"),
        ("generation_config.json", "eos_token_id"),
        ("tokenizer_config.json", "eos_token"),
    ):
        settings = json.loads((beside / file).read_text(encoding="utf-8"))
        # Without the key a reader would take the default of its class.
        write_atomically(beside / file, json.dumps(settings | {key: None}, indent=2) + "\n")
    os.replace(beside, folder)


def prompts_of(name: str, steps: int) -> str:
    """The rows of a run's prompts, each step's once. Rewards do not depend on labels."""
    rng, rows = random.Random(0), []
    for _ in range(steps * PROMPTS):
        if name in LLAMAS:
            text = task.prompt(*CPU.task.draw(rng, "train"))
        else:
            text = sums.question(*sums.draw(rng, "train"))[-1]["content"]
        rows.append({"input": text, "label": "none"})
    return "".join(json.dumps(row) + "\n" for row in rows)


# ── The three sides ──


def our_flags(bench: Bench, cell: Cell, prompts: Path, folder: Path) -> dict[str, Any]:
    """Flags of `deltal train`. folder: for what it writes."""
    saving = ("ckpt.save_steps", "deltal.save_rollouts")
    return {name: value for name, value in training.FLAGS.items() if name not in saving} | {
        "actor.model_name_or_path": bench.out / "models" / cell.model,
        "actor.adam.lr": RATE,
        "data.prompt_dataset": prompts,
        "data.max_samples": bench.steps * PROMPTS,
        "data.max_len": LONGEST_PROMPT + cell.length,
        "reward.remote_url": coin_reward.__file__,
        "rollout.max_new_tokens": cell.length,
        "rollout.batch_size": PROMPTS,
        "rollout.n_samples_per_prompt": SAMPLES,
        "rollout.micro_batch_size": MICRO_BATCH,
        "train.batch_size": RESPONSES,
        "train.micro_batch_size": MICRO_BATCH,
        "vllm.sync_backend": "nccl" if bench.gpu else "gloo",
        "vllm.gpu_memory_utilization": 0.5 if bench.gpu else 0.2,
        "ckpt.output_dir": folder / "hf",
        "ckpt.path": folder / "ckpt",
        "loss_agg": "deltal",
    }


def our_words(bench: Bench, cell: Cell, prompts: Path, folder: Path) -> list[str]:
    """The command of `deltal train`."""
    flags = our_flags(bench, cell, prompts, folder)
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    words += (
        ["--train.colocate_all", "--vllm.enable_sleep", "--ds.enable_sleep"] if bench.gpu else ["--vllm.enforce_eager"]
    )
    return [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *words]


def trl_config(bench: Bench, cell: Cell, folder: Path) -> dict[str, Any]:
    """Arguments of GRPOConfig. folder: for what it writes."""
    config: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": bench.steps,
        "num_generations": SAMPLES,
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": RESPONSES // MICRO_BATCH,  # so many micro batches are sampled together
        "max_completion_length": cell.length,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "beta": 0.0,
        "loss_type": "dr_grpo",
        "temperature": 1.0,
        "model_init_kwargs": {"dtype": "bfloat16", "attn_implementation": "sdpa"},
        "bf16": True,
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "use_cpu": not bench.gpu,
        "use_vllm": bench.gpu,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    if bench.gpu:
        return config | {
            "vllm_mode": "colocate",
            "vllm_enable_sleep_mode": True,
            "vllm_gpu_memory_utilization": 0.5,
            "vllm_max_model_length": LONGEST_PROMPT + cell.length,
        }
    return config | {"generation_kwargs": {"min_new_tokens": cell.length}}


def measure(side: str, bench: Bench, cell: Cell, log: Path) -> dict[str, Any]:
    """One run. log: gets its console. Raises RuntimeError if it fails, or if a response has another length."""
    with tempfile.TemporaryDirectory(dir=bench.out) as name:
        folder, prompts = Path(name), Path(name, "prompts.jsonl")
        prompts.write_text(prompts_of(cell.model, bench.steps), encoding="utf-8")
        if side == "deltal":
            run(our_words(bench, cell, prompts, folder), bench, log)
            return our_result(read_metrics(folder / "hf" / NAME), cell.length)
        if side == "loop":
            flags = {name: str(value) for name, value in our_flags(bench, cell, prompts, folder).items()}
            words = ["-m", "deltal_openrlhf.comparison.worker", "deltal_openrlhf.comparison.loop:run", "--in_process"]
            job = json.dumps({"flags": flags, "folder": str(folder)})
            run([sys.executable, *words], bench, log, job + "\n")
            outcome = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
            if "crashed" in outcome:
                raise RuntimeError(f"the loop ended with {outcome['crashed']}")
            return loop_result(read_metrics(folder / NAME), cell.length)
        result = folder / "result.json"
        given = {
            "model": str(bench.out / "models" / cell.model),
            "prompts": str(prompts),
            "config": trl_config(bench, cell, folder / "trl"),
            "result": str(result),
        }
        write_atomically(folder / "settings.json", json.dumps(given))
        python = bench.out / "venv" / "bin" / "python"
        run([str(python), str(Path(__file__).with_name("trl_side.py")), str(folder / "settings.json")], bench, log)
        return trl_result(json.loads(result.read_text(encoding="utf-8")), cell.length)


def run(words: Sequence[str], bench: Bench, log: Path, asked: str = "") -> None:
    """asked: for its standard input."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    environment = os.environ | quiet | {"OMP_NUM_THREADS": str(bench.threads)}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as console:
        ended = subprocess.run(words, env=environment, input=asked, text=True, stdout=console, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise RuntimeError(f"the run ended with {ended.returncode}; its console is in {log}")


def our_result(rows: Sequence[Mapping[str, Any]], length: int) -> dict[str, Any]:
    """rows: of metrics.jsonl, one for each step."""
    parts = {part: statistics.mean(row[f"timing/{part}"] for row in rows[1:]) for part in PARTS}
    return loop_result(rows, length) | {"parts": parts}


def loop_result(rows: Sequence[Mapping[str, Any]], length: int) -> dict[str, Any]:
    """The same without the parts of a step, which the loop does not log."""
    lengths = {row[f"deltal/response_length_{of}"] for row in rows for of in ("mean", "max")}
    return timed([row["time"] for row in rows], lengths, length, {})


def trl_result(found: Mapping[str, Any], length: int) -> dict[str, Any]:
    """found: what trl_side.py wrote."""
    seconds = statistics.mean(later - before for before, later in itertools.pairwise(found["ended"]))
    generation = statistics.mean(found["generation"][1:])
    parts = {"generation": generation, "ppo_train": seconds - generation}
    lengths = {one for step in found["lengths"] for one in step}
    described = {name: found[name] for name in ("threads", "dtype", "versions")}
    return timed(found["ended"], lengths, length, parts) | described


def timed(ended: Sequence[float], lengths: set[float], length: int, parts: Mapping[str, float]) -> dict[str, Any]:
    """ended: when each step did, in seconds. parts: mean seconds of a step's parts."""
    if lengths != {length}:
        raise RuntimeError(f"responses have {sorted(lengths)} tokens, where all should have {length}")
    seconds = (ended[-1] - ended[0]) / (len(ended) - 1)
    return {"tokens_per_second": RESPONSES * length / seconds, "step_seconds": seconds, "parts": dict(parts)}
