"""A checkpoint of transformers: its folder, and the identity of its weights."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf.runs.errors import first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER = tuple(
    "tokenizer* vocab* merges.txt *.model added_tokens.json special_tokens_map.json chat_template*".split()
)
CONFIGURATION = ("config.json", "generation_config.json")
"""The second one names end tokens."""

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def locate(model: str) -> Path:
    """The folder of a checkpoint: `model` itself, or the local copy of that name on the Hugging Face hub, downloaded if it is new.

    Raises ValueError, in one line, where there is none or it lacks its configuration, tokenizer or weights.
    """
    folder = Path(model) if os.path.isdir(model) else _from_hub(model)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{model}: no config.json, so it is not a checkpoint of transformers")
    if not _files(folder, TOKENIZER):
        raise ValueError(f"{model}: no tokenizer (tokenizer.json, tokenizer_config.json, ...)")
    if not _files(folder, WEIGHTS):
        raise ValueError(f"{model}: no weights ({', '.join(WEIGHTS)})")
    return folder


def read_config(folder: Path) -> "PretrainedConfig":
    """config.json of a checkpoint. Raises ValueError, in one line, for one that transformers cannot read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: config.json cannot be read: {first_line(error)}") from error


def _from_hub(name: str) -> Path:
    if os.path.exists(name) or not _HUB_NAME.fullmatch(name):
        raise ValueError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", *TOKENIZER]))
    # The client raises its own, httpx's and the system's errors; to the user all of them mean the same.
    except Exception as error:
        raise ValueError(f"{name}: no such folder, and not readable from the hub: {first_line(error)}") from error


def checksums(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of every file that the responses depend on. Reads all weights."""
    return {path.name: checksum(path) for path in _files(folder, (*CONFIGURATION, *TOKENIZER, *WEIGHTS))}


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
        return digest.hexdigest()
