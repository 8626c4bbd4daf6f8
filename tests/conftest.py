"""On a machine without CUDA the host can be imported only with the CPU layer; with CUDA this does nothing."""

import os

from deltal_openrlhf import cpu

if cpu.is_needed():
    os.environ.update(cpu.environment())
cpu.install()
