"""Without CUDA the host can be imported only with the CPU layer, without flash-attn only with its stand-in."""

import os

from deltal_openrlhf import cpu
from deltal_openrlhf.process import prepare

if cpu.is_needed():
    os.environ.update(cpu.environment())
prepare()
