"""What `deltal train` says before it imports torch or the host's trainers, as processes of its own."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from support.recipe_settings import config

from deltal_openrlhf.host import bindings, command_line, published
from deltal_openrlhf.rewards import named

BAD = "actor.adam.lr: [1e-6\nloss_agg: deltal\n"
RECIPE = """data: {prompt_dataset: data/countdown/train.jsonl, max_len: 1280}
actor: {model_name_or_path: m}
reward.remote_url: deltal:countdown
rollout.max_new_tokens: 1024
"""
LIST = """eval.dataset: [a.jsonl, there.jsonl]
data.prompt_dataset: there.jsonl
actor.model_name_or_path: m
reward.model_name_or_path: r
"""
HEAVY = {"torch", "transformers", "ray", "vllm", "deepspeed", "datasets", "numpy"}
GIVEN = "--actor.model_name_or_path m --data.prompt_dataset there.jsonl"
LACKING = (
    "; a recipe gives all, as in `deltal train --config countdown-deltal --dry_run`, and `deltal quickstart` needs none"
)
REFUSED = {
    "": "not given: a model (--actor.model_name_or_path), prompts (--data.prompt_dataset), a reward (--reward.remote_url "
    f"{', '.join(named.FILES)}, a .py file or an address; --reward.model_name_or_path; or --train.agent_func_path){LACKING}",
    "--reward.model_name_or_path r --eval.dataset a.jsonl": "not given: a model (--actor.model_name_or_path), prompts "
    f"(--data.prompt_dataset){LACKING}",
    f"{GIVEN} --reward.remote_url r.py": "--reward.remote_url: not there: r.py",
    f"{GIVEN} --reward.remote_url deltal:mth": "--reward.remote_url: deltal:mth is not a reward of this package; the nearest known one is "
    "'deltal:math'",
    "--config list.yaml": "--eval.dataset: not there: a.jsonl",
    "--config list.yaml --data.prompt_dataset=x.jsonl@train": "--data.prompt_dataset: not there: x.jsonl",
    "--config missing.yaml": "missing.yaml: no such file, and no shipped recipe has this name",
    "--config bad.yaml": "bad.yaml:2: not YAML: ",
    "--config=bad.yaml --dry_run": "bad.yaml:2: not YAML: ",
    "--config misspelt.yaml": "misspelt.yaml:1: unknown key 'actor.adam.rate'",
    "--rollout.n_sample_per_prompt 8": "unrecognized arguments: --rollout.n_sample_per_prompt 8; the nearest known one is "
    "'--rollout.n_samples_per_prompt'",
    "--megatron.tensor_parallel_sise 2": "unrecognized arguments: --megatron.tensor_parallel_sise 2; the nearest known",
    "--actor.adam.lr fast": "argument --actor.adam.lr: invalid float value: 'fast'",
    "-help": "argument -h/--help: ignored explicit argument 'elp'",
    "--loss_agg ∆L": "argument --loss_agg: ∆L is called deltal here",
    "--loss_agg ΔL-norm": "argument --loss_agg: ΔL-norm is called deltal here",
    "--loss_agg Dr.GRPO": "argument --loss_agg: Dr.GRPO is called seq-mean-token-sum-norm here",
    "--loss_agg deltall": "argument --loss_agg: invalid choice: 'deltall'",
    "--config recipe.yaml": "--data.prompt_dataset: not there: data/countdown/train.jsonl; make such files with deltal data countdown "
    "--source Jiayi-Pan/Countdown-Tasks-3to4 --train 327680 --test 1024 --out data/countdown --tokenizer m --max_prompt_tokens 256 ",
    "--config recipe.yaml --data.prompt_dataset there.jsonl --train.agent_func_path a.py": "--train.agent_func_path: not there: a.py",
}
CODE = """
import subprocess
import sys
from deltal_openrlhf.train import launch
for words in sys.stdin.read().splitlines():
    try:
        launch.main(words.split())
    except SystemExit as stop:
        assert stop.code == 2, words
        print("end", file=sys.stderr)
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "bad.yaml").write_text(BAD)
    (folder / "misspelt.yaml").write_text("actor.adam.rate: 1e-6\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "list.yaml").write_text(LIST)
    (folder / "there.jsonl").write_text("{}\n")
    return folder


def imported_by(code: str, words: str, folder: Path) -> tuple[set[str], list[str]]:
    """Packages that are imported in the end, and what was said."""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, input=words, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.splitlines()[-1].split()), ended.stderr.splitlines()


def test_what_is_wrong_with_flags_and_files_is_said_before_anything_is_imported(folder):
    imported, said = imported_by(CODE, "\n".join(REFUSED), folder)
    runs = "\n".join(said).removesuffix("end").split("end\n")
    for lines, wanted in zip(runs, REFUSED.values(), strict=True):
        assert f"deltal train: error: {wanted}" in lines
    assert "yaml" in imported and imported & HEAVY == set()


@pytest.mark.parametrize("module", [["deltal_openrlhf.cli.main", "train"], ["deltal_openrlhf.train_ppo_ray"]])
def test_both_commands_say_it(module, folder):
    command = [sys.executable, "-X", "importtime", "-m", *module, "--config", "missing.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "deltal train: error: missing.yaml: no such file" in ended.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "yaml" in imported and imported & HEAVY == set()


def test_a_dry_run_imports_no_trainer(folder):
    words = " ".join([*config("math-deltal"), "--dry_run"])
    code = CODE.replace("stop.code == 2", "stop.code == 0")
    imported, said = imported_by(code, words, folder)
    assert said == ["end"]
    assert imported & {"ray", "vllm", "deepspeed", "datasets"} == set()


def test_the_parser_and_its_result_are_the_hosts(monkeypatch):
    """Against the host's module, run as a whole: every flag with its type, default and choices, and what it makes of a command line."""
    import runpy

    class Parsed(Exception):
        pass

    words = "--reward.remote_url http://a/,http://b/ --actor.eps_clip 0.3 --train.dynamic_batch_enable --rollout.batch_size 8".split()
    words += ["--vllm.num_engines", "1"]
    parsers: list[argparse.ArgumentParser] = []
    monkeypatch.setattr(sys, "argv", ["deltal train", *words])
    with bindings.parser_bound(parsers.append, lambda flat: None):
        ours = command_line.parse()
        theirs = []

        def train(args):
            theirs.append(args)
            raise Parsed

        import ray

        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr("openrlhf.utils.get_strategy", train)
        with pytest.raises(Parsed):
            runpy.run_module(bindings.CLI_MODULE, run_name="__main__")
    flags = [
        [
            (a.option_strings, a.dest, a.nargs, a.const, a.default, a.type, a.choices, a.required)
            for a in parser._actions
        ]
        for parser in parsers
    ]
    run_name = "logger.wandb.run_name"  # by the minute
    assert [[f for f in of if f[1] != run_name] for of in flags[:1]] == [
        [f for f in of if f[1] != run_name] for of in flags[1:]
    ]
    assert len(flags[0]) > 100
    ours.logger.wandb.run_name = theirs[0].logger.wandb.run_name
    assert ours == theirs[0]
    assert (
        ours.reward.remote_url == ["http://a/", "http://b/"] and ours.ds.packing_samples
    )  # set by the host's own checks


def test_a_host_that_is_not_the_published_one_is_looked_at(monkeypatch):
    assert published.is_unchanged()
    monkeypatch.setattr(published, "check_host", lambda: ["openrlhf 0.11.2 changed"])
    assert published.problems_of_host() == []
    with monkeypatch.context() as edited:
        edited.setattr(Path, "read_bytes", lambda path, read=Path.read_bytes: read(path) + b"# edited")
        assert published.problems_of_host() == ["openrlhf 0.11.2 changed"]
    monkeypatch.setitem(published.CHECKED, "ray", "0")
    assert published.problems_of_host() == ["openrlhf 0.11.2 changed"]
