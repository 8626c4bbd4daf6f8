"""The files of a Hugging Face model, in a folder or on the hub."""

import json
import os
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from deltal_openrlhf.runs.files import write_atomically


def folder_of(path: str) -> str:
    """The folder of configuration and weights. For a name on the hub, the first rank of a node downloads them, and the others wait."""
    return path if os.path.isdir(path) else snapshot_download(path, allow_patterns=["*.safetensors", "*.json"])


def copy_settings(path: str, folder: str, dtype: torch.dtype) -> None:
    """Copy config.json, with the dtype of the weights next to it, and generation_config.json if there is one."""
    source = Path(folder_of(path))
    text = source.joinpath("config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    key, name = "torch_dtype" if "torch_dtype" in config else "dtype", str(dtype).removeprefix("torch.")
    if config.get(key) != name:
        text = json.dumps(config | {key: name}, indent=2) + "\n"
    write_atomically(os.path.join(folder, "config.json"), text)
    generation, target = source / "generation_config.json", Path(folder, "generation_config.json")
    if generation.exists() and not (target.exists() and target.samefile(generation)):
        shutil.copyfile(generation, target)
