"""Rewards in a run: inside the host's executor, where one that cannot be had stops the run; and the flags that say where they come from."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor
from support import commands
from support.reward_service import RIGHT, Service, free_port

from deltal_openrlhf.host import reward_source
from deltal_openrlhf.host.reward import RewardedExecutor, RewardSource
from deltal_openrlhf.host.reward_source import check_reward_source, reward_wait
from deltal_openrlhf.rewards import named

REWARD_FILE = """
import sys
import time
import torch

def reward_func(queries, prompts, labels, **_):
    if labels == ["bad"]:
        raise KeyError("no such\\nlabel")
    if labels == ["hangs"]:
        time.sleep(1)
    if labels == ["exits"]:
        sys.exit("enough")
    rewards = torch.tensor([0.5])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"a": torch.tensor([2.0])}}
"""


def respond(endpoint: str, label: str = "1", wait: float = 0.3, executor_class=None, unmarked: str = "none") -> dict:
    """What an executor gives for the prompt "p" and the response " a", or raises."""

    class Tokenizer:
        def __call__(self, **_):
            return {"input_ids": torch.tensor([[1]])}

        def decode(self, tokens, **_):
            return "".join({1: "p", 2: " a"}[token] for token in tokens)

    class Engine:
        async def generate(self, *_, **__):
            return SimpleNamespace(outputs=[SimpleNamespace(token_ids=[2], finish_reason="stop", logprobs=None)])

    async def run():
        executor = (
            executor_class([endpoint]) if executor_class else RewardedExecutor(RewardSource([endpoint], wait, unmarked))
        )
        try:
            return await executor.execute(
                "p", label, SimpleNamespace(max_tokens=9, logprobs=None), 99, Tokenizer(), Engine()
            )
        finally:
            if not executor_class:
                await executor.client.close()

    return asyncio.run(run())


def test_executor_gives_rewards_of_a_service_and_of_a_file(tmp_path):
    file = tmp_path / "reward.py"
    file.write_text(REWARD_FILE)
    with Service(RIGHT) as service:
        output = respond(service.address)
        assert service.seen == [{"query": ["p a"], "prompts": ["p"], "labels": ["1"]}]
        assert (output["reward"], output["scores"], output["extra_logs"]) == (1.0, 0.5, {"grade/equal": [1]})
        assert output["observation_tokens"] == [1, 2]
    output = respond(str(file))
    assert (output["reward"].item(), output["extra_logs"]["a"].item()) == (0.5, 2.0)


def test_unmarked_answers_reach_our_reward_file():
    for unmarked, reward in (("whole", 1.0), ("none", 0.0)):  # the response is " a", without \\boxed{}
        assert respond("deltal:math", "a", unmarked=unmarked)["reward"].item() == reward


def test_executor_raises_what_the_host_swallows(tmp_path):
    file = tmp_path / "reward.py"
    file.write_text(REWARD_FILE)
    assert respond(str(file), "bad", executor_class=SingleTurnAgentExecutor)["reward"] is None  # the host's own
    with pytest.raises(RuntimeError, match=rf"^no reward from {file}: KeyError: 'no such\\nlabel'$"):
        respond(str(file), "bad")
    with pytest.raises(
        RuntimeError, match=rf"^no reward from {file}: TimeoutError: it did not return within 0.3 s \(--deltal.rew"
    ):
        respond(str(file), "hangs")
    with pytest.raises(RuntimeError, match=rf"^no reward from {file}: RuntimeError: it called sys.exit\('enough'\)$"):
        respond(str(file), "exits")
    address = f"http://127.0.0.1:{free_port()}/get_reward"
    with pytest.raises(RuntimeError, match=rf"^no reward from {address}: connection refused \(\d+ tries in 0.3 s\)$"):
        respond(address)
    with Service({"rewards": [float("nan")]}) as service:
        with pytest.raises(RuntimeError, match=f"^no reward from {service.address}: rewards is 'nan'"):
            respond(service.address)


@pytest.mark.parametrize(
    ("url", "wait", "says"),
    [
        ("localhost:6284/get_reward", None, "--reward.remote_url: 'localhost:6284/get_reward' is not the address"),
        ("http://a/b,c", None, "--reward.remote_url: 'c' is not the address"),
        ("a.py,b.py", None, "the host reads only the first"),
        ("deltal:math", "5", None),
        (
            "deltal:countdwn",
            None,
            "--reward.remote_url: deltal:countdwn is not a reward of this package; the nearest known one is",
        ),
        ("deltal:math,b.py", None, "--reward.remote_url: deltal:math,b.py is not a reward of this package"),
        (None, "5", "--deltal.reward_wait is 5, but --reward.remote_url is not; it is allowed with a reward file or"),
        ("a.py", "5", None),
        ("http://a/b", "0", "--deltal.reward_wait is 0, allowed are seconds above 0"),
        ("http://a/b", "nan", "--deltal.reward_wait is nan, allowed"),
        ("http://a/b,https://c/d", "5", None),
        ("http://a/b", None, None),
        ("a.py", None, None),
    ],
)
def test_flags(url, wait, says):
    args = SimpleNamespace(
        deltal=SimpleNamespace(reward_wait=wait and float(wait), unmarked="none"),
        reward=SimpleNamespace(remote_url=url),
        train=SimpleNamespace(agent_func_path=None),
    )
    if says is None:
        check_reward_source(args)
        assert reward_wait(args) == float(wait or 120)
    else:
        with pytest.raises(ValueError) as error:
            check_reward_source(args)
        assert says in str(error.value)


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("deltal:math", False),
        (str(named.FILES[named.MATH]), False),
        ("deltal:countdown", True),
        ("x/math_reward.py", True),  # of the user's
        ("x/mine.py", True),
        ("http://a/b", True),
        (None, True),
    ],
)
def test_unmarked_answers_are_for_our_reward_file(url, refused):
    args = SimpleNamespace(
        deltal=SimpleNamespace(reward_wait=None, unmarked="whole"),
        reward=SimpleNamespace(remote_url=url),
        train=SimpleNamespace(agent_func_path=None),
    )
    if refused:
        with pytest.raises(ValueError, match="--deltal.unmarked is whole, .* allowed with deltal:math only"):
            check_reward_source(args)
    else:
        check_reward_source(args)


def test_only_our_reward_file_needs_math_verify(monkeypatch):
    monkeypatch.setattr(reward_source, "find_spec", lambda name: None)
    for url, refused in (("deltal:math", True), (str(named.FILES[named.MATH]), True), ("x/math_reward.py", False)):
        args = SimpleNamespace(
            deltal=SimpleNamespace(reward_wait=None, unmarked="none"),
            reward=SimpleNamespace(remote_url=url),
            train=SimpleNamespace(agent_func_path=None),
        )
        if refused:
            with pytest.raises(ValueError, match="which needs math-verify"):
                check_reward_source(args)
        else:
            check_reward_source(args)


def test_a_run_whose_service_is_away_ends_before_ray_starts(tmp_path):
    """The real command: one line and exit code 2."""
    address = f"http://127.0.0.1:{free_port()}/get_reward"
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"input": "1", "label": "1"}\n')
    flags = (
        "--actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1 --algo.kl.init_coef 0 --data.input_key input "
        "--algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 4 --rollout.batch_size 4 --rollout.micro_batch_size 4 "
        f"--train.batch_size 8 --train.micro_batch_size 2 --actor.model_name_or_path none --data.prompt_dataset {prompts} "
        f"--ckpt.output_dir {tmp_path}/out --ckpt.path {tmp_path}/ckpt --reward.remote_url {address}"
    )
    command = [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *flags.split()]
    ended = commands.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        f"deltal train: error: --reward.remote_url: the reward service at {address} does not answer: connection refused"
    )
    assert not (tmp_path / "out").exists()
