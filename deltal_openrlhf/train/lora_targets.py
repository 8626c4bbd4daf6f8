"""Checks that the model has the modules of --ds.lora.target_modules.

PEFT looks for them once Ray and the engines run, and is content with one.
"""

from deltal_openrlhf.arguments import Arguments


def check(args: Arguments) -> None:
    """Raise ValueError, in one line, for a name that fits no module. The model's files have to be here; no weights are read."""
    targets = args.ds.lora.target_modules
    if not args.ds.lora.rank or not isinstance(targets, list):  # the default is a word for all linear modules
        return
    # They take seconds to import.
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(args.actor.model_name_or_path, local_files_only=True)
    except (OSError, ValueError):  # on the hub, or with code of its own
        return
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM  # as the host
    with torch.device("meta"):
        model = kind.from_config(config)
    names = [f".{name}" for name, _ in model.named_modules()]
    if unknown := [target for target in targets if not any(name.endswith(f".{target}") for name in names)]:
        linear = {
            name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)
        }
        raise ValueError(
            f"--ds.lora.target_modules is {' '.join(targets)}, but the model has no {' and no '.join(unknown)}; allowed are "
            f"{', '.join(sorted(linear))}, or no such flag: then all linear layers but the head get adapters"
        )
