"""compare/countdown-interactions with its own arms, two PPO steps of an untrained model: every arm does what its name says."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from support import commands
from support.loop_example import write_example

from deltal_openrlhf.comparison.run import COMPARISON

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parents[1] / "support" / "compare_loop.py"
SIZES = {
    "data.max_len": 40,
    "rollout.max_new_tokens": 30,
    "rollout.batch_size": 4,
    "rollout.n_samples_per_prompt": 4,
    "rollout.micro_batch_size": 4,
    "train.batch_size": 16,
    "train.micro_batch_size": 4,
    "eval.steps": 1,
    "eval.n_samples_per_prompt": 1,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The finished comparison of two of its methods, from one start with one seed."""
    folder = tmp_path_factory.mktemp("interactions")
    example = write_example(folder)
    given = yaml.safe_load((ROOT / "configs" / "compare" / "countdown-interactions.yaml").read_text(encoding="utf-8"))
    files = ("data.prompt_dataset", "data.input_key", "data.label_key", "reward.remote_url", "eval.dataset")
    given["flags"] |= SIZES | {name: example[name] for name in files}
    given["starts"], given["seeds"] = [example["actor.model_name_or_path"]], [0]
    del given["methods"]["GRPO norm"]
    (folder / "compare.yaml").write_text(yaml.safe_dump(given, allow_unicode=True, sort_keys=False), encoding="utf-8")
    words = [sys.executable, str(SCRIPT), str(folder / "compare.yaml"), "--out", str(folder / "out"), "--workers", "1"]
    done = commands.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "interactions with plain" in done.stdout
    return folder / "out"


def rows(out: Path, arm: str, method: str = "deltal-1") -> list[dict]:
    return [json.loads(line) for line in open(out / "runs" / arm / "start" / method / "seed0" / "metrics.jsonl")]


def test_each_arm_does_what_its_name_says_and_the_rest_as_plain(out):
    plain, *_ = rows(out, "plain")
    punished, *_ = rows(out, "soft-punishment")
    filtered, *_ = rows(out, "overlong-filtering")
    both, *_ = rows(out, "punishment-and-filtering")
    assert plain["rollout/truncated_rate"] > 0 and plain["deltal/filtered_share"] == 0
    # The first rollout is the same in all of them. Rewards are logged without the punishment; the update is another one.
    for key in ("rollout/reward_mean", "rollout/truncated_rate", "entropy_loss"):
        assert len({row[key] for row in (plain, punished, filtered, both)}) == 1, key
    assert len({row["deltal/grad_norm"] for row in (plain, punished, filtered, both)}) == 4
    assert punished["deltal/filtered_share"] == 0
    assert filtered["deltal/filtered_share"] == both["deltal/filtered_share"] == plain["rollout/truncated_rate"]
    sampled = rows(out, "dynamic-sampling")
    assert all(row["deltal/groups_without_signal"] == 0 < row["dynamic_filtering_pass_rate"] for row in sampled)
    assert plain["deltal/groups_without_signal"] > 0


def test_each_arm_but_plain_has_an_interaction_in_what_can_be_compared(out):
    found = json.loads((out / COMPARISON).read_text(encoding="utf-8"))
    assert [arm["name"] for arm in found["arms"]][0] == found["spec"]["interactions_with"] == "plain"
    others = [arm["name"] for arm in found["arms"]][1:]
    assert len(others) == 4
    assert [(e["metric"], e["arm"]) for e in found["interactions"]] == [
        (metric, name) for metric in ("final", "auc") for name in others
    ]
    assert {(entry["a"], entry["b"]) for entry in found["interactions"]} == {("DAPO norm", "∆L 1")}
    for entry in found["interactions"]:  # the steps of dynamic sampling have the rewards of kept prompts only
        assert entry["n"] == (0 if (entry["metric"], entry["arm"]) == ("auc", "dynamic sampling") else 1)
    rates = {method["name"]: method["learning_rate"] for arm in found["arms"] for method in arm["methods"]}
    assert rates == {"DAPO norm": 3e-4, "∆L 1": 6e-4}
