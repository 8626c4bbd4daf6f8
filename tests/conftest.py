"""Without CUDA the host can be imported only with the CPU layer, without flash-attn only with its stand-in."""

import os

import pytest
import torch

from deltal_openrlhf import cpu
from deltal_openrlhf.host.process import prepare

if cpu.is_needed():
    os.environ.update(cpu.environment())
prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run: everything that a CPU can check runs where torch was built for CPUs."""
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
