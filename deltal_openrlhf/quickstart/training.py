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

from deltal_openrlhf.quickstart import coin_reward
from deltal_openrlhf.quickstart.kinds import KINDS, Kind
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.runs.command import Terminated
from deltal_openrlhf.runs.files import write_atomically

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
    "algo.advantage.estimator": "group_norm",
    "algo.kl.init_coef": 0,
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
    kind: Kind = KINDS["words"]
    longest_prompt: int = CPU.task.longest_prompt
    """Tokens."""
    device: str = "cpu"
    """"cuda" trains and samples on one GPU, in turns: vLLM sleeps while DeepSpeed trains, DeepSpeed's states are in the CPU's memory
    while vLLM samples, and weights go from one to the other by CUDA IPC."""


def write_prompts(training: Training) -> None:
    """One row a prompt of every step, as --data.prompt_dataset takes them."""
    rng = random.Random(f"prompts {training.seed}")  # another stream than the supervised traces'
    kind, rows = training.kind, []
    for _ in range(training.steps * kind.prompts):
        problem = kind.draw(rng, "train")
        rows.append({"input": kind.prompt(*problem), "label": kind.label(*problem), "datasource": kind.title.lower()})
    write_atomically(training.prompts, "".join(json.dumps(row) + "\n" for row in rows))


def command(training: Training) -> list[str]:
    """The command line."""
    kind, on_gpu = training.kind, training.device == "cuda"
    flags = FLAGS | {
        "actor.model_name_or_path": training.start,
        "actor.adam.lr": kind.learning_rate,
        "vllm.sync_backend": "nccl" if on_gpu else "gloo",
        "vllm.gpu_memory_utilization": 0.5 if on_gpu else 0.2,
        "reward.remote_url": coin_reward.__file__ if training.control else kind.reward,
        "data.prompt_dataset": training.prompts,
        "data.max_samples": training.steps * kind.prompts,
        "data.max_len": training.longest_prompt + kind.max_new_tokens,
        "rollout.max_new_tokens": kind.max_new_tokens,
        "rollout.batch_size": kind.prompts,
        "rollout.n_samples_per_prompt": kind.samples,
        "rollout.micro_batch_size": kind.micro_batch,
        "train.batch_size": kind.prompts * kind.samples,
        "train.micro_batch_size": kind.micro_batch,
        "train.seed": training.seed,
        "ckpt.output_dir": training.out / "checkpoint",
        "ckpt.path": training.out / "ckpt",
    }
    pairs = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    switches = ["--vllm.enforce_eager", "--ckpt.load_enable"]
    switches += ["--train.colocate_all", "--vllm.enable_sleep", "--ds.enable_sleep"] if on_gpu else []
    switches += ["--data.apply_chat_template"] if kind.is_chat else []
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
