"""A tiny random model, prompts for it, and a reward that some of its responses get: what `deltal diagnose` needs."""

import json
import random
from pathlib import Path

from tokenizers import pre_tokenizers

from deltal_openrlhf.models.tiny import write_tiny_model

WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(20))]
REWARD = """
def reward_func(queries, prompts, labels, **_):
    (query,), (prompt,), (label,) = queries, prompts, labels
    assert query.startswith(prompt) and label == "1"
    return {"rewards": [query.count("w7") + query.count("w3") > 2]}
"""


def write_example(folder: Path, problems: int = 32) -> None:
    """folder/model, folder/data.jsonl and folder/reward.py."""
    splitter = pre_tokenizers.Split(" ", "merged_with_next")
    write_tiny_model(folder / "model", [*WORDS, *(f" {word}" for word in WORDS[3:])], splitter)
    rng = random.Random(0)
    rows = []
    for _ in range(problems):
        prompt = " ".join(f"w{rng.randrange(20)}" for _ in range(rng.randint(2, 5)))
        rows.append(json.dumps({"input": prompt, "label": "1", "datasource": "toy"}) + "\n")
    (folder / "data.jsonl").write_text("".join(rows))
    (folder / "reward.py").write_text(REWARD)
