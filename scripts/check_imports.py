"""Does every module of ours, and what a run imports of the host, import in this environment? Needs no GPU, also with a CUDA build of torch.

python scripts/check_imports.py
"""

import importlib
import pkgutil
import platform
import sys
import traceback
from importlib.metadata import version

from deltal_openrlhf.host.process import prepare

OURS = ("deltal_openrlhf", "megatron_ext")
ELSEWHERE = tuple(f"deltal_openrlhf.adapters.{name}" for name in ("skyrl", "slime", "trl", "verl"))
"""They import a trainer that is no part of this environment."""
HOSTS = (
    "openrlhf.cli.train_ppo_ray",
    "openrlhf.trainer.ppo_trainer_async",
    "openrlhf.trainer.ray.ppo_critic",
    "openrlhf.trainer.ray.vllm_engine",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "megatron.core.models.gpt",
    "mbridge",
)


def main() -> int:
    import torch

    print(f"Python {platform.python_version()}, torch {torch.__version__} for CUDA {torch.version.cuda}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("openrlhf", "deepspeed", "transformers", "ray")))
    prepare()
    names = [*OURS, *HOSTS]
    for package in OURS:
        path = importlib.import_module(package).__path__
        names += [
            module.name
            for module in pkgutil.walk_packages(path, f"{package}.")
            if not module.name.endswith(".__main__") and module.name not in ELSEWHERE
        ]
    failed = 0
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            failed += 1
            print(f"{name} does not import:\n{traceback.format_exc(limit=-3)}")
    print(f"{len(names) - failed} of {len(names)} modules import")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
