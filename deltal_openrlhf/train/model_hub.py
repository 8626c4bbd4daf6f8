"""--use_ms: names of models belong to ModelScope. The host switches its hub client only after all checks, which use that client too."""

from pathlib import Path

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.worker_groups import models_of_run


def ask_modelscope(args: Arguments) -> list[str]:
    """Switch the client of this process, as the host will do again. Returns one line about what the host leaves out.

    Raises ValueError without modelscope.
    """
    try:
        from modelscope.utils.hf_util import patch_hub
    except ImportError as error:
        raise ValueError(f"--use_ms needs modelscope (pip install modelscope): {error}") from None
    patch_hub()
    names = [f"--{flag} {name}" for flag, name in models_of_run(args) if not Path(name).is_dir()]
    if not names:
        return []
    return [
        f"--use_ms: OpenRLHF's workers ask the Hugging Face hub all the same for {', '.join(names)}; a folder with the model needs no hub"
    ]
