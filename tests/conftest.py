"""Without CUDA the host can be imported only with the CPU layer, without flash-attn only with its stand-in.

In several processes (scripts/test.sh) a file's tests stay together, since they share fixtures, and so do all that start Ray.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from deltal_openrlhf import cpu
from deltal_openrlhf.host.process import prepare

if cpu.is_needed():
    os.environ.update(cpu.environment())
prepare()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command that is interrupted ignores signals from then on, which the next test and its processes would too."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


RAY = ("end_to_end", "cli/test_doctor_cluster.py")
# What takes longest, in core-seconds, is begun first, so that no process is left with it in the end.
FIRST = (
    *RAY,
    "evaluation/test_eval_run.py",
    "verify",
    "scripts",
    "megatron_ext",
    "cpu",
    "cli",
    "quickstart",
    "comparison",
)


class Together(LoadScopeScheduling):
    """Hands a process one file after the other; those that start Ray are handed out as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "Ray" if place(nodeid) < len(RAY) else nodeid.partition("::")[0]


def place(path: str) -> int:
    """Place in FIRST of a test's file or id."""
    return next((number for number, start in enumerate(FIRST) if path.startswith(f"tests/{start}")), len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order (FIRST), and skip what this machine cannot run: everything that a CPU can check runs where torch was built for CPUs."""
    items.sort(key=lambda item: place(item.nodeid))
    gpus = torch.cuda.device_count()
    for item in items:
        if item.get_closest_marker("cuda") and not gpus:
            item.add_marker(pytest.mark.skip(reason="needs CUDA, and there is no GPU here"))
        if item.get_closest_marker("cpu_build") and not cpu.is_needed():
            item.add_marker(
                pytest.mark.skip(
                    reason="torch was built for GPUs: DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/test.sh"
                )
            )
        wanted = item.get_closest_marker("gpus")
        if wanted and not cpu.is_needed() and gpus < wanted.args[0]:
            item.add_marker(pytest.mark.skip(reason=f"needs {wanted.args[0]} GPUs, and there are {gpus}"))
