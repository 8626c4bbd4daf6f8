"""Which modules a model's layers are made of: Transformer Engine's, or the plain ones of plain_modules.py. No torch.

Transformer Engine's are what GPUs train with. The plain ones run anywhere, and are the only ones without CUDA; on GPUs they serve the
parity check, in fp32 too: Transformer Engine multiplies fp32 matrices in TF32, and its attention takes fp32 neither packed nor with context
parallelism.
"""

import importlib.util
from typing import Any, Literal, get_args

Modules = Literal["transformer-engine", "plain"]
MODULES: tuple[Modules, ...] = get_args(Modules)


def chosen(asked: Modules | None, on_cpu: bool) -> Modules:
    """`asked`, or where it is None: plain without CUDA (on_cpu: torch was built so), else Transformer Engine.

    Raises ValueError for Transformer Engine where it cannot run, and for any other name.
    """
    if asked is None:
        asked = "plain" if on_cpu else "transformer-engine"
    if asked not in MODULES:
        raise ValueError(f"modules is {asked}, allowed are {' and '.join(MODULES)}")
    if asked == "transformer-engine":
        why = "torch was built without CUDA" if on_cpu else "transformer-engine is not installed"
        if on_cpu or importlib.util.find_spec("transformer_engine") is None:
            raise ValueError(f"modules is {asked}, but {why}; allowed here is plain")
    return asked


def config_arguments(modules: Modules) -> dict[str, Any]:
    """What TransformerConfig is told.

    SwiGLU is fused always: Megatron-Core writes it in torch, and it keeps its input only. Rotary embeddings are fused by a kernel of
    Transformer Engine. The plain modules use no kernel of its, nor of Apex.
    """
    fused = {"bias_activation_fusion": True, "apply_rope_fusion": modules == "transformer-engine"}
    if modules == "transformer-engine":
        return fused
    kernels = ("masked_softmax_fusion", "bias_dropout_fusion", "persist_layer_norm", "gradient_accumulation_fusion")
    return fused | dict.fromkeys(kernels, False) | {"use_cpu_initialization": True}
