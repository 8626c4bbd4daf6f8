"""The client of a run: waits for a service that is away, makes nothing up, and names the address and the reason."""

import asyncio
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from support import commands

from deltal_openrlhf.rewards import client as client_module
from deltal_openrlhf.rewards.client import RewardClient, RewardError, check_addresses, probe, reward_of

RIGHT = {"rewards": [1.0], "scores": [0.5], "extra_logs": {"grade/equal": [1]}}


class Service(ThreadingHTTPServer):
    """A user's own service. script: one answer a request, the last for all later ones: a dict, (status, body), or "hang" or "drop"."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, *script, port: int = 0) -> None:
        self.script, self.seen, self.stop_hanging = list(script), [], threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}/get_reward"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def __exit__(self, *_) -> None:
        self.stop_hanging.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(json.loads(body))
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer == "hang":
            self.server.stop_hanging.wait(20)
            answer = "drop"
        if answer == "drop":
            self.close_connection = True
            return
        status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(addresses, wait: float = 5.0, times: int = 1):
    """(what fetch gives or raises, seconds)"""

    async def run():
        client = RewardClient(addresses, wait)
        try:
            calls = (client.fetch("prompt and answer", "prompt", "label") for _ in range(times))
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await client.close()

    started = time.monotonic()
    results = asyncio.run(run())
    return (results if times > 1 else results[0]), time.monotonic() - started


def test_one_response_in_the_hosts_protocol():
    with Service(RIGHT) as service:
        reward, _ = fetch([service.address])
        assert reward == {"rewards": 1.0, "scores": 0.5, "extra_logs": {"grade/equal": 1.0}}
        assert service.seen == [{"query": ["prompt and answer"], "prompts": ["prompt"], "labels": ["label"]}]


def test_server_errors_and_dropped_connections_are_asked_again_with_growing_pauses(monkeypatch):
    pauses = []
    sleep = asyncio.sleep
    monkeypatch.setattr(client_module.asyncio, "sleep", lambda seconds: (pauses.append(seconds), sleep(0))[1])
    with Service((500, "{}"), "drop", (503, ""), (502, "busy"), RIGHT) as service:
        reward, _ = fetch([service.address], wait=60)
        assert reward["rewards"] == 1.0
        assert len(service.seen) == 5
    for n, pause in enumerate(pauses):
        assert 0.05 * 2**n <= pause <= 0.1 * 2**n
    assert len(pauses) == 4


def test_a_service_that_comes_back_is_found():
    port = free_port()
    started: list[Service] = []
    timer = threading.Timer(0.6, lambda: started.append(Service(RIGHT, port=port)))
    timer.start()
    reward, seconds = fetch([f"http://127.0.0.1:{port}/get_reward"])
    timer.join()
    with started[0]:
        assert reward["rewards"] == 1.0
        assert 0.6 <= seconds < 4


def test_away_stops_after_the_wait_with_address_and_reason():
    address = f"http://127.0.0.1:{free_port()}/get_reward"
    error, seconds = fetch([address], wait=0.8)
    assert isinstance(error, RewardError)
    assert str(error).startswith(f"no reward from {address}: connection refused (")
    assert str(error).endswith("tries in 0.8 s)")
    assert 0.8 <= seconds < 1.8


def test_a_service_that_hangs_stops_after_the_wait():
    with Service("hang") as service:
        error, seconds = fetch([service.address], wait=1.2)
        assert str(error) == f"no reward from {service.address}: timed out (1 try in 1.2 s)"
        assert 1.2 <= seconds < 2.5


def test_lasting_server_errors_stop_after_the_wait_with_the_services_words():
    with Service((500, '{"detail": "no\\nworker"}')) as service:
        error, _ = fetch([service.address], wait=0.5)
        assert str(error).startswith(f"no reward from {service.address}: HTTP 500: no worker (")
        assert len(service.seen) > 2


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refused_request_is_not_repeated(status):
    with Service((status, '{"detail": "a math label is needed"}'), RIGHT) as service:
        error, seconds = fetch([service.address], wait=30)
        assert str(error) == f"no reward from {service.address}: HTTP {status}: a math label is needed"
        assert len(service.seen) == 1
        assert seconds < 5


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"rewards": [float("nan")]}, "rewards is 'nan'"),
        ({"rewards": [float("inf")]}, "rewards is 'inf'"),
        ({"rewards": [None]}, "rewards is 'None'"),
        ({"rewards": None}, "rewards is 'None'"),
        ({"rewards": ["1.0"]}, "rewards is '1.0'"),
        ({"rewards": [True]}, "rewards is 'True'"),
        ({"rewards": [[1.0]]}, "rewards is '[1.0]'"),
        ({"rewards": []}, "rewards has 0 values for 1 response"),
        ({"rewards": [1.0, 1.0]}, "rewards has 2 values for 1 response"),
        ({"rewards": [1.0], "scores": [float("nan")]}, "scores is 'nan'"),
        ({"rewards": [1.0], "extra_logs": {"a": ["x"]}}, "extra_logs 'a' is 'x'"),
        ({"rewards": [1.0], "extra_logs": [1]}, "extra_logs is '[1]'"),
        ({"scores": [1.0]}, "the answer has no rewards"),
        ([1.0], "the answer has no rewards"),
        (None, "the answer has no rewards"),
        ((200, "<html>"), "the answer is not JSON"),
        ((200, "[" * 100_000), "the answer is not JSON"),
    ],
)
def test_what_is_no_reward_stops_at_once(answer, says):
    with Service(answer) as service:
        error, _ = fetch([service.address], wait=30)
        assert isinstance(error, RewardError)
        assert str(error).startswith(f"no reward from {service.address}: ")
        assert says in str(error)
        assert "\n" not in str(error)
        assert len(service.seen) == 1


def test_numbers_may_stand_alone_and_scores_default_to_rewards():
    assert reward_of({"rewards": 0.25}, "a") == {"rewards": 0.25, "scores": 0.25, "extra_logs": {}}
    assert reward_of({"rewards": [2], "scores": None, "extra_logs": None}, "a")["scores"] == 2.0


def test_addresses_take_turns_and_one_that_is_away_is_passed_over():
    with Service(RIGHT) as first, Service(RIGHT) as second:
        rewards, _ = fetch([first.address, second.address], times=10)
        assert [reward["rewards"] for reward in rewards] == [1.0] * 10
        assert len(first.seen) == len(second.seen) == 5
        away = f"http://127.0.0.1:{free_port()}/get_reward"
        rewards, _ = fetch([away, first.address], times=4)
        assert [reward["rewards"] for reward in rewards] == [1.0] * 4


def test_many_at_once():
    with Service(RIGHT) as service:
        rewards, _ = fetch([service.address], times=500)
        assert [reward["rewards"] for reward in rewards] == [1.0] * 500


@pytest.mark.parametrize("address", ["localhost:6284", "ftp://a/b", "http://", "http://a:99999/x", "reward.txt", ""])
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="is no address of a reward service"):
        check_addresses(["http://127.0.0.1:6284/get_reward", address])


def test_probe():
    with Service(RIGHT) as service:
        asyncio.run(probe([service.address]))  # 404 at /healthz: a service of the user's is there
        assert service.seen == []
        away = f"http://127.0.0.1:{free_port()}/get_reward"
        with pytest.raises(RewardError, match=f"the reward service at {away} does not answer: connection refused"):
            asyncio.run(probe([service.address, away]))


def test_probe_of_our_service_checks_the_path():
    class Ours(_Handler):
        def do_GET(self):
            text = b'{"status": "ok", "reward_path": "/get_reward"}'
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with Service(RIGHT) as service:
        service.RequestHandlerClass = Ours
        asyncio.run(probe([service.address]))
        with pytest.raises(
            RewardError, match="is not where this service gives rewards: the path is /get_reward, not '/'"
        ):
            asyncio.run(probe([service.address.removesuffix("/get_reward")]))


# ── Inside the host's executor ──

REWARD_FILE = """
import torch

def reward_func(queries, prompts, labels, **_):
    if labels == ["bad"]:
        raise KeyError("no such\\nlabel")
    rewards = torch.tensor([0.5])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"a": torch.tensor([2.0])}}
"""


def respond(endpoint: str, label: str = "1", wait: float = 0.3, executor_class=None, unmarked: str = "none") -> dict:
    """What an executor gives for the prompt "p" and the response " a", or raises."""
    import torch

    from deltal_openrlhf.host.reward import RewardedExecutor, RewardSource

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
        assert (output["reward"], output["scores"], output["extra_logs"]) == (1.0, 0.5, {"grade/equal": 1.0})
        assert output["observation_tokens"] == [1, 2]
    output = respond(str(file))
    assert (output["reward"].item(), output["extra_logs"]["a"].item()) == (0.5, 2.0)


def test_unmarked_answers_reach_our_reward_file():
    from deltal_openrlhf.rewards import math_reward

    for unmarked, reward in (("whole", 1.0), ("none", 0.0)):  # the response is " a", without \\boxed{}
        assert respond(math_reward.__file__, "a", unmarked=unmarked)["reward"].item() == reward


def test_executor_raises_what_the_host_swallows(tmp_path):
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    file = tmp_path / "reward.py"
    file.write_text(REWARD_FILE)
    assert respond(str(file), "bad", executor_class=SingleTurnAgentExecutor)["reward"] is None  # the host's own
    with pytest.raises(RuntimeError, match=rf"^no reward from {file}: KeyError: 'no such\\nlabel'$"):
        respond(str(file), "bad")
    address = f"http://127.0.0.1:{free_port()}/get_reward"
    with pytest.raises(RuntimeError, match=rf"^no reward from {address}: connection refused \(\d+ tries in 0.3 s\)$"):
        respond(address)
    with Service({"rewards": [float("nan")]}) as service:
        with pytest.raises(RuntimeError, match=f"^no reward from {service.address}: rewards is 'nan'"):
            respond(service.address)


@pytest.mark.parametrize(
    ("url", "wait", "says"),
    [
        ("localhost:6284/get_reward", None, "--reward.remote_url: 'localhost:6284/get_reward' is no address"),
        ("http://a/b,c", None, "--reward.remote_url: 'c' is no address"),
        ("a.py,b.py", None, "the host reads only the first"),
        ("a.py", "5", "--deltal.reward_wait is 5, but --reward.remote_url is a.py"),
        ("http://a/b", "0", "--deltal.reward_wait is 0, allowed are seconds above 0"),
        ("http://a/b", "nan", "--deltal.reward_wait is nan, allowed"),
        ("http://a/b,https://c/d", "5", None),
        ("http://a/b", None, None),
        ("a.py", None, None),
    ],
)
def test_flags(url, wait, says):
    from deltal_openrlhf.host.reward import check_reward_source, reward_wait

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
    ("url", "refused"), [("x/math_reward.py", False), ("x/mine.py", True), ("http://a/b", True), (None, True)]
)
def test_unmarked_answers_are_for_our_reward_file(url, refused):
    from deltal_openrlhf.host.reward import check_reward_source

    args = SimpleNamespace(
        deltal=SimpleNamespace(reward_wait=None, unmarked="whole"),
        reward=SimpleNamespace(remote_url=url),
        train=SimpleNamespace(agent_func_path=None),
    )
    if refused:
        with pytest.raises(ValueError, match="--deltal.unmarked is whole, .* allowed with math_reward.py only"):
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


def test_an_address_that_hangs_leaves_time_for_the_other():
    with socket.create_server(("127.0.0.1", 0)) as hung, Service(RIGHT) as service:  # accepts, and never answers
        addresses = [f"http://127.0.0.1:{hung.getsockname()[1]}/get_reward", service.address]

        async def run() -> list[dict]:
            client = RewardClient(addresses, wait=8)
            try:
                return [await client.fetch("p a", "p", "1") for _ in range(2)]
            finally:
                await client.close()

        assert [answer["rewards"] for answer in asyncio.run(run())] == [1.0, 1.0]
