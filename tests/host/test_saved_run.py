"""What a checkpoint says of the run that saved it, and what is refused of a run that would resume from it."""

import copy
import json
from pathlib import Path

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf import backends, cpu
from deltal_openrlhf.host import adaptive_kl, finished, saved_average, saved_run

TAG = "global_step7"
FLAGS = "--actor.num_gpus_per_node 4 --ds.zero_stage 2 --algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 4".split()


@pytest.fixture(scope="module")
def base():
    args = host_arguments(*FLAGS)
    args.deltal.data = None
    return args


@pytest.fixture
def args(base, tmp_path):
    """Those of a run that saved a checkpoint."""
    found = copy.deepcopy(base)
    found.ckpt.path, found.ckpt.output_dir = str(tmp_path / "ckpt"), str(tmp_path / "out")
    save(found)
    return found


def save(args):
    folder = Path(args.ckpt.path, "_actor", TAG)
    folder.mkdir(parents=True, exist_ok=True)
    folder.with_name("latest").write_text(TAG)
    text = json.dumps(saved_run.saved_run(args, backends.load(args.backend)))
    (folder / saved_run.FILE).write_text(text)
    return folder


def changed(args, flags):
    args = copy.deepcopy(args)
    for flag, value in flags.items():
        *groups, name = flag.split(".")
        owner = args
        for group in groups:
            owner = getattr(owner, group)
        assert hasattr(owner, name)
        setattr(owner, name, value)
    return args


def refusal(args):
    with pytest.raises(ValueError) as error:
        saved_run.check_resumed_run(args, backends.load(args.backend), TAG)
    assert "\n" not in str(error.value)
    return str(error.value)


def check(args):
    saved_run.check_resumed_run(args, backends.load(args.backend), TAG)


OPTIMIZER = {
    "actor.adam.lr": (2e-6, "--actor.adam.lr: saved 1e-06, now 2e-06"),
    "actor.adam.betas": ([0.9, 0.99], "--actor.adam.betas: saved 0.9 0.95, now 0.9 0.99"),
    "actor.adam.eps": (1e-6, "--actor.adam.eps: saved 1e-08, now 1e-06"),
    "actor.adam.weight_decay": (0.1, "--actor.adam.weight_decay: saved 0, now 0.1"),
    "actor.lr_scheduler": ("constant", "--actor.lr_scheduler: saved cosine_with_min_lr, now constant"),
    "actor.lr_warmup_ratio": (0.1, "--actor.lr_warmup_ratio: saved 0.03, now 0.1"),
    "actor.min_lr_ratio": (0.0, "--actor.min_lr_ratio: saved 0.1, now 0"),
    "actor.max_norm": (0.5, "--actor.max_norm: saved 1, now 0.5"),
}


@pytest.mark.parametrize("backend", ["deepspeed", "megatron"])
@pytest.mark.parametrize("flag", OPTIMIZER)
def test_another_optimizer_is_refused_with_both_values_or_allowed(args, flag, backend):
    args.backend = backend
    save(args)
    check(args)
    value, says = OPTIMIZER[flag]
    other = changed(args, {flag: value})
    message = refusal(other)
    assert says in message and "--deltal.allow_changed_optimizer" in message and TAG in message
    check(changed(other, {"deltal.allow_changed_optimizer": True}))


def test_what_a_run_does_not_use_may_change(args):
    check(changed(args, {"critic.adam.lr": 1.0, "actor.muon.lr": 1.0, "algo.kl.init_coef": 0.5, "ds.lora.alpha": 3}))


def test_the_optimizer_of_a_critic_and_the_start_of_an_adaptive_coefficient_count_too(args):
    with_both = changed(args, {"algo.advantage.estimator": "gae", "algo.kl.target": 6.0})
    save(with_both)
    check(with_both)
    assert "--critic.adam.lr: saved 9e-06, now 1" in refusal(changed(with_both, {"critic.adam.lr": 1.0}))
    assert "--algo.kl.init_coef: saved 0.01, now 0.5" in refusal(changed(with_both, {"algo.kl.init_coef": 0.5}))


def test_muons_own_rate_counts_with_muon(args):
    muon = changed(args, {"actor.optim": "muon"})
    save(muon)
    assert "--actor.muon.lr: saved 0.02, now 0.1" in refusal(changed(muon, {"actor.muon.lr": 0.1}))


FIXED = {
    "ds.zero_stage": (3, "--ds.zero_stage is 3, but checkpoint"),
    "ds.param_dtype": ("fp16", "--ds.param_dtype is fp16, but checkpoint"),
    "actor.optim": ("muon", "--actor.optim is muon, but checkpoint"),
    "actor.num_gpus_per_node": (8, "--actor.num_nodes x --actor.num_gpus_per_node is 8, but checkpoint"),
    "actor.num_nodes": (2, "--actor.num_nodes x --actor.num_gpus_per_node is 8, but checkpoint"),
    "ds.lora.rank": (8, "--ds.lora.rank is 8, but checkpoint"),
    "algo.advantage.estimator": ("gae", "a critic (--algo.advantage.estimator gae) is True, but checkpoint"),
}


@pytest.mark.parametrize("flag", FIXED)
def test_what_the_files_have_the_shape_of_is_refused_and_cannot_be_allowed(args, flag):
    value, says = FIXED[flag]
    message = refusal(changed(args, {flag: value, "deltal.allow_changed_optimizer": True}))
    saved = cpu.lookup(args, flag)
    assert says in message and f"saved with {4 if 'num_' in flag else False if value == 'gae' else saved}" in message


def test_without_zero_any_number_of_ranks_can_load(args):
    without = changed(args, {"ds.zero_stage": 0})
    save(without)
    check(changed(without, {"actor.num_gpus_per_node": 8}))


def test_megatron_loads_with_any_number_of_ranks(args):
    args.backend = "megatron"
    save(args)
    check(changed(args, {"actor.num_gpus_per_node": 8}))


def test_an_average_that_would_begin_anew_or_be_lost_is_refused(args):
    folder = save(args)
    wanted = changed(args, {"train.enable_ema": True})
    assert refusal(wanted).startswith(f"--train.enable_ema, but checkpoint {folder} has no average of the weights")
    (folder / saved_average.FILE).touch()
    check(wanted)
    assert "which would be lost" in refusal(args)
    universal = changed(wanted, {"ds.use_universal_ckpt": True})
    assert refusal(universal).startswith("--train.enable_ema with --ds.use_universal_ckpt")


def test_a_checkpoint_of_an_earlier_version_says_nothing(args):
    (save(args) / saved_run.FILE).unlink()
    check(changed(args, {"actor.adam.lr": 1.0}))


def test_another_length_is_said_and_allowed(args):
    longer = changed(args, {"train.num_episodes": 3})
    check(longer)
    assert saved_run.changed_length(args, TAG) == []
    assert saved_run.changed_length(longer, TAG) == ["--train.num_episodes 1 to 3"]


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("", "eval_math_pass1"),
        ("eval_math_pass1", "eval_math_pass1"),
        ("eval_aime_pass1", "eval_aime_pass1"),
        ("none", "none"),
    ],
)
def test_the_command_lines_metric_of_the_best_checkpoint_holds(args, key, kept):
    from deltal_openrlhf.host.controller import DeltaLController

    controller = object.__new__(DeltaLController)
    controller.args = changed(args, {"ckpt.best_metric_key": key})
    controller.best_eval_metric_key, controller.best_eval_metric_value = key, float("-inf")
    controller.restore_best_checkpoint_state({"best_eval_metric_key": "eval_math_pass1", "best_eval_metric_value": 0.5})
    assert controller.best_eval_metric_key == kept
    assert controller.best_eval_metric_value == (0.5 if kept == "eval_math_pass1" else float("-inf"))


class Controller:
    def __init__(self, value):
        self.value = value


@pytest.fixture
def adaptive(args):
    return changed(args, {"algo.kl.target": 6.0})


def continued(args, states):
    """The coefficient of a resumed run's controller."""
    from openrlhf.trainer.ppo_utils.kl_controller import AdaptiveKLController

    controller = AdaptiveKLController(args.algo.kl.init_coef, 6.0, 10000)
    adaptive_kl.restore(states, controller, args)
    return controller


def test_an_adaptive_coefficient_goes_on_where_it_was(adaptive):
    from openrlhf.trainer.ppo_utils.kl_controller import AdaptiveKLController

    whole = AdaptiveKLController(adaptive.algo.kl.init_coef, 6.0, 10000)
    whole.update(9.0, 512)
    states = {}
    adaptive_kl.remember(states, whole, adaptive)
    states = json.loads(json.dumps(states))  # Megatron's are read without pickle
    resumed = continued(adaptive, states)
    assert resumed.value == whole.value != adaptive.algo.kl.init_coef
    for controller in (whole, resumed):
        controller.update(3.0, 512)
    assert resumed.value == whole.value
    assert continued(changed(adaptive, {"algo.kl.init_coef": 0.5}), states).value == 0.5


def test_a_fixed_coefficient_is_the_flags(args, adaptive):
    states = {}
    adaptive_kl.remember(states, Controller(0.02), args)
    assert states == {}
    adaptive_kl.remember(states, Controller(0.02), adaptive)
    assert continued(args, states).value == args.algo.kl.init_coef
    assert continued(adaptive, {}).value == args.algo.kl.init_coef


def test_a_run_that_has_ended_has_nothing_to_do_until_it_is_longer_or_begins_anew(args):
    assert not finished.is_finished(args)
    finished.mark(args)
    assert not finished.is_finished(args)  # the model is gone
    model = Path(args.ckpt.output_dir, "config.json")
    model.touch()
    assert finished.is_finished(args)
    assert not finished.is_finished(changed(args, {"train.num_episodes": 2}))
    latest = save(args).with_name("latest")
    latest.write_text("global_step8")  # trained further since
    assert not finished.is_finished(args)
    latest.write_text(TAG)
    finished.forget(args)
    assert not finished.is_finished(args)
    latest.unlink()
    finished.mark(args)
    assert not finished.is_finished(args)  # without a checkpoint a run begins anew
