"""Who may ask `deltal serve-rewards`, and how long a request may take to arrive."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import time

import pytest
from support import commands
from support.reward_command import COMMAND, running
from support.reward_service import Service as Users

from deltal_openrlhf.rewards.client import RewardClient, RewardError, probe
from deltal_openrlhf.rewards.patience import ImpatientProtocol

TOKEN = "a-token-that-nobody-guesses"
PAIR = {"str1": "1", "str2": "1"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """With a token, on all addresses of this machine."""
    before, os.environ["DELTAL_REWARD_TOKEN"] = os.environ.get("DELTAL_REWARD_TOKEN"), TOKEN
    try:
        with running("--host", "0.0.0.0", start=subprocess.Popen) as service:
            yield service
    finally:
        del os.environ["DELTAL_REWARD_TOKEN"]
        if before is not None:
            os.environ["DELTAL_REWARD_TOKEN"] = before


def ask(service, path: str, authorization: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = {} if authorization is None else {"Authorization": authorization}
    method = "POST" if path == "/is_equal" else "GET"
    connection.request(method, path, json.dumps(PAIR) if method == "POST" else None, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


@pytest.mark.parametrize("path", ["/is_equal", "/healthz", "/metrics", "/docs", "/nothing"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer \xe9",
    ],
)
def test_without_the_token_everything_is_401(service, path, authorization):
    status, text = ask(service, path, authorization)
    assert status == 401
    assert TOKEN not in text


def test_with_it_requests_are_answered(service):
    assert ask(service, "/is_equal", f"Bearer {TOKEN}") == (200, json.dumps({"equal": True, "status": "equal"}))
    assert ask(service, "/healthz", f"bearer {TOKEN}")[0] == 200


def fetch(address: str, token: str | None) -> dict:
    async def run() -> dict:
        client = RewardClient([address], 5, token)
        try:
            return await client.fetch(r"p \boxed{1}", "p", "1")
        finally:
            await client.close()

    return asyncio.run(run())


def test_the_client_of_a_run_bears_it_and_is_told_before_the_start_if_it_is_another(service):
    address = f"http://127.0.0.1:{service.port}/get_reward"
    asyncio.run(probe([address], TOKEN))
    assert fetch(address, TOKEN)["rewards"] == 1.0
    for other in (None, "b-token-that-nobody-guesses"):
        with pytest.raises(RewardError, match=r"gives rewards to those who bear its token: set DELTAL_REWARD_TOKEN"):
            asyncio.run(probe([address], other))
        with pytest.raises(RewardError, match="HTTP 401: this service needs the token in DELTAL_REWARD_TOKEN"):
            fetch(address, other)


@pytest.mark.parametrize(
    ("flags", "token", "says"),
    [
        ("--host 0.0.0.0", None, "--host is 0.0.0.0, which other machines reach: set DELTAL_REWARD_TOKEN"),
        ("--host ::", None, "--host is ::, which other machines reach"),
        ("--token env", None, "--token is env, but DELTAL_REWARD_TOKEN is not set"),
        ("--host 0.0.0.0", "short", "DELTAL_REWARD_TOKEN is a text of 5 characters, allowed are 16 or more"),
        (
            f"--host 0.0.0.0 --token {TOKEN}",
            None,
            "argument --token: allowed are env (the token is in DELTAL_REWARD_TOKEN",
        ),
    ],
)
def test_what_is_refused(flags, token, says):
    variables = {name: value for name, value in os.environ.items() if name != "DELTAL_REWARD_TOKEN"}
    if token:
        variables["DELTAL_REWARD_TOKEN"] = token
    ended = commands.run(
        [*COMMAND, "--port", "0", *flags.split()], env=variables, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert TOKEN not in ended.stderr


def test_open_to_all_where_that_is_said(monkeypatch):
    monkeypatch.delenv("DELTAL_REWARD_TOKEN", raising=False)
    with running("--host", "0.0.0.0", "--token", "none") as service:
        assert service.ask("/is_equal", PAIR)[0] == 200


# ── Requests that do not arrive ──

HEAD = b"POST /is_equal HTTP/1.1\r\nHost: x\r\n"
BODY = json.dumps(PAIR).encode()


class Impatient(ImpatientProtocol):
    seconds = 0.4


@pytest.fixture
def impatient():
    """(port, what the app was asked) of the service's protocol with a shorter time, and an app that takes longer than that."""
    import threading

    import uvicorn

    asked = []

    async def app(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                break
        asked.append(body)
        await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    server = uvicorn.Server(uvicorn.Config(app, http=Impatient, lifespan="off", ws="none", log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1], asked
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b"POST /is_eq"],
        [HEAD],
        [HEAD + b"Content-Length: 100\r\n\r\n{"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n{\r\n"] * 20],  # it never stops arriving
    ],
)
def test_a_half_sent_request_is_given_up(impatient, sent):
    port, asked = impatient
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.monotonic()
        connection.settimeout(0.05)
        received = b""
        parts = iter(sent)
        while time.monotonic() - started < 20:
            try:
                connection.sendall(next(parts, b""))
                received += (part := connection.recv(1000))
                if not part:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.3 < time.monotonic() - started < 5
    assert received.startswith(b"HTTP/1.1 408 ") or len(sent) > 1
    assert asked == []


def test_a_whole_request_is_answered_however_long_that_takes_and_the_next_one_too(impatient):
    port, asked = impatient
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY))
            time.sleep(0.1)
            connection.sendall(BODY)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.read()) == (200, b"ok")
            time.sleep(0.5)  # between requests there is no hurry
    assert asked == [BODY, BODY]


def test_an_answer_beyond_the_limit_is_not_read():
    with Users((200, json.dumps({"rewards": [1.0], "padding": "x" * 2**20}))) as users:
        with pytest.raises(RewardError, match="the answer has more than 1048576 bytes"):
            fetch(users.address, None)
