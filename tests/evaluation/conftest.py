"""A tiny model whose words are answers, and problems for it."""

import json
from pathlib import Path

import pytest

from deltal_openrlhf.models.tiny import write_tiny_model

WORDS = ["<pad>", "<eos>", "<unk>", "#### 1\n", "#### 2\n", "#### 3\n", "<answer>1+2</answer> ", "a ", "b "]


@pytest.fixture(scope="package")
def model(tmp_path_factory) -> Path:
    """Random, so that some responses are right by chance."""
    from tokenizers import pre_tokenizers

    folder = tmp_path_factory.mktemp("model")
    write_tiny_model(folder, WORDS, pre_tokenizers.WhitespaceSplit(), initializer_range=0.1)
    return folder


@pytest.fixture(scope="package")
def data(tmp_path_factory) -> Path:
    """120 math and 40 countdown problems; of prompts longer than what vLLM computes at once on a CPU there are many together."""
    rows = [{"input": "a b " * (1 + i % 60), "label": str(1 + i % 3), "datasource": "math"} for i in range(120)]
    label = json.dumps({"numbers": [1, 2], "target": 3})
    rows += [{"input": "a " * (1 + i), "label": label, "datasource": "countdown"} for i in range(40)]
    path = tmp_path_factory.mktemp("data") / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
