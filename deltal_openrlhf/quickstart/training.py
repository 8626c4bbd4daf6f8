"""The training stage: OpenRLHF's own command line with ∆L, in a process of its own."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

from deltal_openrlhf.data.countdown import label
from deltal_openrlhf.quickstart import shuffled_reward, sizes
from deltal_openrlhf.quickstart.given import PROMPTS as KINDS
from deltal_openrlhf.quickstart.given import GivenModel
from deltal_openrlhf.rewards import countdown_reward
from deltal_openrlhf.runs.files import write_atomically

PROMPTS = 16
SAMPLES = 8
MICRO_BATCH = {"words": 32, "chat": 8, "base": 8}
LEARNING_RATE = {"words": 2e-4, "chat": 1e-6, "base": 1e-6}
"""By the kind of prompts. A model that reads English has a vocabulary whose logits fill the memory, and the authors' rate for 3B."""
SAVE_EVERY = 5


class TrainingFailed(Exception):
    """The command ended with another exit code than 0; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def write_prompts(path: Path, *, steps: int, seed: int, chance: float | None, prompts: str = "words") -> None:
    """One row a prompt of every step, as --data.prompt_dataset takes them. chance: of a reward in the control run, else None.

    prompts: a key of given.PROMPTS.
    """
    rng = random.Random(f"prompts {seed}")  # another stream than the supervised traces'
    rows = []
    for _ in range(steps * PROMPTS):
        problem = sizes.CPU.task.draw(rng, "train")
        answer = label(*problem) if chance is None else shuffled_reward.chance_label(*problem, chance)
        rows.append({"input": KINDS[prompts](*problem), "label": answer, "datasource": "countdown"})
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def command(
    *,
    start: Path,
    out: Path,
    prompts: Path,
    loss: list[str],
    steps: int,
    seed: int,
    control: bool,
    given: GivenModel | None = None,
    device: str = "cpu",
) -> list[str]:
    """The command line. start: checkpoint to train. loss: flags of the loss aggregation, such as ["--loss_agg", "deltal"].

    given: what the checkpoint is if it is no start of ours. device: "cuda" trains and samples on one GPU, in turns: vLLM sleeps while
    DeepSpeed trains, DeepSpeed's states are in the CPU's memory while vLLM samples, and weights go from one to the other by CUDA IPC.
    """
    reward = shuffled_reward if control else countdown_reward
    countdown = sizes.CPU.task
    kind = given.prompts if given else "words"
    longest_prompt = given.longest_prompt if given else countdown.longest_prompt
    max_new_tokens = given.max_new_tokens if given else countdown.max_new_tokens
    on_gpu = device == "cuda"
    flags = {
        "actor.model_name_or_path": start,
        "actor.num_nodes": 1,
        "actor.num_gpus_per_node": 1,
        "vllm.num_engines": 1,
        "vllm.tensor_parallel_size": 1,
        "vllm.sync_backend": "nccl" if on_gpu else "gloo",
        "vllm.gpu_memory_utilization": 0.5 if on_gpu else 0.2,
        "reward.remote_url": reward.__file__,
        "data.prompt_dataset": prompts,
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_samples": steps * PROMPTS,
        "data.max_len": longest_prompt + max_new_tokens,
        "rollout.max_new_tokens": max_new_tokens,
        "rollout.temperature": 1.0,
        "rollout.n_samples_per_prompt": SAMPLES,
        "rollout.batch_size": PROMPTS,
        "rollout.micro_batch_size": MICRO_BATCH[kind],
        "algo.advantage.estimator": "group_norm",
        "algo.kl.init_coef": 0,
        "train.batch_size": PROMPTS * SAMPLES,
        "train.micro_batch_size": MICRO_BATCH[kind],
        "train.num_episodes": 1,
        "train.max_epochs": 1,
        "train.seed": seed,
        "actor.adam.lr": LEARNING_RATE[kind],
        "actor.lr_scheduler": "constant",
        "actor.lr_warmup_ratio": 0,
        "ds.zero_stage": 2,
        "ds.attn_implementation": "sdpa",
        "ckpt.output_dir": out / "checkpoint",
        "ckpt.path": out / "ckpt",
        "ckpt.save_steps": SAVE_EVERY,
    }
    pairs = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    switches = ["--vllm.enforce_eager", "--ckpt.load_enable"]
    switches += ["--train.colocate_all", "--vllm.enable_sleep", "--ds.enable_sleep"] if on_gpu else []
    switches += ["--data.apply_chat_template"] if kind == "chat" else []
    return [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *pairs, *switches, *loss]


def train(arguments: list[str]) -> None:
    """Run the command; its console is ours. Raises TrainingFailed.

    It ends with us and cleans up after itself: Ctrl-C reaches it directly, SIGTERM is passed on.
    """
    process = subprocess.Popen(arguments)
    ours = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, ours)
    if code:
        raise TrainingFailed(code)
