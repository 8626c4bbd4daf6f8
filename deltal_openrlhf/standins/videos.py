"""Processors of models that read text, images and videos, without torchvision: everything but videos.

Such a processor of transformers has a part for videos, which needs torchvision, whether there is a video or not; for images Pillow is
enough. PyPI's torchvision is built for CUDA, and does not load next to a torch that was built for CPUs. Here the part for videos keeps what
the model's files say about it, for whoever saves the processor again, and reads none. vLLM imports one function of a module of transformers
that imports torchvision for its own.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any

from deltal_openrlhf.standins.on_import import on_import

AUTO = "transformers.models.auto.video_processing_auto"
BASE = "transformers.video_processing_utils"

_installed = False


def is_missing() -> bool:
    """Whether torchvision is not installed."""
    return importlib.util.find_spec("torchvision") is None


def install() -> None:
    """Let processors be loaded in this process, if torchvision is missing. Idempotent. Does not import transformers."""
    global _installed
    if not _installed and is_missing():
        _installed = True
        # Only the submodule: torchvision itself stays missing, so code that asks for it hears no.
        functions = ModuleType("torchvision.transforms.v2")
        functions.functional = ModuleType("torchvision.transforms.v2.functional")  # type: ignore[attr-defined]
        sys.modules.setdefault(functions.__name__, functions)
        on_import(AUTO, _bind_auto)
        on_import(BASE, _bind_base)


def _bind_auto(module: ModuleType) -> None:
    """AutoVideoProcessor asks this function for the class of a model's name for it."""
    original = module.video_processor_class_from_name

    def video_processor_class_from_name(class_name: str) -> type | None:
        return None if original(class_name) is None else _no_videos()

    module.video_processor_class_from_name = video_processor_class_from_name  # type: ignore[attr-defined]


def _bind_base(module: ModuleType) -> None:
    """A processor checks its parts by the classes that transformers has for them. Of this one, it has a dummy."""
    from transformers import processing_utils

    processing_utils.transformers_module.BaseVideoProcessor = module.BaseVideoProcessor  # type: ignore[attr-defined]


def _no_videos() -> type:
    from transformers.video_processing_utils import BaseVideoProcessor

    class NoVideos(BaseVideoProcessor):
        """What a model's files say about videos. Raises ValueError for a video."""

        def __init__(self, **settings: Any) -> None:
            self.settings = settings

        def preprocess(self, videos: Any, **_: Any) -> Any:
            raise ValueError("videos need torchvision, which is not installed")

        def to_dict(self) -> dict[str, Any]:
            return self.settings

    return NoVideos
