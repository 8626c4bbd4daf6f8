"""What vLLM warns of on a CPU, in vllm.log and in a run's log: the cost of each warning, and what to do."""

import os
from pathlib import Path

from deltal_openrlhf.cli.findings import Findings, Problem

ALLOCATORS = ("libtcmalloc_minimal*.so*", "libtcmalloc.so*")
"""As vllm/platforms/cpu.py looks for the copy that some of its wheels bring along."""
PACKAGE = "libtcmalloc-minimal4"
LIBRARY = "/usr/lib/$(uname -m)-linux-gnu/libtcmalloc_minimal.so.4"


def check_allocator(vllm: Path) -> Findings:
    """The warning "libtcmalloc is not found in LD_PRELOAD". vllm: the folder of the package."""
    if "libtcmalloc" in os.environ.get("LD_PRELOAD", ""):
        yield "allocator     tcmalloc, from LD_PRELOAD"
    elif any(next(vllm.glob(f"libs/{name}"), None) for name in ALLOCATORS):
        yield "allocator     tcmalloc, from vLLM's own folder"
    else:
        yield "allocator     the system's"
        yield Problem(
            "vLLM says 'libtcmalloc is not found in LD_PRELOAD': responses are the same without it, sampling may take longer",
            f"apt install {PACKAGE}, then export LD_PRELOAD={LIBRARY}",
            fatal=False,
        )


def check_prompts() -> Findings:
    """The warning of `deltal eval` alone: "This model does not officially support disabling chunked prefill"."""
    yield (
        "prompts       whole in deltal eval, which vLLM warns of ('disabling chunked prefill'): it is on purpose, since a seeded response "
        "to a prompt in parts fails in vLLM; nothing to do"
    )
