"""What a run of `deltal compare`'s loop needs: two PPO steps of an untrained model, rewarded for a + in its response."""

import json
from pathlib import Path
from typing import Any

import torch

REWARD = """
import torch
def reward_func(queries, prompts, labels, **_):
    assert all(q.startswith(p) for q, p in zip(queries, prompts))
    return {"rewards": torch.tensor([float(q.count("+") > 0) for q in queries])}
"""


def write_example(folder: Path) -> dict[str, Any]:
    """folder/start, folder/prompts.jsonl and folder/reward.py; the flags of a run."""
    from deltal_openrlhf.quickstart import model

    torch.manual_seed(0)
    tokenizer = model.build_tokenizer()
    model.save(model.build_model(tokenizer), tokenizer, folder / "start")
    prompts = ["3 4 5 make [35] :", "1 2 3 make [6] :", "7 7 make [14] :", "2 2 2 make [8] :"] * 2
    # U+2028 is a line separator, but not one of JSON lines.
    rows = [{"question": p, "answer": "?\u2028", "datasource": f"set{i % 2}"} for i, p in enumerate(prompts)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    (folder / "reward.py").write_text(REWARD)
    return {
        "actor.model_name_or_path": str(folder / "start"),
        "actor.adam.lr": 1e-3,
        "actor.lr_scheduler": "constant",
        "algo.advantage.estimator": "group_norm",
        "algo.kl.init_coef": 0,
        "data.prompt_dataset": str(folder / "prompts.jsonl"),
        "data.input_key": "question",
        "data.label_key": "answer",
        "data.max_len": 40,
        "reward.remote_url": str(folder / "reward.py"),
        "rollout.batch_size": 4,
        "rollout.n_samples_per_prompt": 4,
        "rollout.max_new_tokens": 20,
        "train.batch_size": 8,
        "train.seed": 3,
        "eval.dataset": str(folder / "prompts.jsonl"),
        "eval.steps": 2,
        "eval.temperature": 1.0,
        "eval.n_samples_per_prompt": 3,
        "loss_agg": "deltal",
        "alpha": 1.0,
    }
