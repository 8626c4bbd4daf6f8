"""The client of a run: waits for a service that is away, makes nothing up, and names the address and the reason."""

import asyncio
import socket
import threading
import time

import pytest
from support.reward_service import RIGHT, Handler, Service, free_port

from deltal_openrlhf.rewards import client as client_module
from deltal_openrlhf.rewards.client import RewardClient, RewardError, check_addresses, probe, reward_of


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
        assert reward == {"rewards": 1.0, "scores": 0.5, "extra_logs": {"grade/equal": [1]}}
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
    with pytest.raises(ValueError, match="is not the address of a reward service"):
        check_addresses(["http://127.0.0.1:6284/get_reward", address])


def test_probe():
    with Service(RIGHT) as service:
        assert not asyncio.run(probe([service.address]))  # 404 at /healthz: a service of the user's is there
        assert service.seen == []
        away = f"http://127.0.0.1:{free_port()}/get_reward"
        with pytest.raises(RewardError, match=f"the reward service at {away} does not answer: connection refused"):
            asyncio.run(probe([service.address, away]))


def test_probe_of_our_service_checks_the_path():
    class Ours(Handler):
        def do_GET(self):
            text = b'{"status": "ok", "service": "deltal serve-rewards", "reward_path": "/get_reward"}'
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with Service(RIGHT) as service:
        service.RequestHandlerClass = Ours
        assert asyncio.run(probe([service.address]))
        with pytest.raises(
            RewardError, match="is not where this service gives rewards: the path is /get_reward, not '/'"
        ):
            asyncio.run(probe([service.address.removesuffix("/get_reward")]))


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
