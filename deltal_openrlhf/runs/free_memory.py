"""The memory that a process may still take. Standard library only: doctor runs where packages are missing."""

from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
"""This process's control group, as a container sees it."""


def available_memory() -> int:
    """Bytes that can be used without swapping: of the machine, or of its control group if that is less.

    The pages of files that a group has read count as its own, but the kernel takes them back when they are needed.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = (GROUP / "memory.max").read_text(encoding="utf-8").strip()
        used = int((GROUP / "memory.current").read_text(encoding="utf-8"))
        statistics = dict(line.split() for line in (GROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return available
    if limit == "max":
        return available
    return max(0, min(available, int(limit) - used + int(statistics["inactive_file"])))
