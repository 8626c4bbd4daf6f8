"""`deltal serve-rewards` as a process, and requests to it."""

import http.client
import json
import re
import subprocess
import sys
from contextlib import contextmanager

import psutil
from support import commands

COMMAND = [sys.executable, "-m", "deltal_openrlhf.cli.main", "serve-rewards"]


class Service:
    """A running service. Its workers are looked up once, while it runs."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        line = process.stdout.readline()
        self.port = int(re.match(r"deltal serve-rewards: listening on http://[\d.]+:(\d+) ", line)[1])
        self.family = psutil.Process(process.pid).children(recursive=True)

    def ask(self, path: str, body, method: str = "POST"):
        """(status, answer): a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(text) if is_json else text.decode()

    def metrics(self) -> dict[str, float]:
        status, text = self.ask("/metrics", None, "GET")
        assert status == 200
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def survivors(self) -> list[psutil.Process]:
        return psutil.wait_procs(self.family, timeout=10)[1]


@contextmanager
def running(*flags: str, start: type[subprocess.Popen] = commands.Popen):
    command = [*COMMAND, "--port", "0", *flags]
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def integrals(n: int) -> list[dict]:
    """Pairs that only a worker can grade, all different and all equal."""
    return [{"gold": str(k * k), "pred": rf"\int_0^{{{k}}} 2x dx"} for k in range(1, n + 1)]
