"""--config: what a file means, and what is said of a wrong one, on the host's own parser."""

from pathlib import Path

import pytest
from support.recipe_settings import host_parser, resolve

from deltal_openrlhf.train import config_files


@pytest.fixture
def write(tmp_path):
    """write(text, name) -> path of a YAML file."""

    def write(text: str, name: str = "a.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_later_files_win_over_earlier_ones_and_flags_over_all(write):
    a = write("actor.adam.lr: 1e-5\nrollout.top_p: 0.5\nloss_agg: deltal\n")
    b = write("actor: {adam: {lr: 2e-5}, loss_agg_mode: seq-mean-token-mean}\ntrain.seed: 7\n", "b.yaml")
    both = resolve("--config", a, "--config", b)
    assert (both["actor.adam.lr"], both["rollout.top_p"], both["train.seed"]) == (2e-5, 0.5, 7)
    assert both["loss_agg"] == "seq-mean-token-mean"
    assert resolve("--config", b, "--config", a)["loss_agg"] == "deltal"
    # Wherever the flag stands.
    for argv in (("--actor.adam.lr", "3e-5", "--config", a), ("--config", a, "--actor.adam.lr", "3e-5", "--config", b)):
        assert resolve(*argv)["actor.adam.lr"] == 3e-5
    assert resolve("--loss_agg", "token-mean", "--config", a)["loss_agg"] == "token-mean"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("actor.adam.lr: 1e-6", "--actor.adam.lr 1e-6"),  # YAML 1.1 takes it for text
        ("actor:\n  adam:\n    lr: 1e-6\n    eps: .5\n", "--actor.adam.lr 1e-6 --actor.adam.eps .5"),
        (
            "algo.advantage.is_correction_level: off",
            "--algo.advantage.is_correction_level off",
        ),  # and this for a boolean
        ("actor.adam.betas: [0.8, 0.9]", "--actor.adam.betas 0.8 0.9"),
        ("reward.clip_range: [-5, 5]", "--reward.clip_range -5 5"),
        # argparse takes -1e-1 for a flag
        ("reward.clip_range: [-1e-1, 1]", "--reward.clip_range -0.1 1"),
        ("reward.clip_range: [-2.5E+1, -.5]", "--reward.clip_range -25 -0.5"),
        ("eval.steps: -1", "--eval.steps -1"),
        ("eval.dataset: [a.jsonl, b.jsonl]", "--eval.dataset a.jsonl,b.jsonl"),
        ("ds.enable_sleep: true\nds.packing_samples: false", "--ds.enable_sleep"),
        ("ds.enable_sleep: TRUE\nds.packing_samples: False", "--ds.enable_sleep"),
        ("actor.muon.nesterov: false", "--actor.muon.no_nesterov"),
        ("actor.muon.no_nesterov: true", "--actor.muon.no_nesterov"),
        ("alpha: 0.5\nloss_agg: deltal", "--deltal.alpha 0.5 --actor.loss_agg_mode deltal"),
        (
            "logger.wandb.run_name: '12:30'\ndata.input_template: \"{}\\n\"",
            "--logger.wandb.run_name 12:30 --data.input_template {}\n",
        ),
        ("logger.wandb.run_name: 12:30", "--logger.wandb.run_name 12:30"),
        ("logger.wandb.run_name: 'true'", "--logger.wandb.run_name true"),
        ("logger.wandb.run_name: 007", "--logger.wandb.run_name 007"),
        ("logger.wandb.run_name: -x", "--logger.wandb.run_name=-x"),
        (
            "ds.lora.target_modules: [q_proj, v_proj]\nds.lora.rank: 4",
            "--ds.lora.target_modules q_proj v_proj --ds.lora.rank 4",
        ),
    ],
    ids=lambda value: value.split(" ")[0].strip(),
)
def test_a_file_means_what_its_flags_mean(text, flags, write):
    from_file = resolve("--config", write(text))
    from_flags = resolve(*flags.split(" "))
    assert from_file | {"config": None} == from_flags
    assert from_file != resolve()


def test_false_and_null_take_back_what_an_earlier_file_has_set(write):
    a = write("ds.enable_sleep: true\nalpha: 0.5\nactor.muon.nesterov: false\n")
    for false, null, true in (("false", "null", "true"), ("False", "NULL", "True"), ("FALSE", "~", "TRUE")):
        b = write(f"ds: {{enable_sleep: {false}}}\nalpha: {null}\nactor.muon.nesterov: {true}\n", "b.yaml")
        settings = resolve("--config", a, "--config", b)
        assert (settings["ds.enable_sleep"], settings["alpha"], settings["actor.muon.nesterov"]) == (False, None, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "train.seed: 1\nactor.adam.lrr: 1",
            "a.yaml:2: unknown key 'actor.adam.lrr'; the nearest known one is 'actor.adam.lr'",
        ),
        (
            "actor: {adam: {learning_rate: 1}}",
            "a.yaml:1: unknown key 'actor.adam.learning_rate'; the nearest known one is 'actor.",
        ),
        ("actor.learning_rate: 1", "the nearest known ones are 'actor.muon.lr', 'actor.adam.lr'"),
        ("max_new_tokens: 5", "unknown key 'max_new_tokens'; the nearest known one is 'rollout.max_new_tokens'"),
        ("lr: 1", "the nearest known ones are 'actor.muon.lr', 'actor.adam.lr', 'critic.muon.lr'"),
        ("learning_rate: 1", "the nearest known ones are 'actor.muon.lr', 'actor.adam.lr', 'critic.muon.lr'"),
        ("temperature: 1", "the nearest known ones are 'eval.temperature', 'rollout.temperature'"),
        ("rollout.temperatur: 1", "the nearest known one is 'rollout.temperature'"),
        ("eval.temperatur: 1", "the nearest known one is 'eval.temperature'"),
        ("gpus: 4", "the nearest known ones are 'ref.num_gpus_per_node', 'actor.num_gpus_per_node', 'reward.num_"),
        ("warmup: 4", "the nearest known ones are 'actor.lr_warmup_ratio', 'critic.lr_warmup_ratio'"),
        ("zzzz: 4", "unknown key 'zzzz'; deltal train --help lists the known ones"),
        ("actor.adam: 5", "unknown key 'actor.adam'; the nearest known ones are 'actor.adam.lr', 'actor.adam."),
        ("config: b.yaml", "a.yaml:1: 'config' is for the command line only"),
        ("dry_run: true", "a.yaml:1: 'dry_run' is for the command line only"),
        ("help: true", "a.yaml:1: 'help' is for the command line only"),
        ("rollout.top_p: 1\ntrain.seed: !!int 5", "a.yaml:2: the tag 'tag:yaml.org,2002:int' has no meaning here"),
        (
            "train.seed: !!python/object/apply:os.getpid []",
            "a.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os",
        ),
        ("train: !x {seed: 1}", "a.yaml:1: the tag '!x' has no meaning here; leave it out"),
        ("reward.clip_range: [-x, 1]", "argument --reward.clip_range: expected 2 arguments"),
        ("--actor.adam.lr: 1", "unknown key '--actor.adam.lr'; the nearest known one is 'actor.adam.lr'"),
        ("actor.adam.lr: fast", "a.yaml:1: argument --actor.adam.lr: invalid float value: 'fast'"),
        ("train.seed: 1.5", "argument --train.seed: invalid int value: '1.5'"),
        ("actor.optim: sgd", "argument --actor.optim: invalid choice: 'sgd' (choose from 'adam', 'muon')"),
        ("loss_agg: dr-grpo", "argument --loss_agg: dr-grpo is called seq-mean-token-sum-norm here"),
        ("loss_agg: mean", "invalid choice: 'mean' (choose from 'token-mean', "),
        ("actor.adam.betas: 0.9", "argument --actor.adam.betas: expected 2 arguments"),
        ("actor.adam.betas: [0.9, 0.99, 0.999]", "a.yaml:1: 'actor.adam.betas' takes 2 values, these are 3"),
        ("actor.adam.lr: [1, 2]", "argument --actor.adam.lr: invalid float value: '1,2'"),
        ("ds.enable_sleep: 1", "'ds.enable_sleep' is '1', allowed are true and false, without quotes"),
        ("ds.enable_sleep: 'true'", "'ds.enable_sleep' is 'true', allowed are true and false, without quotes"),
        ("train.seed: 1\ntrain.seed: 2", "a.yaml:2: 'train.seed' is there twice, first in "),
        ("actor: {optim: adam}\nrollout.top_p: 1\nactor: {max_norm: 1}", "a.yaml:3: 'actor' is there twice, first in "),
        ("actor: {optim: adam}\nactor.optim: muon", "a.yaml:2: 'actor.optim' is set twice, first as 'actor.optim' in "),
        ("alpha: 1\ndeltal.alpha: 0.5", "a.yaml:2: 'deltal.alpha' is set twice, first as 'alpha' in "),
        ("train.seed:", "a.yaml:1: 'train.seed' has no value; null stands for the default"),
        ("actor.adam.betas: []", "the list of 'actor.adam.betas' must hold single values, at least one"),
        ("actor.adam.betas: [[1], 2]", "the list of 'actor.adam.betas' must hold single values"),
        ("- train.seed", "a.yaml:1: holds no `key: value` lines"),
        ("train.seed", "a.yaml:1: holds no `key: value` lines"),
        ("", "a.yaml: holds no `key: value` lines"),
        ("train.seed: 1\n  rollout: 2", "a.yaml:2: not YAML: mapping values are not allowed here"),
        ("train.seed: [1", "not YAML: "),
        ("a: 1\n--- \nb: 2", "not YAML: but found another document"),
        ("a: &a {b: *a}", "a.yaml:1: nested too deep"),
    ],
    ids=lambda value: value.split("\n")[-1][:40],
)
def test_a_wrong_file_is_named_with_its_line(text, says, write):
    path = write(text)
    with pytest.raises(ValueError) as error:
        config_files.expand(host_parser(), ["--config", str(path)])
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_files(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in (
        (tmp_path / "none.yaml", "no such file, and no shipped recipe has this name; `deltal recipes` lists them"),
        (tmp_path, "is a folder, and no shipped recipe has this name; `deltal recipes` lists them"),
        (binary, "not UTF-8 text"),
    ):
        with pytest.raises(ValueError) as error:
            config_files.expand(host_parser(), ["--config", str(path)])
        assert str(error.value) == f"{path}: {says}"


def test_origins_tell_which_line_or_flag_a_value_came_from(write):
    a, b = write("train.seed: 1\nalpha: 0.5\n"), write("train: {seed: 2}\n", "b.yaml")
    argv = ["--config", str(a), "--config", str(b), "--loss_agg", "deltal"]
    origins = config_files.expand(host_parser(), argv).origins
    assert origins == {
        "train.seed": f"{b}:1",
        "deltal.alpha": f"{a}:2",
        "actor.loss_agg_mode": "command line",
    }


def test_a_refusal_names_the_file_of_the_value_and_how_to_take_it_back():
    origins = {"deltal.alpha": "a.yaml:3", "rollout.top_p": "b.yaml:1", "train.seed": "command line"}
    back = "(set in a.yaml:3; `alpha: null` in a later --config file takes it back)"
    other = "--alpha is 1, but --loss_agg is token-mean; it is allowed with --loss_agg deltal only"
    assert config_files.with_origin(other, origins) == f"{other} {back}"
    several = (
        "--alpha is 1, --rollout.top_p is 1, --train.seed is 1, but --loss_agg is token-mean; --alpha is allowed with deltal only; "
        "--rollout.top_p is allowed with deltal only; --train.seed is allowed with deltal only"
    )
    assert config_files.with_origin(several, origins) == (
        f"{several} (set in a.yaml:3 (--alpha), b.yaml:1 (--rollout.top_p); `alpha: null`, `rollout.top_p: null` in a later --config "
        "file take them back)"
    )
    assert config_files.with_origin("--rollout.top_p is 2", origins) == "--rollout.top_p is 2 (set in b.yaml:1)"
    for same in (
        "--train.seed is 1",
        "--train.batch_size is 1",
        "no flag of ours",
        "--rollout.top_p x --train.seed is 2",
    ):
        assert config_files.with_origin(same, origins) == same
