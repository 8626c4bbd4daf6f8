"""The modules of a model's layers: Transformer Engine's, or the plain ones of plain_modules.py. No torch.

GPUs train with Transformer Engine's. The plain ones run anywhere, and without CUDA nothing else runs. On GPUs they serve the parity check,
also in fp32. Transformer Engine multiplies fp32 matrices in TF32, and its attention takes fp32 neither packed nor with context parallelism.
"""

import importlib.util
from typing import Any, Literal, get_args

Modules = Literal["transformer-engine", "plain"]
MODULES: tuple[Modules, ...] = get_args(Modules)


def chosen(asked: Modules | None, on_cpu: bool) -> Modules:
    """The modules `asked` for. None takes plain ones without CUDA (on_cpu: torch was built so), else Transformer Engine's.

    Raises ValueError if Transformer Engine cannot run, and for any other name.
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
    """Arguments of TransformerConfig.

    SwiGLU is always fused: Megatron-Core writes it in torch, and it keeps only its input. A kernel of Transformer Engine fuses rotary
    embeddings. The plain modules use no kernel of Transformer Engine or Apex.
    """
    fused = {"bias_activation_fusion": True, "apply_rope_fusion": modules == "transformer-engine"}
    if modules == "transformer-engine":
        return fused
    kernels = ("masked_softmax_fusion", "bias_dropout_fusion", "persist_layer_norm", "gradient_accumulation_fusion")
    return fused | dict.fromkeys(kernels, False) | {"use_cpu_initialization": True}
