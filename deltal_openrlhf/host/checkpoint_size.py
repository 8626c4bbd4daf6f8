"""Computes how many bytes a run's checkpoints and exported models take. It reads the model's files without loading the model.

A trained parameter takes its own width (2 bytes in bf16, 4 in fp32). The optimizer takes another 12 bytes for its fp32 copy and Adam's two
moments. Muon and SGD keep less. tests/host/test_checkpoints.py compares this with what DeepSpeed writes.
"""

import json
import math
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from deltal_openrlhf.arguments import Arguments

OPTIMIZER = 12
SGD = 4
AVERAGE = 4


def parameters(model: str | None) -> int | None:
    """The number of parameters of a model. None if its files are not on this machine or are not safetensors."""
    if model is None:  # only a dry run comes so far without one
        return None
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(model, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError):
            return None
    try:
        return sum(_in_file(path) for path in _weights(folder)) or None
    except (OSError, ValueError, KeyError):
        return None


def exported(args: Arguments) -> int | None:
    """The bytes of the model in Hugging Face's format."""
    count = parameters(args.actor.model_name_or_path)
    return None if count is None else count * _width(args)


def checkpoint(args: Arguments) -> int | None:
    """The bytes of one checkpoint, of the policy and, if there is one, the critic. None if a model's size is unknown."""
    policy = parameters(args.actor.model_name_or_path)
    if policy is None:
        return None
    if args.ds.lora.rank > 0:  # adapters are a few percent of it
        return policy * _width(args)
    critic = 0
    if args.algo.advantage.estimator == "gae":
        critic = parameters(args.critic.model_name_or_path or args.actor.model_name_or_path) or policy
    average = policy * AVERAGE * bool(args.train.enable_ema)
    return (policy + critic) * (_width(args) + (SGD if args.deltal.sgd else OPTIMIZER)) + average


def _width(args: Arguments) -> int:
    return 4 if args.ds.param_dtype == "fp32" and args.backend == "deepspeed" else 2


def _weights(folder: Path) -> list[Path]:
    """The files that a model is loaded from. They are those of its index, if there is one; others may hold the same weights again."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    return list(folder.glob("*.safetensors"))


def _in_file(path: Path) -> int:
    """The number of parameters in a safetensors file. The file begins with the length of a JSON header that holds each tensor's shape."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
