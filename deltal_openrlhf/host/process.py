"""Prepares every process of a run before it imports the host: the driver, Ray's workers, vLLM's processes, and the ranks of the checks."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deltal_openrlhf import cpu
from deltal_openrlhf.host import ports, remote_code, toolkit
from deltal_openrlhf.runs import collector, leftovers, stacks
from deltal_openrlhf.standins import flash_attn, videos

SETUP_HOOK = "deltal_openrlhf.host.process.prepare_worker"
"""For Ray's runtime environment: worker_process_setup_hook."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What a scheduler sends before it ends a run. The driver hears them; to the whole process group, they are sent to its workers too."""
_OF_A_RUN = "DELTAL_WORKER"
"""Set in the environment of a worker and its children."""


def prepare() -> None:
    """Install the stand-ins for flash-attn and torchvision where these are missing, and the CPU layer if torch has no CUDA. Idempotent.

    DeepSpeed finds the environment's ninja and CUDA compiler (toolkit.py). A model's own Python runs only if allowed (remote_code.py).
    Ports of process groups are held until they are used (ports.py). vLLM calls this function in each of its processes (entry point). It
    does not import torch.
    """
    collector.rest_in_imports()
    toolkit.prepare()
    flash_attn.install()
    videos.install()
    cpu.install()
    remote_code.install()
    ports.install()
    made_by_vllm = os.environ.get(_OF_A_RUN) not in (None, str(os.getpid()))  # in a worker
    leftovers.mark(temporary_files=made_by_vllm)
    if made_by_vllm:
        os.environ[_OF_A_RUN] = str(os.getpid())
        stacks.offer()


def prepare_worker() -> None:
    """Do prepare() in one of Ray's workers. The driver may ask for its stacks, and the scheduler's signals do not end it.

    Ray calls this in every worker before the first task (worker_process_setup_hook). The worker ends when the driver tells it to.
    """
    os.environ[_OF_A_RUN] = str(os.getpid())
    stacks.offer()
    outlive_stop_signals()
    prepare()


def outlive_stop_signals() -> None:
    """From now on this process ignores the signals. Its children get the default handlers again, however they are started."""
    import ray._private.utils

    for number in STOP_SIGNALS:
        # Not SIG_IGN, which a program that is executed would inherit.
        signal.signal(number, lambda signum, frame: None)
    # Ray's worker would set its own when this hook returns: SIGTERM ends it.
    ray._private.utils.set_sigterm_handler = lambda handler: None
    # Ray's daemons, from which the worker comes, have them blocked (train/signals.py).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    os.register_at_fork(after_in_child=_default_signals)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Inside this context, processes that this thread starts ignore the signals, whatever handlers they set."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _default_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
