"""Trains the countdown task with both training backends, DeepSpeed and Megatron with tensor and pipeline parallelism, without a GPU.

    python scripts/compare_backends.py --out runs/backends [--steps 10]

One small Llama learns from search traces, as in the quick start. It has no biases and one layer more, so that it can be cut. Then every
backend trains it on the same prompts with ∆L and the importance-sampling correction. The script shows the reward and vllm_kl, the distance
of the trainer's log-probabilities from the rollout engine's. At the end vLLM loads every exported model and answers the first prompts
greedily. Finished stages are kept, so the same command resumes where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.quickstart import training
from deltal_openrlhf.quickstart.training import Training
from deltal_openrlhf.runs.files import records, write_atomically

BACKENDS = {
    "DeepSpeed": [],
    "Megatron, tensor parallel 2": ["--megatron.tensor_parallel_size", "2", "--megatron.sequence_parallel"],
    "Megatron, pipeline parallel 2": ["--megatron.pipeline_parallel_size", "2"],
}
CORRECTION = ["--algo.advantage.is_correction_level", "token"]
LOOK = """
import json, sys
from vllm import LLM, SamplingParams
rows = [json.loads(line) for line in open(sys.argv[2]).readlines()[:16]]
llm = LLM(sys.argv[1], enforce_eager=True, max_model_len=262)
outputs = llm.generate([row["input"] for row in rows], SamplingParams(temperature=0, max_tokens=64), use_tqdm=False)
json.dump([output.outputs[0].text for output in outputs], open(sys.argv[3], "w"))
"""


def make_start(folder: Path, steps: int) -> None:
    """A model after `steps` supervised steps."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from deltal_openrlhf.quickstart import model, sizes, supervised

    def build(tokenizer, size) -> LlamaForCausalLM:
        config = model.build_model(tokenizer, size).config.to_dict()
        return LlamaForCausalLM(LlamaConfig(**(config | {"attention_bias": False, "num_hidden_layers": 4})))

    def progress(step: int) -> None:
        if step % 100 == 0 or step == steps:
            print(f"supervised start: step {step} of {steps}", flush=True)

    tokenizer = model.build_tokenizer()
    with rebound(supervised, "build_model", build):
        trained = supervised.train(tokenizer, replace(sizes.CPU, steps=steps), seed=0, progress=progress)
    model.save(trained, tokenizer, folder)


def training_of(out: Path, folder: Path, steps: int) -> Training:
    """From the start and on the prompts in `out`, into `folder`."""
    loss = ["--loss_agg", "deltal", *CORRECTION]
    return Training(out / "start", folder, out / "prompts.jsonl", loss, steps, seed=1)


def train(name: str, out: Path, steps: int) -> list[dict]:
    """The metrics of one run, from its file if it is done."""
    folder = out / name.lower().replace(", ", "-").replace(" ", "-")
    metrics = folder / "checkpoint" / "metrics.jsonl"
    if not (folder / "done").exists():
        print(f"\n{name}", flush=True)
        command = training.command(training_of(out, folder, steps))
        if BACKENDS[name]:
            for flag in ("--ds.zero_stage", "--ds.attn_implementation"):
                place = command.index(flag)
                del command[place : place + 2]
            command += ["--backend", "megatron", "--actor.num_gpus_per_node", "2", *BACKENDS[name]]
        training.train(command)
        (folder / "done").touch()
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def responses_of(model: Path, out: Path) -> list[str]:
    """What vLLM answers with the exported model."""
    path = model / "greedy.json"
    if not path.exists():
        environment = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR"}
        command = [sys.executable, "-c", LOOK, model, out / "prompts.jsonl", path]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())


def report(runs: dict[str, list[dict]]) -> str:
    """A Markdown table."""
    lines = [
        "| backend | reward, first step | reward, mean of all steps | reward, last step | largest vllm_kl |",
        "|---|---|---|---|---|",
    ]
    for name, rows in runs.items():
        rewards = [row["reward"] for row in rows]
        lines.append(
            f"| {name} | {rewards[0]:.3f} | {sum(rewards) / len(rewards):.3f} | {rewards[-1]:.3f} | "
            f"{max(abs(row['vllm_kl']) for row in rows):.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for all files; a run into the same one resumes")
    parser.add_argument("--steps", type=int, default=10, help="PPO steps of each backend (default 10)")
    parser.add_argument("--supervised-steps", type=int, default=1500, help="of the start (default 1500)")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    args = parser.parse_args()
    if not cpu.is_needed():
        parser.error(
            "torch was built for GPUs; this comparison has settings for a CPU only: "
            "DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/setup.sh"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "start").exists():
        make_start(args.out / "start", args.supervised_steps)
    training.write_prompts(training_of(args.out, args.out, args.steps))
    runs = {name: train(name, args.out, args.steps) for name in BACKENDS}
    print("\n" + report(runs))
    for name in BACKENDS:
        folder = args.out / name.lower().replace(", ", "-").replace(" ", "-") / "checkpoint"
        answers = responses_of(folder, args.out)
        print(f"\n{name}: vLLM loads the exported model; its first greedy answer: {answers[0]}")
    if args.json:
        keys = (
            "step",
            "reward",
            "vllm_kl",
            "actor_grad_norm",
            "response_length",
            "deltal/clip_share",
            "timing/step_total",
        )
        numbers = {name: [{key: row[key] for key in keys} for row in rows] for name, rows in runs.items()}
        write_atomically(args.json, records(numbers, 2))


if __name__ == "__main__":
    main()
