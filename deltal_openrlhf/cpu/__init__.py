"""What lets the unmodified host run without a GPU: active where torch was built for CPUs, without effect anywhere else.

    environment.py   variables and ray.init arguments for the driver and its workers
    flags.py         command line values that a CPU run needs, and those it cannot have
    patches.py       every name of the host that is replaced, and why
    weight_sync.py   what some of the patches put there

Importing this imports neither torch nor the host: vLLM and Ray load it in every process.
"""

import os
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from deltal_openrlhf.cpu.environment import chooses_threads, environment, ray_init_arguments
from deltal_openrlhf.cpu.flags import adjust_flags, lookup
from deltal_openrlhf.standins.on_import import on_import

__all__ = [
    "adjust_flags",
    "chooses_threads",
    "environment",
    "install",
    "is_needed",
    "lookup",
    "ray_init_arguments",
    "set_environment",
]

_installed = False


def is_needed() -> bool:
    """Whether torch was built without CUDA and ROCm.

    The build decides, not whether a device is visible: Ray hides a cluster's GPUs from workers that asked for none, and the
    node that submits a job may have none itself.
    """
    version = _torch_version()
    return version.cuda is None and version.hip is None


def _torch_version() -> Any:
    """torch.version, read without an import of torch, which takes seconds. Raises ModuleNotFoundError where torch is not installed."""
    if "torch" in sys.modules:
        return sys.modules["torch"].version
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    spec = spec_from_file_location("torch.version", Path(torch.origin).with_name("version.py"))
    assert spec is not None and spec.loader is not None
    version = module_from_spec(spec)
    spec.loader.exec_module(version)
    return version


def set_environment() -> None:
    """Where it is needed, set the variables of a CPU run in this process: before transformers, DeepSpeed and vLLM are imported."""
    if is_needed():
        os.environ.update(environment())


def install() -> None:
    """Register the patches in this process; those of a module act when it is imported. Call it before the host is imported.

    Idempotent. Ray calls it in every worker (worker_process_setup_hook), vLLM in every process of its own (entry point).
    """
    global _installed
    if not _installed:
        _installed = True
        # By way of torch's import: workers that never import torch start without paying for it.
        on_import("torch", _register_patches)


def _register_patches(_torch: ModuleType) -> None:
    if is_needed():
        from deltal_openrlhf.cpu.patches import register

        register()
