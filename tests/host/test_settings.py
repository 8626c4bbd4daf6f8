"""Flags to settings, by the host's own parser; and every refusal in one line."""

from types import SimpleNamespace

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.aggregation import MODES
from deltal_openrlhf.backends import CLIENT_STATES
from deltal_openrlhf.host.controller import ControllerMixin, check_whole_rollouts
from deltal_openrlhf.host.deepspeed_backend import BACKEND
from deltal_openrlhf.host.features import EXACT, FEATURES, REFUSED, UNTOUCHED, check_features, table
from deltal_openrlhf.host.resume import check_resumed_backend, check_resumed_loss
from deltal_openrlhf.host.settings import HOST_MODES, LossSettings
from deltal_openrlhf.train import checks

# Sizes that fit together: the host's defaults do not (rollout 1024 x 1, train 128, 8 ranks).
SIZES = (
    "--actor.num_gpus_per_node 2 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --rollout.micro_batch_size 4 "
    "--train.batch_size 16 --train.micro_batch_size 4 --reward.remote_url reward.py"
).split()


def settings(*flags: str) -> LossSettings:
    return LossSettings.from_args(host_arguments(*SIZES, *flags))


def test_the_two_commands_of_the_readme_mean_the_same():
    short = settings("--loss_agg", "deltal", "--alpha", "0.6", "--rollout.max_new_tokens", "1000")
    long = settings("--actor.loss_agg_mode", "deltal", "--deltal.alpha", "0.6", "--rollout.max_new_tokens", "1000")
    assert short == long == LossSettings("deltal", 0.6, "step", 1000.0, False)


def test_defaults():
    assert settings() == LossSettings("token-mean", None, None, 2048.0, False)  # M only scales a logged number
    assert not settings().weighted
    assert settings("--loss_agg", "deltal", "--data.max_len", "500").max_length == 500.0
    assert settings("--loss_agg", "deltal").alpha == 0.75
    assert (
        settings("--loss_agg", "deltal", "--deltal.max_length", "77", "--rollout.max_new_tokens", "9").max_length
        == 77.0
    )
    assert settings("--deltal.overlong_filtering").weighted
    agent = ("--train.agent_func_path", "agent.py", "--rollout.max_new_tokens", "9", "--data.max_len", "500")
    assert settings("--loss_agg", "deltal", *agent).max_length == 500.0  # the turns of an episode together


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--loss_agg deltal --alpha 1.5", "--alpha is 1.5, allowed is a number from 0 to 1"),
        ("--loss_agg deltal --alpha -0.1", "--alpha is -0.1, allowed"),
        ("--loss_agg deltal --alpha nan", "--alpha is nan, allowed"),
        ("--loss_agg deltal --deltal.max_length 0", "--deltal.max_length is 0, allowed is a finite number above 0"),
        ("--loss_agg deltal --deltal.max_length -3", "--deltal.max_length is -3, allowed"),
        ("--loss_agg deltal --deltal.max_length inf", "--deltal.max_length is inf, allowed"),
        ("--loss_agg token-mean --alpha 0.5", "--alpha is 0.5, but --loss_agg is token-mean"),
        ("--loss_agg seq-mean-token-sum-norm --deltal.scope group", "--deltal.scope is group"),
        (
            "--alpha 0.5 --deltal.scope group --deltal.max_length 10",
            "--alpha is 0.5, --deltal.scope is group, --deltal.max_length is 10.0, but --loss_agg is token-mean; --alpha is allowed with "
            "deltal only; --deltal.scope is allowed with deltal only; --deltal.max_length is allowed with seq-mean-token-sum-norm and "
            "deltal only",
        ),
        (
            "--loss_agg seq-mean-token-sum-norm --alpha 0.5 --deltal.max_length 10",
            "--alpha is 0.5, but --loss_agg is seq-mean-token-sum-norm; it is allowed with --loss_agg deltal only",
        ),
        ("--deltal.max_length 10", "--deltal.max_length is 10.0, but --loss_agg is token-mean"),
        (
            "--loss_agg deltal --deltal.scope group --rollout.n_samples_per_prompt 1",
            "--deltal.scope group needs groups",
        ),
        (
            "--loss_agg deltal --alpha auto --deltal.scope group",
            "--deltal.scope is group, allowed with --alpha auto is step or rollout",
        ),
        (
            "--actor.policy_loss_type gspo --alpha 0.5",
            "--alpha is 0.5, but --actor.policy_loss_type gspo is seq-mean-token-mean; it is allowed with --loss_agg deltal only",
        ),
        (
            "--loss_agg balanced --algo.advantage.estimator gae",
            "--algo.advantage.estimator is gae, which gives each token an advantage; allowed with --loss_agg balanced is any without",
        ),
        (
            "--loss_agg balanced --algo.kl.init_coef 0.1 --algo.advantage.estimator rloo",
            "--algo.kl.init_coef is 0.1, which changes the reward of each token; allowed with --loss_agg balanced is 0, or",
        ),
        (
            "--loss_agg balanced --algo.kl.init_coef 0 --algo.advantage.estimator reinforce --algo.advantage.gamma 0.9",
            "--algo.advantage.gamma is 0.9, which gives each token an advantage; allowed with --loss_agg balanced is 1",
        ),
        ("--loss_agg prompt-mean --deltal.max_length 9", "--deltal.max_length is 9.0, but --loss_agg is prompt-mean"),
        (
            "--deltal.baseline opo --algo.advantage.estimator rloo",
            "--algo.advantage.estimator is rloo, allowed with --deltal.baseline opo is dr_grpo or group_norm, whose mean it replaces",
        ),
        (
            "--deltal.baseline otb --algo.advantage.estimator dr_grpo --algo.kl.init_coef 0 --loss_agg balanced",
            "--deltal.baseline is otb, which gives each token an advantage; --loss_agg balanced needs one for a response",
        ),
        (
            "--deltal.baseline opo --algo.advantage.estimator dr_grpo --algo.kl.init_coef 0.1",
            "--algo.kl.init_coef is 0.1, which changes the reward of each token; allowed with --deltal.baseline opo is 0",
        ),
        ("--loss_agg deltal --ds.tensor_parallel_size 2", "--ds.tensor_parallel_size (tensor parallel (AutoTP))"),
        ("--loss_agg deltal --ds.ring_attn_size 2", "--ds.ring_attn_size (ring attention)"),
        ("--deltal.overlong_filtering --ds.deepcompile", "--ds.deepcompile (deepcompile)"),
        ("--vllm.sync_with_ray --vllm.sync_backend gloo", "--vllm.sync_with_ray fails with"),
        ("--ds.grad_accum_dtype fp32 --ds.zero_stage 1", "--ds.grad_accum_dtype fp32 with --ds.zero_stage 1"),
        ("--ds.lora.rank 8 --ds.zero_stage 3", "--ds.lora.rank is 8 with --ds.zero_stage 3"),
        ("--ds.lora.rank 8 --train.enable_ema", "--ds.lora.rank is 8 with --train.enable_ema"),
        ("--ds.lora.rank 8 --ds.load_in_4bit", "--ds.lora.rank is 8 with --ds.load_in_4bit"),
        ("--train.batch_size 24", "which is not a multiple of --train.batch_size, 24"),
        ("--train.micro_batch_size 3", "which is not a multiple of ranks x --train.micro_batch_size, 6"),
        ("--rollout.micro_batch_size 5", "which is not a multiple of ranks x --rollout.micro_batch_size, 10"),
    ],
)
def test_refusals_name_the_flag_the_value_and_what_is_allowed(flags, says):
    args = host_arguments(*SIZES, *flags.split())
    with pytest.raises(ValueError) as error:
        check_features(args, LossSettings.from_args(args))
        checks.check_batch_sizes(args, BACKEND)
        checks.check_placement(args)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flags", ["--loss_agg dr-grpo", "--deltal.scope prompt", "--alpha much", "--no_such_flag 3"])
def test_what_the_parser_refuses_is_one_line_and_exit_code_2(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        host_arguments(*SIZES, *flags.split())
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("deltal train: error: ")
    assert flags.split()[1] in error or flags.split()[0] in error


def test_help_has_the_hosts_flags_and_a_text_for_each_of_ours(capsys):
    with pytest.raises(SystemExit) as stop:
        host_arguments("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--algo.advantage.estimator" in text
    ours = text[text.index("∆L normalization") :]
    for flag in ("--loss_agg", "--alpha", "--deltal.scope", "--deltal.max_length", "--deltal.overlong_filtering"):
        assert flag in ours
    assert "--deltal.allow_changed_loss" in ours


def test_the_hosts_own_loss_keeps_every_feature_of_the_host():
    for feature in FEATURES:
        if feature.status == REFUSED:
            value = [] if feature.flag == "--ds.deepcompile" else ["2"]
            args = host_arguments(*SIZES, feature.flag, *value, "--actor.num_gpus_per_node", "4")
            check_features(args, LossSettings.from_args(args))


@pytest.mark.parametrize("mode", MODES)
def test_gspo_takes_every_mode_but_the_hosts_own_which_are_its_sequence_mean(mode):
    """As docs/reference/features.md says."""
    flags = f"--actor.policy_loss_type gspo --loss_agg {mode} --algo.kl.init_coef 0 --algo.advantage.estimator rloo"
    args = host_arguments(*SIZES, *flags.split())
    settings = LossSettings.from_args(args)
    check_features(args, settings)
    assert (settings.mode, settings.weighted) == (
        ("seq-mean-token-mean", False) if mode in HOST_MODES else (mode, True)
    )
    untouched, exact = (f for f in FEATURES if f.flag == "--actor.policy_loss_type gspo")
    if untouched.status != UNTOUCHED:
        untouched, exact = exact, untouched
    assert (untouched.status, exact.status) == (UNTOUCHED, EXACT)


def test_every_exact_feature_names_a_test_that_exists_and_the_doc_has_the_table():
    from pathlib import Path

    root = Path(__file__).parents[2]
    for feature in FEATURES:
        if feature.status == EXACT:
            assert (root / feature.why).exists(), feature
    assert table() in (root / "docs" / "reference" / "features.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("now", "saved", "names"),
    [
        (("deltal", 0.75, "step", 100.0, False), {"alpha": 0.5}, "alpha: saved 0.5, now 0.75"),
        (("deltal", 0.75, "step", 100.0, False), {"scope": "group"}, "scope: saved group, now step"),
        (("deltal", 0.75, "step", 100.0, False), {"max_length": 50.0}, "max_length: saved 50.0, now 100.0"),
        (("deltal", 0.75, "step", 100.0, False), {"mode": "token-mean"}, "mode: saved token-mean, now deltal"),
        (("deltal", 0.75, "step", 100.0, False), None, "mode: not saved"),
    ],
)
def test_a_checkpoint_of_another_loss_is_refused(now, saved, names):
    settings = LossSettings(*now)
    with pytest.raises(ValueError, match="--deltal.allow_changed_loss") as error:
        check_resumed_loss(settings, None if saved is None else settings.to_dict() | saved)
    assert names in str(error.value)


def test_a_checkpoint_of_the_same_loss_is_taken():
    for settings in (
        LossSettings("deltal", 0.75, "step", 100.0, False),
        LossSettings("token-mean", None, None, 100.0, False),
    ):
        check_resumed_loss(settings, settings.to_dict())
    check_resumed_loss(LossSettings("token-mean", None, None, 100.0, False), None)  # saved by the stock host


def test_a_critic_needs_whole_rollouts():
    args = host_arguments(*SIZES, "--critic.model_name_or_path", "critic")
    check_whole_rollouts(args, 16)
    with pytest.raises(ValueError, match="20 prompts are not a multiple of --rollout.batch_size 8"):
        check_whole_rollouts(args, 20)
    check_whole_rollouts(host_arguments(*SIZES, "--algo.advantage.estimator", "group_norm"), 20)


def test_a_run_that_was_killed_in_its_first_save_starts_anew(tmp_path):
    class Host:
        kl_ctl = None

        def init_checkpoint_states(
            self,
        ):  # as BasePPOTrainer's, where the folder is there and the workers found no checkpoint
            return {} if self.args.ckpt.load_enable else {"episode": 0, "global_step": 0, "data_loader_state_dict": {}}

    class Controller(ControllerMixin, Host):
        def _check_workers(self):
            pass

    controller = Controller()
    controller.args = host_arguments("--loss_agg", "deltal", "--ckpt.load_enable", "--ckpt.output_dir", str(tmp_path))
    states = controller.init_checkpoint_states()
    assert states == {"episode": 0, "global_step": 0, "data_loader_state_dict": {}}
    assert controller.args.ckpt.load_enable


@pytest.mark.parametrize(("saved", "now"), [("deepspeed", "megatron"), ("megatron", "deepspeed")])
def test_the_other_backends_checkpoint_is_refused_before_ray(tmp_path, saved, now):
    folder = tmp_path / "_actor" / "global_step5"
    folder.mkdir(parents=True)
    if saved == "megatron":
        (folder / CLIENT_STATES).touch()
    args = SimpleNamespace(ckpt=SimpleNamespace(path=str(tmp_path)), backend=saved)
    check_resumed_backend(args, "global_step5")
    args.backend = now
    with pytest.raises(
        ValueError,
        match=f"global_step5 in --ckpt.path .* was saved with --backend {saved}, this run has --backend {now}",
    ):
        check_resumed_backend(args, "global_step5")
    with pytest.raises(ValueError, match="global_step9 is not there, though `latest` next to it names it"):
        check_resumed_backend(args, "global_step9")
