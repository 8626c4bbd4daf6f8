"""The memory that a process may still take. Standard library only: doctor runs where packages are missing."""

from pathlib import Path


def available_memory() -> int:
    """Bytes that can be used without swapping: of the machine, or of its control group if that is less."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return available
    return available if limit == "max" else min(available, int(limit) - used)
