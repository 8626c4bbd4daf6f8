"""Checkpoints that bring Python along, which leaves a mark when it is run."""

import json
from pathlib import Path

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

with open({mark!r}, "a") as mark:
    mark.write(__name__ + "\\n")


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAP = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}


def bring_code(folder: Path, mark: Path, *, needed: bool) -> Path:
    """Give the checkpoint in `folder` Python of its own. needed: transformers does not know its kind of model by itself."""
    (folder / "own.py").write_text(CODE.format(mark=str(mark)), encoding="utf-8")
    for name, auto_map in (
        ("config.json", AUTO_MAP),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "own.OwnTokenizer"]}),
    ):
        path = folder / name
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        settings["auto_map"] = auto_map
        if needed:
            settings |= {"model_type": "own"} if name == "config.json" else {"tokenizer_class": "OwnTokenizer"}
        path.write_text(json.dumps(settings), encoding="utf-8")
    return folder
