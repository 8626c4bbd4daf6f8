"""What every process of a run does before it imports the host: the driver, Ray's workers, vLLM's processes, and the ranks of the checks."""

from deltal_openrlhf import cpu
from deltal_openrlhf.host import toolkit
from deltal_openrlhf.standins import flash_attn

SETUP_HOOK = "deltal_openrlhf.host.process.prepare"
"""For Ray's runtime environment: worker_process_setup_hook."""


def prepare() -> None:
    """Put flash-attn's stand-in in place where flash-attn is missing, and the CPU layer where torch has no CUDA. Idempotent.

    DeepSpeed finds the environment's ninja and CUDA compiler (toolkit.py).
    Ray calls it in every worker (worker_process_setup_hook), vLLM in every process of its own (entry point). Imports no torch.
    """
    toolkit.prepare()
    flash_attn.install()
    cpu.install()
