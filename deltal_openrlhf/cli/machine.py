"""Facts about this machine that decide whether a run can work. Standard library only: doctor runs where packages are missing."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Names of what a run leaves behind when it is killed: Ray's daemons and workers, vLLM's engines.
LEFTOVERS = ("raylet", "gcs_server", "ray::", "VLLM::")


@dataclass(frozen=True)
class Process:
    pid: int
    name: str
    age_seconds: float


def disk(path: str) -> tuple[int, float]:
    """(free bytes, share in use) of the file system that holds path."""
    usage = shutil.disk_usage(path)
    return usage.free, 1 - usage.free / usage.total


def extension_folder() -> Path:
    """Where torch and DeepSpeed build C++ extensions at first use."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")


def stale_locks(folder: Path) -> list[Path]:
    """Lock files of extension builds that no process holds any more: every later build waits for them for ever.

    torch's FileBaton is a file `lock` that exists while a build runs, and that its builder keeps open.
    """
    locks = [path for path in folder.rglob("lock") if path.is_file()] if folder.is_dir() else []
    held = set(_open_files()) if locks else set()
    return [path for path in locks if str(path.resolve()) not in held]


def _open_files() -> Iterator[str]:
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        try:
            yield from (os.readlink(descriptor) for descriptor in descriptors.iterdir())
        except OSError:
            continue  # ended meanwhile, or another user's


def leftover_processes() -> list[Process]:
    """Ray and vLLM processes of this user, whether a run is active or not."""
    found = []
    uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # Ray and vLLM set their processes' titles, which is then all of the command line.
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # After the name in parentheses, which may hold anything: field 22 of proc(5), the start in clock ticks since boot.
            ticks = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
            owner = folder.stat().st_uid
        except OSError:
            continue
        name = command.split(" ")[0].rsplit("/", 1)[-1]
        if owner == os.getuid() and name.startswith(LEFTOVERS):
            found.append(Process(int(folder.name), name, uptime - ticks / os.sysconf("SC_CLK_TCK")))
    return sorted(found, key=lambda process: -process.age_seconds)
