"""LoRA weights for the rollout engine.

The host sends the parameters of the PEFT model under their own names (base_model.model..., lora_A, ...), which vLLM does not know. So a run
with --ds.lora.rank ended at its first weight sync. Here the engine gets each base weight with its adapter added, under the base model's
name. Nothing is merged in place, because adding and subtracting in bf16 would move the base weights a little in every step.
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class MergedWeight:
    """A base weight with its adapters, for the host's weight sync, which reads these attributes. The sum is computed when it is sent."""

    requires_grad = True

    def __init__(self, layer: LoraLayer) -> None:
        weight = layer.get_base_layer().weight
        self.shape, self.dtype = weight.shape, weight.dtype
        self._layer = layer

    @property
    def data(self) -> Tensor:
        layer: Any = self._layer  # each kind of layer has its own get_delta_weight
        with torch.no_grad():
            weight = layer.get_base_layer().weight.data
            for adapter in layer.active_adapters:
                weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
            return weight


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, nn.Parameter | MergedWeight]]:
    """Yield (name in the base model, parameter or merged weight) for the whole base model. It works with ZeRO stages 0 to 2."""
    for module_name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            for name, parameter in module.get_base_layer().named_parameters(recurse=False):
                yield f"{module_name}.{name}", MergedWeight(module) if name == "weight" else parameter
        elif ".base_layer" not in module_name and "lora_" not in module_name:
            for name, parameter in module.named_parameters(recurse=False):
                yield f"{module_name}.{name}" if module_name else name, parameter
