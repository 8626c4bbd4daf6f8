"""Flags about data that are refused before any row is read."""

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.arguments import ALL_ROWS
from deltal_openrlhf.train.checks import check_label_key
from deltal_openrlhf.train.data_files import missing_flags, missing_models
from deltal_openrlhf.train.data_flags import check_data_flags

ONE = ["--data.prompt_dataset", "one.jsonl"]
TWO = ["--data.prompt_dataset", "one.jsonl,two.jsonl"]


def check(*flags: str) -> None:
    check_data_flags(host_arguments("--reward.remote_url", "reward.py", *flags))


def test_what_fits_passes():
    check(*ONE)
    check(*ONE, "--data.input_template", "User: {}\nPut the answer in \\boxed{{}}.", "--data.max_samples", "1")
    check(*TWO, "--data.prompt_probs", "0.25,0.75")
    check(*ONE, "--actor.model_name_or_path", "Qwen/Qwen2.5-3B")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--data.max_samples", "0"], r"--data.max_samples is 0, allowed is 1 or more"),
        (
            ["--data.input_template", "{} in \\boxed{}"],
            r"it has more than one {}; allowed is one {} for the prompt; .*\\boxed{{}}",
        ),
        (["--data.input_template", "{} in \\frac{a}{b}"], r"Python cannot fill it in \('a'\); allowed is one {}"),
        (["--data.input_template", "Solve: {prompt}"], r"without {}, so that OpenRLHF would drop it"),
        (
            ["--data.prompt_probs", "0.5,0.5"],
            r"--data.prompt_probs is 0.5,0.5, --data.prompt_dataset names 1 set; allowed is one",
        ),
        (
            [*TWO, "--data.prompt_probs", "0.5,0.6"],
            r"names 2 sets; allowed is one number above 0 for each set, with a sum of 1",
        ),
        ([*TWO, "--data.prompt_probs", "0,1"], r"one number above 0"),
        ([*TWO, "--data.prompt_probs", "a,b"], r"--data.prompt_probs is a,b"),
        (
            ["--deltal.skip_long_prompts", "--data.max_images_per_prompt", "1"],
            r"--data.max_images_per_prompt is 1; allowed is 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        check(*ONE, *flags)
    assert "\n" not in str(refused.value).replace("\\n", "")


def test_no_limit_of_rows_is_the_hosts_default():
    assert host_arguments("--reward.remote_url", "reward.py").data.max_samples == ALL_ROWS


def test_models_that_are_named_by_a_path_have_to_be_there():
    flags = (
        "--actor.model_name_or_path ./none --critic.model_name_or_path /no/such --reward.model_name_or_path /nor/this"
    )
    args = host_arguments("--reward.remote_url", "reward.py", *flags.split())
    assert missing_models(args) == [
        "--actor.model_name_or_path ./none: no such folder",
        "--critic.model_name_or_path /no/such: no such folder",
    ]
    assert missing_models(host_arguments("--actor.model_name_or_path", "Qwen/Qwen2.5-3B")) == []


@pytest.mark.parametrize("reward", ["reward.remote_url", "reward.model_name_or_path", "train.agent_func_path"])
def test_a_model_prompts_and_any_source_of_rewards_are_enough(reward):
    """Every command line that OpenRLHF runs has these."""
    given = {"actor.model_name_or_path": "m", "data.prompt_dataset": "hub/set", reward: "x"}
    assert (
        missing_flags(host_arguments(*(word for flag, value in given.items() for word in (f"--{flag}", value)))) == []
    )
    for left_out in given:
        rest = [word for flag, value in given.items() if flag != left_out for word in (f"--{flag}", value)]
        (line,) = missing_flags(host_arguments(*rest))
        named = [flag for flag in given if f"--{flag}" in line]
        assert line.startswith("not given: ") and named == [left_out]


def test_our_reward_service_needs_labels_and_another_one_need_not():
    args = host_arguments("--reward.remote_url", "http://127.0.0.1:1/")
    check_label_key(args)
    with pytest.raises(
        ValueError, match="^--data.label_key is not given, but --reward.remote_url http://127.0.0.1:1/ grades"
    ):
        check_label_key(args, has_our_service=True)
    check_label_key(
        host_arguments("--reward.remote_url", "http://127.0.0.1:1/", "--data.label_key", "label"), has_our_service=True
    )
    agent = host_arguments("--reward.remote_url", "deltal:math", "--train.agent_func_path", "agent.py")
    check_label_key(agent)  # gives its own rewards
