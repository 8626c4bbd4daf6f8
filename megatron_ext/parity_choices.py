"""The named choices of a case of parity/, and how far its results may be apart. No torch: the command line reads them for its help."""

import math

from megatron_ext.modules import Modules

MODELS = {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama", "qwen3_moe": "Qwen3Moe"}
"""Families, and how the names of their classes in transformers begin."""
WRONG = ("micro-batch", "scale")
"""The negative controls: mistakes that have to be noticed."""
# dtype: relative difference of gradients, difference of the loss, of parameters. In bf16 only the gradient tells: a step of AdamW is about
# as long as the rounding of a parameter. In fp32 rounding alone moves a parameter by up to 1.2e-6 on
# some CPUs (4 ranks, context 2 x data 2, tied embeddings); the other cases stay below 1e-6 there.
TOLERANCES = {"fp32": (1e-5, 1e-6, 3e-6), "bf16": (0.05, math.inf, math.inf)}
DTYPE: dict[Modules, str] = {"plain": "fp32", "transformer-engine": "bf16"}
"""What a kind of modules is compared in, unless asked otherwise."""
