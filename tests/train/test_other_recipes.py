"""The recipes for images, an agent and LoRA, which are no experiments of the authors: their dry runs, and what they change."""

import json

import pytest
import yaml
from support.launches import launch_all, lines
from support.recipe_settings import CONFIGS, config, resolve
from support.run_data import save_tokenizer
from transformers import LlamaConfig

from deltal_openrlhf.data import output
from deltal_openrlhf.data.prepare import Options
from deltal_openrlhf.data.shapes import shapes_files
from deltal_openrlhf.models.tiny_vision import write_tiny_vision_model

RECIPES = {
    # optimizer steps of a rollout, responses of a step, M; the command that makes the data
    "shapes-vl-deltal": (
        "4 of 128 responses",
        "alpha 0.75, scope step, M 1024",
        "deltal data shapes --out data/shapes",
    ),
    "countdown-calculator-deltal": (
        "4 of 320 responses",
        "alpha 1, scope step, M 4352",
        "deltal data countdown --num_numbers 3 4 --train 20000 --test 512 --out data/countdown --tokenizer Qwen/Qwen2.5-3B "
        "--max_prompt_tokens 256",
    ),
    "gsm8k-lora-deltal": (
        "4 of 320 responses",
        "alpha 0.75, scope step, M 1024",
        "deltal data gsm8k --holdout 256 --out data/gsm8k --template chat --tokenizer Qwen/Qwen2.5-3B-Instruct --max_prompt_tokens 512",
    ),
}
CPU = "overlays/cpu"
SHORT = "--data.max_len 448 --rollout.max_new_tokens 256 --deltal.max_length 256".split()
SHAPES = "--actor.model_name_or_path vision --data.prompt_dataset shapes/train.jsonl --eval.dataset shapes/test.jsonl".split()
PROBLEMS = "--actor.model_name_or_path text --data.prompt_dataset problems.jsonl --eval.dataset problems.jsonl --dry_run".split()
RUNS = {name: [*config(name), "--dry_run"] for name in RECIPES} | {
    "images, here": [*config("shapes-vl-deltal", CPU), *SHORT, *SHAPES, "--dry_run"],
    "images, two for one": [
        *config("shapes-vl-deltal", CPU),
        *SHORT,
        *SHAPES,
        *"--data.prompt_dataset two.jsonl --dry_run".split(),
    ],
    "images, LoRA": [*config("shapes-vl-deltal", CPU), *SHORT, *SHAPES, *"--ds.lora.rank 4 --dry_run".split()],
    "images, packed": [*config("shapes-vl-deltal", CPU), *SHORT, *SHAPES, *"--ds.packing_samples --dry_run".split()],
    "agent, here": [*config("countdown-calculator-deltal", CPU), *PROBLEMS],
    "agent, labels of math": [
        *config("countdown-calculator-deltal", CPU),
        *PROBLEMS,
        *"--data.prompt_dataset math.jsonl".split(),
    ],
    "LoRA, here": [*config("gsm8k-lora-deltal", CPU), *PROBLEMS],
    "LoRA, ZeRO-3": [*config("gsm8k-lora-deltal"), *"--ds.zero_stage 3 --dry_run".split()],
}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    folder = tmp_path_factory.mktemp("others")
    write_tiny_vision_model(folder / "vision")
    files = shapes_files(256, 4, Options("chat"))
    output.write({name: [prompt.row for prompt in files[name]] for name in files}, folder / "shapes", "jsonl")
    row = json.loads((folder / "shapes/test.jsonl").read_text().splitlines()[0])
    (folder / "two.jsonl").write_text(json.dumps(row | {"images": row["images"] * 2}) + "\n")
    LlamaConfig(max_position_embeddings=8192).save_pretrained(folder / "text")
    save_tokenizer(folder / "text")
    problem = {"input": "1 + 2 = 3?", "label": json.dumps({"numbers": [1, 2], "target": 3})}
    (folder / "problems.jsonl").write_text((json.dumps(problem) + "\n") * 1280)
    (folder / "math.jsonl").write_text(json.dumps({"input": "2 + 3?", "label": "5"}) + "\n")
    return launch_all(RUNS, folder)


@pytest.mark.parametrize("name", RECIPES)
def test_the_dry_run_of_a_recipe_is_green_and_names_its_data(name, real):
    code, out, err = real[name]
    steps, loss, make = RECIPES[name]
    assert (code, err) == (0, "")
    assert f"optimizer steps per rollout {steps}" in lines(out)
    assert f"∆L is active: {loss}" in lines(out)
    assert "no --config is one of their experiments" in out
    assert make in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    if "countdown" not in name:  # whose line names the authors' problems
        assert f"; make such files with {make}" in out


@pytest.mark.cpu_build
@pytest.mark.parametrize("name", [name for name in RUNS if name.endswith("here")])
def test_with_a_model_and_data_a_start_would_begin_on_this_machine(name, real):
    code, out, err = real[name]
    assert (code, err) == (0, "")
    assert out.endswith("\nA real start would begin.\n")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("images, two for one", "--data.prompt_dataset two.jsonl: line 1: images has 2 images, allowed are 1"),
        (
            "images, LoRA",
            "--ds.lora.rank is 4 with --actor.freeze_visual_encoder: OpenRLHF gives the frozen vision tower adapters",
        ),
        ("images, packed", "VLM training does not support --packing_samples"),
        ("agent, labels of math", "a countdown label is {'numbers': [...], 'target': n} as JSON text, not '5'"),
        (
            "LoRA, ZeRO-3",
            "--ds.lora.rank is 32 with --ds.zero_stage 3: LoRA weights reach vLLM with --ds.zero_stage 0, 1 and 2 only",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(name, says, real):
    code, _, err = real[name]
    assert code == 2 and says in err.splitlines()[0] and "Traceback" not in err


def test_the_lora_recipe_is_the_one_for_gsm8k_with_adapters_and_a_larger_model():
    plain, lora = (resolve("--config", CONFIGS / f"{name}.yaml") for name in ("gsm8k-deltal", "gsm8k-lora-deltal"))
    same = ("config", "logger.wandb.run_name", "deltal.start", "ckpt.output_dir", "ckpt.path")
    assert {key: lora[key] for key in lora if lora[key] != plain[key] and key not in same} == {
        "actor.model_name_or_path": "Qwen/Qwen2.5-3B-Instruct",
        "actor.adam.lr": 1e-5,
        "ds.lora.rank": 32,
        "ds.lora.alpha": 64,
        "ds.lora.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    }


def test_the_agents_recipe_is_the_one_for_countdown_with_turns_and_shorter_episodes():
    plain, agent = (
        yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        for name in ("countdown-deltal", "countdown-calculator-deltal")
    )
    assert {key for key in {*plain, *agent} if plain.get(key) != agent.get(key)} == {
        "reward.remote_url",
        "train.agent_func_path",
        "data.max_len",
        "rollout.max_new_tokens",
        "deltal.max_length",
        "vllm.enable_prefix_caching",
        "ckpt.output_dir",
        "ckpt.path",
    }
