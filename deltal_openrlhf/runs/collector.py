"""Keeps Python's garbage collector from slowing long imports down."""

import atexit
import functools
import gc
import os
import sys
import threading
import time


@functools.cache
def rest_while_importing(pause: float = 1.0) -> None:
    """Switch the collector off until no module has been imported for `pause` seconds; once in a process.

    Each import adds objects that stay, and the collector walks all of them again and again: about a fifth of what it takes to import
    torch, vLLM and DeepSpeed. At exit it would walk them once more, for over a second, so they are frozen by then. A collector that is
    off already stays off.
    """
    if gc.isenabled():
        gc.disable()
        atexit.register(gc.freeze)
        os.register_at_fork(after_in_child=gc.enable)  # a child has no copy of the thread
        threading.Thread(target=_collect_again, args=(pause,), daemon=True, name="collector").start()


def _collect_again(pause: float) -> None:
    modules = -1
    while modules != len(sys.modules):
        modules = len(sys.modules)
        time.sleep(pause)
    gc.enable()
