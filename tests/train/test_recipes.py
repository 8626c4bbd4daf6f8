"""The recipes and the overlays: what they set. The authors' 18 against the paper's list written out in recipe_settings.py."""

import argparse

import pytest
import yaml
from support.recipe_settings import CONFIGS, MADE_OF, OFF, OVERLAYS, SCRIPTS, expected, resolve

from deltal_openrlhf.train.recipes import EXPERIMENTS

OURS = {"gsm8k-deltal", "gsm8k-lora-deltal", "shapes-vl-deltal", "countdown-calculator-deltal"}
"""The last three: test_other_recipes.py."""


def disagreements(settings: dict, wanted: dict) -> list[str]:
    return [f"{key}: {settings[key]!r}, wanted {value!r}" for key, value in wanted.items() if settings[key] != value]


# ── The recipes ──


def test_there_is_one_file_for_each_experiment_of_the_authors():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - OURS == set(MADE_OF) == set(EXPERIMENTS)
    assert {experiment.script for experiment in EXPERIMENTS.values()} == SCRIPTS
    assert len(SCRIPTS) == len(MADE_OF) == 18


@pytest.mark.parametrize("name", MADE_OF)
def test_a_recipe_is_what_its_experiment_determines(name):
    file = CONFIGS / f"{name}.yaml"
    assert disagreements(resolve("--config", file), expected(name)) == []
    # Nothing of it is left to the host's defaults, which may change.
    keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    defaults_are_fine = OFF | {"train.dynamic_batch_enable": False, "data.apply_chat_template": False}
    determined = {key for key in expected(name) if expected(name)[key] != defaults_are_fine.get(key, "set")}
    assert determined - set(keys) - {"algo.dynamic_filtering_enable"} == set()
    assert f"# The authors' {EXPERIMENTS[name].script}\n" in file.read_text(encoding="utf-8")


def test_the_check_above_sees_a_changed_value(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        (CONFIGS / "math-deltal.yaml").read_text(encoding="utf-8").replace("0.999", "0.99"), encoding="utf-8"
    )
    assert disagreements(resolve("--config", file), expected("math-deltal")) == [
        "actor.adam.betas: [0.9, 0.99], wanted [0.9, 0.999]"
    ]


def test_recipes_differ_from_each_other_in_nothing_else():
    """What the experiment does not determine (hardware, checkpoints, ...) is the same in all, or the same in all of a family."""
    settings = {name: resolve("--config", CONFIGS / f"{name}.yaml") for name in MADE_OF}
    named = {"config", "ckpt.output_dir", "ckpt.path", "logger.wandb.run_name", "actor.loss_agg_mode", "deltal.alpha"}
    free = set(settings["math-deltal"]) - named - set(expected("math-dapo-deltal"))
    varying = {key for key in free if len({repr(s[key]) for s in settings.values()}) > 1}
    assert varying == {"train.micro_batch_size", "rollout.micro_batch_size", "train.num_episodes", "eval.steps"}
    for name, (task, family, _) in MADE_OF.items():
        micro = {"loss": 2, "dapo": 4}[family]  # at most 18,432 tokens in a micro batch
        assert settings[name]["train.micro_batch_size"] == settings[name]["rollout.micro_batch_size"] == micro
        # As in the authors' scripts.
        long = task == "countdown" and family == "dapo"
        assert (settings[name]["train.num_episodes"], settings[name]["eval.steps"]) == (
            (1500, 25) if long else (15, 50)
        )
        assert settings[name]["ckpt.output_dir"] == f"runs/{name}"
        assert settings[name]["ckpt.path"] == f"runs/{name}/ckpt"


def test_the_hosts_dynamic_batches_sort_a_rollout_by_length():
    """Why no recipe sets --train.dynamic_batch_enable: the first of its optimizer steps gets the extremes, the last one the middle."""
    import torch
    from openrlhf.trainer.ppo_utils.experience import Experience, balance_experiences

    lengths = torch.randperm(32, generator=torch.Generator().manual_seed(0)) + 1
    samples = [
        Experience(sequences=torch.zeros(1, n, dtype=torch.long), total_length=torch.tensor([n]), info={})
        for n in lengths
    ]
    args = argparse.Namespace(
        actor=argparse.Namespace(num_nodes=1, num_gpus_per_node=2),
        ds=argparse.Namespace(ring_attn_size=1, tensor_parallel_size=1),
    )
    ranks = [experience.total_length.tolist() for experience in balance_experiences(samples, args)]
    steps = [{n for rank in ranks for n in rank[i : i + 4]} for i in range(0, 16, 4)]
    assert steps[0] == {1, 2, 3, 4, 29, 30, 31, 32}
    assert steps[3] == {13, 14, 15, 16, 17, 18, 19, 20}


# ── Ours ──

GSM8K = {
    "actor.model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct",
    "data.prompt_dataset": "data/gsm8k/train.jsonl",
    "eval.dataset": "data/gsm8k/holdout.jsonl",
    "eval.n_samples_per_prompt": 4,
    "data.apply_chat_template": True,
    "data.max_len": 1536,
    "rollout.max_new_tokens": 1024,
    "deltal.max_length": 1024,
    "train.num_episodes": 3,
    "train.micro_batch_size": 4,
    "rollout.micro_batch_size": 4,
    "ckpt.output_dir": "runs/gsm8k-deltal",
    "ckpt.path": "runs/gsm8k-deltal/ckpt",
    "actor.num_gpus_per_node": 1,
    "vllm.num_engines": 1,
    "ds.zero_stage": 2,
}


def test_the_recipe_for_gsm8k_differs_from_that_for_math_in_task_model_and_hardware_only():
    math, gsm8k = (resolve("--config", CONFIGS / f"{name}.yaml") for name in ("math-deltal", "gsm8k-deltal"))
    same = ("config", "logger.wandb.run_name", "deltal.start")  # the file, the minute, and a name of the start
    assert {key: gsm8k[key] for key in gsm8k if gsm8k[key] != math[key] and key not in same} == GSM8K
    keys = [
        yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("math-deltal", "gsm8k-deltal")
    ]
    assert set(keys[1]) - set(keys[0]) == {"data.apply_chat_template"} and set(keys[0]) <= set(keys[1])


# ── Overlays ──


def changed(*overlays: str) -> dict:
    """What overlays change in a recipe."""
    recipe = CONFIGS / "math-deltal.yaml"
    before = resolve("--config", recipe)
    after = resolve(
        "--config", recipe, *(word for name in overlays for word in ("--config", OVERLAYS / f"{name}.yaml"))
    )
    return {key: value for key, value in after.items() if value != before[key] and key != "config"}


@pytest.mark.parametrize(
    ("overlays", "changes"),
    [
        (("4gpu",), {}),
        (
            ("1gpu",),
            {
                "actor.num_gpus_per_node": 1,
                "vllm.num_engines": 1,
                "ds.zero_stage": 2,
                "train.micro_batch_size": 1,
                "rollout.micro_batch_size": 1,
            },
        ),
        (
            ("cpu",),
            {
                "actor.num_gpus_per_node": 1,
                "vllm.num_engines": 1,
                "vllm.gpu_memory_utilization": 0.2,
                "vllm.sync_backend": "gloo",
                "vllm.enforce_eager": True,
                "vllm.enable_sleep": False,
                "train.colocate_all": False,
                "ds.enable_sleep": False,
                "ds.zero_stage": 2,
                "ds.packing_samples": False,
                "ds.attn_implementation": "sdpa",
                "train.micro_batch_size": 1,
                "rollout.micro_batch_size": 1,
            },
        ),
        (("8gpu",), {"actor.num_gpus_per_node": 8, "vllm.num_engines": 8}),
        (("2nodes",), {"actor.num_nodes": 2, "actor.num_gpus_per_node": 8, "vllm.num_engines": 16}),
        (
            ("7b",),
            {"actor.model_name_or_path": "Qwen/Qwen2.5-7B", "actor.num_gpus_per_node": 8, "vllm.num_engines": 8},
        ),
        (("7b", "4gpu"), {"actor.model_name_or_path": "Qwen/Qwen2.5-7B"}),
        (
            ("7b", "2nodes"),
            {
                "actor.model_name_or_path": "Qwen/Qwen2.5-7B",
                "actor.num_nodes": 2,
                "actor.num_gpus_per_node": 8,
                "vllm.num_engines": 16,
            },
        ),
    ],
    ids="+".join,
)
def test_overlays_change_model_hardware_and_parallel_sizes_only(overlays, changes):
    assert changed(*overlays) == changes


def test_7b_after_2nodes_keeps_the_nodes():
    """So that the start is refused (8 engines for 16 GPUs), and does not train on one node."""
    after = changed("2nodes", "7b")
    assert (after["actor.num_nodes"], after["actor.num_gpus_per_node"], after["vllm.num_engines"]) == (2, 8, 8)


def test_every_overlay_is_tested():
    assert {path.stem for path in OVERLAYS.glob("*.yaml")} == {"1gpu", "4gpu", "8gpu", "2nodes", "7b", "cpu"}
