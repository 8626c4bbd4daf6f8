"""Rewards from HTTP services in OpenRLHF's remote-reward protocol: `deltal serve-rewards`, or a user's own.

A reward is never made up. If a service is away or answers with a server error, the client asks again with growing pauses until the wait is
over. Then it raises a RewardError with the address and the reason. It raises one at once for an answer that cannot improve by repeating
(4xx, not a number).
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from deltal_openrlhf.rewards.token import VARIABLE, headers_of
from deltal_openrlhf.runs.redaction import redacted

DEFAULT_WAIT = 120.0
"""Seconds a reward may take, all tries included."""
CONNECTIONS = 256
"""Requests that one client has in progress at a time; the clock of the others has not started."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
CONNECT_LIMIT = 10.0
PROBE_LIMIT = 5.0
LARGEST = sys.float_info.max
"""Of a finite number: nan, inf and an int beyond floating point are not up to it."""


LONGEST_ANSWER = 2**20
"""Bytes of an answer, which holds a few numbers for one response."""


class RewardError(RuntimeError):
    """There is no reward. The message is one line with the address and the reason. It goes into logs, so credentials of the address are
    left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class _TryAgain(Exception):
    """A try failed in a way that may pass."""


class RewardClient:
    """Asks for one reward per call; many calls may run at once. It belongs to the event loop that first uses it.

    addresses: http(s) URLs that take the POST. Each try goes to the next of them in turn. wait: seconds, see DEFAULT_WAIT. token: what
    every request carries (token.py).
    """

    def __init__(self, addresses: Sequence[str], wait: float = DEFAULT_WAIT, token: str | None = None) -> None:
        self.wait = wait
        self._headers = {"Content-Type": "application/json", **headers_of(token)}
        self._addresses, self._count = cycle(addresses), len(addresses)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, query: str, prompt: str, label: str) -> dict[str, Any]:
        """{"rewards": float, "scores": float, "extra_logs": as given} of one response. Raises RewardError."""
        body = json.dumps({"query": [query], "prompts": [prompt], "labels": [label]}).encode()
        async with self._slots:
            deadline = time.monotonic() + self.wait
            tries, pause = 0, FIRST_PAUSE
            while True:
                address = next(self._addresses)
                tries += 1
                try:
                    return reward_of(await self._post(address, body, deadline - time.monotonic()), address)
                except _TryAgain as failure:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        count = "1 try" if tries == 1 else f"{tries} tries"
                        raise RewardError(f"no reward from {address}: {failure} ({count} in {self.wait:g} s)") from None
                # Not all clients at the same moment; the last try is made when the wait ends.
                await asyncio.sleep(min(pause * random.uniform(0.5, 1), left))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, address: str, body: bytes, seconds: float) -> Any:
        """The JSON of the answer. Raises _TryAgain, or RewardError where another try would end the same."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))
        if self._count > 1:  # one that hangs must leave time for the others
            seconds = min(seconds, self.wait / (2 * self._count))
        timeout = aiohttp.ClientTimeout(total=max(seconds, 1.0), sock_connect=CONNECT_LIMIT)
        try:
            async with self._session.post(address, data=body, headers=self._headers, timeout=timeout) as response:
                status, answer = response.status, await _read(response, address)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise _TryAgain(reason(error)) from error
        if status >= 500:
            raise _TryAgain(f"HTTP {status}{_detail(answer)}")
        if status >= 400:
            raise RewardError(f"no reward from {address}: HTTP {status}{_detail(answer)}")
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise RewardError(f"no reward from {address}: the answer is not JSON: {answer[:80]!r}") from None


async def _read(response: aiohttp.ClientResponse, address: str) -> bytes:
    """The body. Raises RewardError for one beyond the limit, of which no more is held."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise RewardError(f"no reward from {address}: the answer has more than {LONGEST_ANSWER} bytes")
    return bytes(body)


def reward_of(answer: Any, address: str) -> dict[str, Any]:
    """The reward in a service's answer to one query, as plain numbers. Raises RewardError unless there is one finite number each.

    extra_logs is returned as the service gave it, because it never ends a run (host/extra_logs.py).
    """

    def number(name: str, value: Any) -> float:
        if isinstance(value, list):
            if len(value) != 1:
                raise RewardError(f"no reward from {address}: {name} has {len(value)} values for 1 response")
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise RewardError(f"no reward from {address}: {name} is {str(value)[:80]!r}, allowed are finite numbers")
        return float(value)

    if not isinstance(answer, dict) or "rewards" not in answer:
        raise RewardError(f"no reward from {address}: the answer has no rewards: {str(answer)[:80]!r}")
    rewards, scores, logs = answer["rewards"], answer.get("scores"), answer.get("extra_logs") or {}
    return {
        "rewards": number("rewards", rewards),
        "scores": number("scores", rewards if scores is None else scores),
        "extra_logs": logs,
    }


def reason(error: BaseException) -> str:
    """Why a request got no answer, in a few words."""
    if isinstance(error, asyncio.TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before the answer"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return " ".join(str(error).split()) or type(error).__name__


def _detail(answer: bytes) -> str:
    """What the service says about a refused request."""
    try:
        detail = str(json.loads(answer)["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        detail = answer[:1000].decode(errors="replace")
    text = " ".join(detail.split())
    return f": {text[:300]}" if text else ""


def check_addresses(addresses: Sequence[str]) -> None:
    """Raise ValueError for an address that is not an http(s) URL."""
    for address in addresses:
        try:
            parts = urlsplit(address)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            usable = usable and not parts.path.endswith(".py")  # the host would read it as a file
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(
                f"{redacted(address)!r} is not the address of a reward service, such as http://127.0.0.1:6284/get_reward"
            )


async def probe(addresses: Sequence[str], token: str | None = None) -> bool:
    """Whether one of the services is `deltal serve-rewards`.

    Raises RewardError for the first address that does not answer, or whose service needs another token. The request goes to /healthz. A
    service without that path answers 404, so it exists.
    """
    ours = False
    timeout = aiohttp.ClientTimeout(total=PROBE_LIMIT)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers_of(token)) as session:
        for address in addresses:
            parts = urlsplit(address)
            try:
                async with session.get(parts._replace(path="/healthz", query="", fragment="").geturl()) as response:
                    status, health = response.status, await _read(response, address)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                raise RewardError(f"the reward service at {address} does not answer: {reason(error)}") from None
            ours |= _check_health(address, parts.path, status, health)
    return ours


def _check_health(address: str, path: str, status: int, health: bytes) -> bool:
    """Whether the service is ours: it says who may ask and where; anything else there would end the run at its first reward."""
    try:
        said = json.loads(health)
        wanted, is_ours = said.get("reward_path"), "service" in said
    except (ValueError, AttributeError, RecursionError):
        return False  # a service of the user's
    if status == 401 and is_ours:
        raise RewardError(f"{address} gives rewards to those who bear its token: set {VARIABLE} to that of the service")
    if wanted is not None and wanted != path:
        raise RewardError(
            f"{address} is not where this service gives rewards: the path is {wanted}, not {path or '/'!r}"
        )
    return is_ours
