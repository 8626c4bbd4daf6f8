"""A tiny model, prompts and a reward file, and a way to start and end real runs of the pipeline."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import commands

from deltal_openrlhf.models.tiny import write_tiny_model

TIME_LIMIT = 240  # seconds a run may take on 2 cores that other tests share; a run takes 30 to 100

REWARD = """
import os
import torch

def reward_func(queries, prompts, labels, **kwargs):
    if os.path.exists(__file__ + ".broken"):
        raise ValueError("no reward any more")
    rewards = []
    for query, prompt in zip(queries, prompts):
        response = query[len(prompt):]
        rewards.append(sum(c.isdigit() for c in response) / max(1, len(response)))
    rewards = torch.tensor(rewards)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
"""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """Folder with model/, prompts.jsonl and reward.py."""
    from tokenizers import Regex, pre_tokenizers

    folder = tmp_path_factory.mktemp("workspace")
    words = ["<pad>", "<eos>", "<unk>", *"0123456789abcdefghijklmnopqrstuvwxyz +-=?.!"]
    write_tiny_model(folder / "model", words, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    rows = [json.dumps({"input": f"{i}+{i % 7}=", "label": ""}) + "\n" for i in range(64)]
    (folder / "prompts.jsonl").write_text("".join(rows))
    (folder / "reward.py").write_text(REWARD)
    return folder


@pytest.fixture
def broken_reward(workspace) -> Iterator[Path]:
    """While this file is there, every reward raises."""
    broken = workspace / "reward.py.broken"
    yield broken
    broken.unlink(missing_ok=True)


class Run:
    """One run of the pipeline in its own session. Everything it started is ended when the block ends."""

    def __init__(
        self,
        workspace: Path,
        out: Path,
        *flags: str,
        module="deltal_openrlhf.train_ppo_ray",
        ranks=1,
        time_limit=TIME_LIMIT,
    ):
        self.out, self.time_limit = out, time_limit
        flags = (
            f"--actor.model_name_or_path {workspace}/model --actor.num_nodes 1 --actor.num_gpus_per_node {ranks} "
            f"--ref.num_gpus_per_node {ranks} --vllm.num_engines 1 --reward.remote_url {workspace}/reward.py "
            f"--data.prompt_dataset {workspace}/prompts.jsonl --data.input_key input --data.label_key label --data.max_samples 16 "
            "--data.max_len 40 --rollout.max_new_tokens 24 --algo.advantage.estimator group_norm --algo.kl.init_coef 0 "
            "--rollout.n_samples_per_prompt 4 --rollout.batch_size 4 --rollout.micro_batch_size 4 --train.batch_size 8 "
            "--train.micro_batch_size 2 --train.num_episodes 1 --train.max_epochs 1 --actor.adam.lr 1e-3 "
            f"--actor.lr_scheduler constant --ckpt.output_dir {out}/hf --ckpt.path {out}/ckpt"
        ).split() + list(flags)
        self.command, self.stock = [sys.executable, "-m", module, *flags], module.startswith("openrlhf.")
        self.process: subprocess.Popen | None = None
        self.family: set[psutil.Process] = set()

    def __enter__(self) -> "Run":
        self.out.mkdir(parents=True, exist_ok=True)
        self.console = self.out / f"console-{time.time()}.txt"
        with open(self.console, "w") as file:
            # The stock command is one that `deltal enable` changes, by way of what the interpreter does at its start.
            start = subprocess.Popen if self.stock else commands.Popen
            self.process = start(self.command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        self.started = time.time()
        return self

    def look(self) -> None:
        try:
            self.family.update(
                [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            )
        except psutil.NoSuchProcess:
            return

    def text(self) -> str:
        return self.console.read_text(errors="replace")

    def metrics(self) -> list[dict]:
        path = self.out / "hf" / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, condition, what: str) -> None:
        while not condition():
            self.look()
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode} before {what}:\n{self.text()}\n{self.log()}"
            )
            assert time.time() - self.started < self.time_limit, (
                f"no {what} after {self.time_limit} s:\n{self.text()}\n{self.log()}"
            )
            time.sleep(0.2)

    def wait(self) -> int:
        while self.process.poll() is None:
            self.look()
            assert time.time() - self.started < self.time_limit, (
                f"still running after {self.time_limit} s:\n{self.text()}\n{self.log()}"
            )
            time.sleep(0.2)
        return self.process.returncode

    def log(self) -> str:
        path = self.out / "hf" / "logs" / "train.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-60:]) if path.exists() else ""

    def running(self) -> list[psutil.Process]:
        """Processes of this run that are there now."""
        self.look()
        return [p for p in self.family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def survivors(self) -> list[str]:
        """Processes of this run that are still there, a moment after it ended."""
        psutil.wait_procs([p for p in self.family if p.is_running()], timeout=10)
        return [" ".join(p.cmdline())[:100] for p in self.running()]

    def kill_all(self) -> None:
        """kill -9 of the whole run."""
        self.look()
        for process in self.family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(self.family, timeout=10)

    def __exit__(self, *_) -> None:
        self.kill_all()
        self.process.wait(timeout=10)


@pytest.fixture
def start(workspace, tmp_path):
    """start(*flags, out=name, ...) -> Run, to be used in a with block."""

    def make(*flags: str, out: str = "run", **keywords) -> Run:
        return Run(workspace, tmp_path / out, *flags, **keywords)

    return make
