"""Five PPO steps each with an agent, with images and with LoRA, in the real pipeline; every export is loaded again.

    python scripts/check_other_runs.py --start runs/quickstart/start --out runs/others --json docs/evidence/other_runs.json

Agent and LoRA train the quick start's start, of which `deltal quickstart` or scripts/make_starts.py makes one. The model of images is the
random one of deltal_openrlhf/models/tiny_vision.py.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from deltal_openrlhf.cli.main import main as deltal
from deltal_openrlhf.host import process
from deltal_openrlhf.models.tiny_vision import write_tiny_vision_model
from deltal_openrlhf.quickstart import task
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.runs import rollouts

STEPS, PROMPTS, GROUP = 5, 8, 8
FLAGS = f"""--loss_agg deltal --alpha 0.75 --algo.advantage.estimator group_norm --algo.kl.init_coef 0 --algo.advantage.is_correction_level
    token --actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1 --vllm.sync_backend gloo --vllm.enforce_eager
    --ds.zero_stage 2 --ds.attn_implementation sdpa --data.input_key input --data.label_key label --data.max_samples {STEPS * PROMPTS}
    --rollout.batch_size {PROMPTS} --rollout.n_samples_per_prompt {GROUP} --rollout.micro_batch_size 16 --train.micro_batch_size 16
    --train.batch_size {PROMPTS * GROUP} --train.num_episodes 1 --train.max_epochs 1 --actor.lr_scheduler constant --eval.steps {STEPS}
    --eval.n_samples_per_prompt 2 --eval.temperature 1 --deltal.save_rollouts 1""".split()
COUNTDOWN = "--data.max_len 262 --rollout.max_new_tokens 256 --actor.adam.lr 2e-4"
RUNS = {
    "agent": f"{COUNTDOWN} --train.agent_func_path deltal:countdown-calculator",
    "same start, one turn": f"{COUNTDOWN} --reward.remote_url deltal:countdown",
    "LoRA": f"{COUNTDOWN} --reward.remote_url deltal:countdown --ds.lora.rank 8 --ds.lora.alpha 16 --actor.adam.lr 2e-3",
    "images": "--data.max_len 256 --rollout.max_new_tokens 64 --reward.remote_url REWARD --data.apply_chat_template "
    "--data.max_images_per_prompt 1 --actor.adam.lr 1e-3",
}
# The share of letters in a response: a random model never counts right.
REWARD = """
import torch

def reward_func(queries, prompts, labels, **_):
    said = [query.removeprefix(prompt) for query, prompt in zip(queries, prompts)]
    return {"rewards": torch.tensor([sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text)) for text in said])}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--start", type=Path, required=True, help="model of the quick start")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    args = parser.parse_args()
    process.prepare()  # a processor loads without torchvision
    prepare(args.out)
    found = {name: measured(name, args) for name in args.only}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def prepare(out: Path) -> None:
    """Problems, pictures, and the model that reads them."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for split, n in (("train", STEPS * PROMPTS), ("test", 16)):
        lines = []
        for _ in range(n):
            numbers, target = CPU.task.draw(rng, split)
            label = json.dumps({"numbers": list(numbers), "target": target})
            lines.append(json.dumps({"input": task.prompt(numbers, target), "label": label, "datasource": "countdown"}))
        (out / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (out / "reward.py").write_text(REWARD)
    deltal(["data", "shapes", "--out", str(out / "shapes"), "--train", str(STEPS * PROMPTS), "--test", "8"])
    write_tiny_vision_model(out / "vision")


def measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train, and read what the run left."""
    sees, folder = name == "images", args.out / name.replace(" ", "-").replace(",", "")
    model, data = (args.out / "vision", args.out / "shapes") if sees else (args.start, args.out)
    words = [*FLAGS, *RUNS[name].replace("REWARD", str(args.out / "reward.py")).split()]
    words += ["--actor.model_name_or_path", str(model), "--data.prompt_dataset", str(data / "train.jsonl")]
    words += [
        "--eval.dataset",
        str(data / "test.jsonl"),
        "--ckpt.output_dir",
        str(folder),
        "--ckpt.path",
        str(folder / "ckpt"),
    ]
    subprocess.run([sys.executable, "-m", "deltal_openrlhf.cli.main", "train", *words], check=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (evaluation,) = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    responses = [
        response for row in rows for response in rollouts.read(rollouts.path_of(folder, row["step"]), images=sees)[1]
    ]
    lengths = [response.length for response in responses]
    written = [len(response.token_ids) - 1 - response.action_mask.index(1) for response in responses]
    return {
        "PPO steps": len(rows),
        "responses": len(responses),
        "trained tokens, mean": round(statistics.mean(lengths), 1),
        "trained tokens, coefficient of variation": round(statistics.pstdev(lengths) / statistics.mean(lengths), 2),
        "trained tokens, longest": max(lengths),
        "tokens that nobody trains on, share of a response": round(1 - sum(lengths) / sum(written), 3),
        "sum of weights x M": [round(f(row["deltal/weight_sum_x_M"] for row in rows), 6) for f in (min, max)],
        "vllm_kl, largest": round(max(abs(row["vllm_kl"]) for row in rows), 5),
        "evaluation": {key: value for key, value in evaluation.items() if key.endswith("pass1")},
        "loaded again": loaded(name, folder, model),
    }


def loaded(name: str, folder: Path, start: Path) -> str:
    """Load the export, and say how much of it the run has changed."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    read: Any = AutoModelForImageTextToText if name == "images" else AutoModelForCausalLM
    (AutoProcessor if name == "images" else AutoTokenizer).from_pretrained(folder)
    before = read.from_pretrained(start, dtype=torch.float32)
    if name == "LoRA":
        from peft import PeftModel

        adapters = PeftModel.from_pretrained(before, folder)
        moved = [bool(p.any()) for key, p in adapters.named_parameters() if "lora_B" in key]
        return f"{sum(moved)} of {len(moved)} adapters have moved"
    after = dict(read.from_pretrained(folder, dtype=torch.float32).named_parameters())
    moved = [not torch.equal(value, after[key]) for key, value in before.named_parameters()]
    return f"{sum(moved)} of {len(moved)} parameters have moved"


if __name__ == "__main__":
    main()
