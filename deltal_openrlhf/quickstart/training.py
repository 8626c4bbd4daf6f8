"""The training stage: OpenRLHF's own command line with ∆L, in a process of its own."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deltal_openrlhf.data.countdown import label
from deltal_openrlhf.quickstart import shuffled_reward, sizes
from deltal_openrlhf.quickstart.given import PROMPTS as KINDS
from deltal_openrlhf.quickstart.given import GivenModel
from deltal_openrlhf.rewards import countdown_reward
from deltal_openrlhf.runs.command import Terminated
from deltal_openrlhf.runs.files import write_atomically

PROMPTS = 16
SAMPLES = 8
MICRO_BATCH = {"words": 32, "chat": 8, "base": 8}
LEARNING_RATE = {"words": 2e-4, "chat": 1e-6, "base": 1e-6}
"""Both go by the kind of prompts. A model that reads English has logits that fill the memory, and the authors' rate for 3B."""
FLAGS: dict[str, object] = {
    "actor.num_nodes": 1,
    "actor.num_gpus_per_node": 1,
    "actor.lr_scheduler": "constant",
    "actor.lr_warmup_ratio": 0,
    "vllm.num_engines": 1,
    "vllm.tensor_parallel_size": 1,
    "data.input_key": "input",
    "data.label_key": "label",
    "rollout.temperature": 1.0,
    "rollout.n_samples_per_prompt": SAMPLES,
    "rollout.batch_size": PROMPTS,
    "algo.advantage.estimator": "group_norm",
    "algo.kl.init_coef": 0,
    "train.batch_size": PROMPTS * SAMPLES,
    "train.num_episodes": 1,
    "train.max_epochs": 1,
    "ds.zero_stage": 2,
    "ds.attn_implementation": "sdpa",
    "ckpt.save_steps": 5,
    "deltal.save_rollouts": 5,  # for the report
}
"""What is the same in every training of the quick start."""


class TrainingFailed(Exception):
    """The command ended with another exit code than 0; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Training:
    """What is trained, on what, and how."""

    start: Path
    """The checkpoint to train."""
    out: Path
    """Gets checkpoint/ and ckpt/."""
    prompts: Path
    """The file of prompts, which write_prompts writes."""
    loss: Sequence[str]
    """Flags of the loss aggregation, such as ["--loss_agg", "deltal"]."""
    steps: int
    seed: int
    control: bool = False
    """Whether rewards ignore the answer."""
    given: GivenModel | None = None
    """What the checkpoint is if it is no start of ours."""
    device: str = "cpu"
    """"cuda" trains and samples on one GPU, in turns: vLLM sleeps while DeepSpeed trains, DeepSpeed's states are in the CPU's memory
    while vLLM samples, and weights go from one to the other by CUDA IPC."""

    @property
    def kind(self) -> str:
        """The kind of prompts, a key of given.PROMPTS."""
        return self.given.prompts if self.given else "words"

    @property
    def max_new_tokens(self) -> int:
        return self.given.max_new_tokens if self.given else sizes.CPU.task.max_new_tokens


def write_prompts(training: Training, chance: float | None) -> None:
    """One row a prompt of every step, as --data.prompt_dataset takes them. chance: of a reward in the control run, else None."""
    rng = random.Random(f"prompts {training.seed}")  # another stream than the supervised traces'
    rows = []
    for _ in range(training.steps * PROMPTS):
        problem = sizes.CPU.task.draw(rng, "train")
        answer = label(*problem) if chance is None else shuffled_reward.chance_label(*problem, chance)
        rows.append({"input": KINDS[training.kind](*problem), "label": answer, "datasource": "countdown"})
    write_atomically(training.prompts, "".join(json.dumps(row) + "\n" for row in rows))


def command(training: Training) -> list[str]:
    """The command line."""
    kind, on_gpu = training.kind, training.device == "cuda"
    longest_prompt = training.given.longest_prompt if training.given else sizes.CPU.task.longest_prompt
    flags = FLAGS | {
        "actor.model_name_or_path": training.start,
        "actor.adam.lr": LEARNING_RATE[kind],
        "vllm.sync_backend": "nccl" if on_gpu else "gloo",
        "vllm.gpu_memory_utilization": 0.5 if on_gpu else 0.2,
        "reward.remote_url": (shuffled_reward if training.control else countdown_reward).__file__,
        "data.prompt_dataset": training.prompts,
        "data.max_samples": training.steps * PROMPTS,
        "data.max_len": longest_prompt + training.max_new_tokens,
        "rollout.max_new_tokens": training.max_new_tokens,
        "rollout.micro_batch_size": MICRO_BATCH[kind],
        "train.micro_batch_size": MICRO_BATCH[kind],
        "train.seed": training.seed,
        "ckpt.output_dir": training.out / "checkpoint",
        "ckpt.path": training.out / "ckpt",
    }
    pairs = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    switches = ["--vllm.enforce_eager", "--ckpt.load_enable"]
    switches += ["--train.colocate_all", "--vllm.enable_sleep", "--ds.enable_sleep"] if on_gpu else []
    switches += ["--data.apply_chat_template"] if kind == "chat" else []
    return [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *pairs, *switches, *training.loss]


def train(arguments: list[str]) -> None:
    """Run the command; its console is ours. Raises TrainingFailed.

    It ends with us, saves and cleans up after itself: Ctrl-C reaches it directly, SIGTERM and SIGUSR1 are passed on.
    """
    process = subprocess.Popen(arguments)
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code and told:
        raise Terminated(signal.Signals(told[0]).name)
    if code:
        raise TrainingFailed(code)
