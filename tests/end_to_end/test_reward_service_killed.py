"""A real run gets its rewards from a real `deltal serve-rewards`, which is killed in mid-training and started again."""

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.gpus(2)]
WAIT = 5  # seconds


@contextmanager
def service(port: int = 0):
    """A running reward service; its process and its address."""
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "serve-rewards", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, re.search(r"--reward.remote_url (http://\S+)\)", process.stdout.readline())[1]
        finally:
            process.kill()


def test_killed_service_stops_the_run_and_the_resumed_run_finishes(start, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    countdown = json.dumps({"numbers": [1, 2], "target": 3})
    rows = [{"input": f"{i}+{i % 7}=", "label": str(i + i % 7) if i % 2 else countdown} for i in range(16)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [*f"--data.prompt_dataset {prompts} --train.num_episodes 2 --deltal.reward_wait {WAIT}".split()]
    flags += "--loss_agg deltal --ckpt.save_steps 1 --ckpt.load_enable --reward.remote_url".split()

    with service() as (process, address):
        with start(*flags, address) as run:
            latest = run.out / "ckpt" / "_actor" / "latest"
            run.wait_for(latest.exists, "first checkpoint")
            workers = psutil.Process(process.pid).children(recursive=True)
            assert len(workers) >= 2
            process.send_signal(signal.SIGKILL)
            killed = time.time()
            assert run.wait() == 1, run.text() + run.log()
            # The wait, the request that was in progress, and the end of Ray.
            assert time.time() - killed < WAIT + 25
            last = run.text().splitlines()[-1]
            why = f"deltal train: stopped: RuntimeError: no reward from {address}: connection refused "
            assert last.startswith(why), last
            assert re.fullmatch(rf"\(\d+ tries in {WAIT} s\); log: \S+", last.removeprefix(why)), last
            assert run.survivors() == []
            done = [row["step"] for row in run.metrics()]
            assert done == list(range(1, len(done) + 1))
            assert 1 <= len(done) < 8
    assert psutil.wait_procs(workers, timeout=10)[1] == []

    port = int(address.split(":")[2].split("/")[0])
    with service(port) as (_, same):
        assert same == address
        with start(*flags, address) as run:
            assert run.wait() == 0, run.text() + run.log()
            assert f"resuming from checkpoint global_step{len(done)} " in run.text()
            rows = run.metrics()
            assert [row["step"] for row in rows] == list(range(1, 9))
            # Each response has one status, and the model that knows nothing gives no answer.
            for row in rows:
                assert sum(row[name] for name in row if name.startswith("grade/")) == pytest.approx(1)
                assert row["grade/unparsable"] > 0.9
            assert run.survivors() == []
