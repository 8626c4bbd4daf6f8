"""--deltal.trust_remote_code: whether a run executes the Python files of a model.

The host passes trust_remote_code=True wherever it loads a model, a configuration or a tokenizer. All of these calls ask two functions of
transformers. They are bound in every process of a run (process.py), and in `deltal eval` and `deltal diagnose`. An environment variable
carries the command's choice. Without it they do what transformers does, for example in the user's own program that happens to load vLLM's
plugins.
"""

import functools
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.worker_groups import models_of_run
from deltal_openrlhf.models.remote_code import check
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.patch import Patch

FLAG = "--deltal.trust_remote_code"
VARIABLE = "DELTAL_TRUST_REMOTE_CODE"
MODULE = "transformers.dynamic_module_utils"

_installed = False


def choose(trust: bool) -> None:
    """Set the choice for this process and its children."""
    os.environ[VARIABLE] = str(int(trust))


def variables() -> dict[str, str]:
    """The environment variables for Ray's workers, which may be on other nodes."""
    return {VARIABLE: os.environ[VARIABLE]}


def is_trusted() -> bool:
    return os.environ.get(VARIABLE) == "1"


def is_refused() -> bool:
    return os.environ.get(VARIABLE) == "0"


def check_models(args: Arguments, *, may_download: bool = False) -> None:
    """Raise ValueError, in one line, for a model of the run that needs its own Python, unless the flag is set.

    may_download: also check models of the hub that are not on this machine yet.
    """
    if args.deltal.trust_remote_code:
        return
    for flag, name in models_of_run(args):
        check(name, f"{FLAG} allows it", flag=f"--{flag}", may_download=may_download)


def install() -> None:
    """Bind the two functions in this process. Idempotent. Does not import transformers."""
    global _installed
    if not _installed:
        _installed = True
        on_import(MODULE, _bind)


def _resolve(original: Callable, owner: Any) -> Callable:
    @functools.wraps(original)
    def resolve_trust_remote_code(trust_remote_code: bool | None, *args: Any, **kwargs: Any) -> bool:
        if is_refused():
            trust_remote_code = False
        elif is_trusted() and trust_remote_code is None:
            trust_remote_code = True  # where transformers would ask at the terminal
        return original(trust_remote_code, *args, **kwargs)

    return resolve_trust_remote_code


def _execute(original: Callable, owner: Any) -> Callable:
    @functools.wraps(original)
    def get_class_in_module(class_name: str, module_path: Any, **kwargs: Any) -> Any:
        if is_refused():
            raise ValueError(f"{module_path} is Python that a model brings along; only {FLAG} runs it")
        return original(class_name, module_path, **kwargs)

    return get_class_in_module


PATCHES = (
    Patch(MODULE, "resolve_trust_remote_code", "the host's trust_remote_code=True counts only with the flag", _resolve),
    Patch(MODULE, "get_class_in_module", "what runs a model's Python, whoever asked for it", _execute),
)


def _bind(module: ModuleType) -> None:
    for patch in PATCHES:
        original = getattr(module, patch.name, None)
        patch.apply(module)
        # Modules that were imported before have the function under a name of their own.
        for other in list(sys.modules.values()):
            if original is not None and getattr(other, "__dict__", {}).get(patch.name) is original:
                setattr(other, patch.name, getattr(module, patch.name))
