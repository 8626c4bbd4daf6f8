"""OpenRLHF without flash-attn: its packing functions in plain torch, and torch's own attention (sdpa).

flash-attn has no wheels and takes long to build. The host imports three of its functions whether they are used or not, and asks
transformers for "flash_attention_2" by default and wherever rows are packed. Transformers runs sdpa on packed rows too: it reads the row
borders off the position ids. That is exact; on long packed rows it is slower and takes more memory, since the mask is [tokens, tokens].
"""

import functools
import importlib.util
import sys
import types
from collections.abc import Callable, Collection
from typing import Any

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.patch import Patch

_installed = False


def is_missing() -> bool:
    """Whether flash-attn is not installed. Registering the stand-in does not change the answer."""
    return importlib.util.find_spec("flash_attn") is None


def install() -> None:
    """Register the stand-in in this process, if flash-attn is missing. Call it before the host is imported. Idempotent."""
    global _installed
    if not _installed and is_missing():
        _installed = True
        # By way of torch's import: a process that never imports torch does not pay for it.
        on_import("torch", _register)


def adjust_flags(args: Arguments, ignored: Collection[str] = ()) -> list[str]:
    """Set the attention that can run in the host's hierarchical arguments. Returns one line for each value changed.

    ignored: flags that the run's training backend does not read, since it has an attention of its own.
    """
    asked = args.ds.attn_implementation
    if not is_missing() or "flash" not in asked or "ds.attn_implementation" in ignored:
        return []
    args.ds.attn_implementation = "sdpa"
    cost = "; packed rows are slower and take more memory with it" if args.ds.packing_samples else ""
    return [f"--ds.attn_implementation sdpa instead of {asked}: flash-attn is not installed{cost}"]


def _sdpa(original: Callable, owner: Any) -> Callable:
    @functools.wraps(original)
    def function(*args: Any, attn_implementation: str = "sdpa", **kwargs: Any) -> Any:
        if "flash" in attn_implementation:
            attn_implementation = "sdpa"
        return original(*args, attn_implementation=attn_implementation, **kwargs)

    return function


PATCHES = (
    Patch(
        "openrlhf.models.actor", "Actor.__init__", "packing switches to flash attention after the flags are read", _sdpa
    ),
    Patch("openrlhf.models.model", "get_llm_for_sequence_regression", "the same for critic and reward model", _sdpa),
)


def _register(_torch: types.ModuleType) -> None:
    from deltal_openrlhf.standins import bert_padding

    # Only the submodules: find_spec("flash_attn") stays None, so code that asks for flash-attn hears no.
    distributed = types.ModuleType("flash_attn.utils.distributed")
    distributed.all_gather = bert_padding.all_gather  # type: ignore[attr-defined]
    sys.modules.setdefault("flash_attn.bert_padding", bert_padding)
    sys.modules.setdefault("flash_attn.utils.distributed", distributed)
    for patch in PATCHES:
        on_import(patch.module, patch.apply)
