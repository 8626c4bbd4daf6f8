"""Python that a model brings along. transformers and vLLM run it, with the user's rights, where they are told to trust it.

`auto_map` in a model's JSON files names the classes. Where transformers has classes of its own for the model, they are taken instead, and
nothing is lost; a model for which it has none needs its Python. Everything here reads without running any of it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS = ("config.json", "tokenizer_config.json")
"""Files of a model whose auto_map names its Python for what is loaded here."""
TRUST_HELP = (
    "run the Python files that come with --model (auto_map in its config.json or tokenizer_config.json), with your rights; without this "
    "flag none of it runs"
)
ALLOWS = "--trust_remote_code allows it"
NOT_HERE = "this command runs none of it"


def check(name: str, remedy: str = NOT_HERE, *, flag: str = "", may_download: bool = False) -> None:
    """Raise ValueError, in one line, for a model that needs its own Python.

    remedy: the end of that line. flag: how the model was named, for its beginning. may_download: read the settings of a model of the hub
    that is not here yet; without it such a model passes, as does one that cannot be read at all: who loads it says so.
    """
    found = [path for file in SETTINGS if (path := _file_of(name, file, may_download))]
    maps = [auto_map for path in found if (auto_map := _auto_map(path))]
    if not maps or not _is_needed(name):
        return
    modules = sorted({f"{reference.rpartition('.')[0]}.py" for auto_map in maps for reference in _references(auto_map)})
    raise ValueError(
        f"{flag} {name}".strip()
        + f": needs Python of its own ({', '.join(modules)}), which would run with your rights; {remedy}"
    )


def _is_needed(name: str) -> bool:
    """Whether transformers has no class of its own for the configuration, the model or the tokenizer."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoTokenizer,
    )

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, local_files_only=True)
        AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=True)
    except ValueError as error:
        return "trust_remote_code" in str(error)
    except Exception:  # noqa: BLE001 - a file that is missing or broken: who loads the model says so
        return False
    maps = getattr(config, "auto_map", None) or {}
    models = (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
    return any("Model" in auto_class for auto_class in maps) and not any(type(config) in known for known in models)


def _file_of(name: str, file: str, may_download: bool) -> Path | None:
    """The file of a model's folder, or of the hub's copy of it here."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        there = try_to_load_from_cache(name, file)
        if there is None and may_download:
            there = hf_hub_download(name, file)
    except Exception:  # noqa: BLE001 - no such name, no such file, no network: who loads the model says so
        return None
    return Path(there) if isinstance(there, str) else None


def _auto_map(path: Path) -> Any:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return settings.get("auto_map") if isinstance(settings, dict) else None


def _references(auto_map: Any) -> Iterator[str]:
    """The MODULE.CLASS texts in an auto_map: a mapping, whose values may be lists, or a list."""
    if isinstance(auto_map, str):
        yield auto_map
    elif isinstance(auto_map, dict | list):
        for value in auto_map.values() if isinstance(auto_map, dict) else auto_map:
            yield from _references(value)
