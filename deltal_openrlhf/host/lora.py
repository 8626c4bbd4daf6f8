"""LoRA weights for the rollout engine.

The host sends the parameters of the PEFT model under their own names (base_model.model..., lora_A, ...), which vLLM does not know, so
a run with --ds.lora.rank ended at its first weight sync. Here the engine gets each base weight with its adapter added, under the base
model's name. Nothing is merged in place: adding and subtracting in bf16 would move the base weights a little in every step.
"""

from collections.abc import Iterator

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, nn.Parameter]]:
    """(name in the base model, base weight + adapter) of every parameter of the base model. ZeRO stages 0 to 2."""
    for module_name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            base = module.get_base_layer()
            for name, parameter in base.named_parameters(recurse=False):
                if name == "weight":
                    value = parameter.data
                    for adapter in module.active_adapters:
                        value = value + module.get_delta_weight(adapter).to(value.dtype)
                    parameter = nn.Parameter(value, requires_grad=False)
                yield f"{module_name}.{name}", parameter
        elif ".base_layer" not in module_name and "lora_" not in module_name:
            for name, parameter in module.named_parameters(recurse=False):
                yield f"{module_name}.{name}" if module_name else name, parameter
