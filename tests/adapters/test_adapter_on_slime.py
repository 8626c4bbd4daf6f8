"""The adapter for slime on a small stand-in of it: which settings it refuses, and what it hands on.

slime itself runs in scripts/adapter_check.py.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from support.adapters import DELTAL, ROLLOUT

from deltal_openrlhf.aggregation import Aggregation


@dataclass
class Sample:
    group_index: int | None = None
    rollout_id: int | None = None
    length: int = 1
    reward: float = 1.0


class Manager:
    def _convert_samples_to_train_data(self, samples):
        assert self.custom_convert_samples_to_train_data_func is None
        raw, rewards = self._post_process_rewards(samples)
        ids = [one.rollout_id for one in samples]
        sums = [sum(one.length for one in samples if one.rollout_id == name) for name in ids]
        return {
            "rewards": rewards,
            "raw_reward": raw,
            "rollout_ids": ids,
            "rollout_mask_sums": sums,
            "other": self.args,
        }

    def _post_process_rewards(self, samples):
        if self.custom_reward_post_process_func is not None:
            return self.custom_reward_post_process_func(self.args, samples)
        return [one.reward for one in samples], [one.reward for one in samples]


def build_dp_schedule(args, train_parallel_config, total_lengths, *, global_batch_size, rollout_indices): ...


@pytest.fixture
def slime(imported):
    remote = type("Remote", (), {"__ray_metadata__": SimpleNamespace(modified_class=Manager)})
    return imported(
        "slime",
        {
            "slime": {},
            "slime.ray.rollout": {"RolloutManager": remote},
            "slime.utils.dp_schedule": {"build_dp_schedule": build_dp_schedule},
            "slime.utils.types": {"Sample": Sample},
            "slime.utils.misc": {
                "load_function": lambda path: {"my.rewards": lambda args, samples: ([0.0], [7.0])}[path]
            },
        },
    )


def slime_settings(**changed):
    settings = {
        "loss_type": "policy_loss",
        "use_critic": False,
        "calculate_per_token_loss": False,
        "custom_pg_loss_reducer_function_path": None,
        "custom_reward_post_process_path": None,
        "advantage_estimator": "grpo",
        "normalize_advantages": False,
        "use_opd": False,
        "custom_advantage_function_path": None,
        "global_batch_size": 2,
    }
    return SimpleNamespace(**settings | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss_type": "sft_loss"}, "--loss-type is sft_loss, allowed is policy_loss"),
        ({"use_critic": True}, "--advantage-estimator is ppo, allowed is one without a critic"),
        ({"calculate_per_token_loss": True}, "--calculate-per-token-loss is True, allowed is False"),
        (
            {"custom_pg_loss_reducer_function_path": "a.b"},
            "--custom-pg-loss-reducer-function-path is a.b, allowed is None",
        ),
    ],
)
def test_slime_refuses_settings_at_the_first_conversion(slime, changed, message):
    with pytest.raises(ValueError) as raised:
        slime.converter(DELTAL)(slime_settings(**changed), [Sample()])
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"advantage_estimator": "reinforce_plus_plus"},
            "--advantage-estimator is reinforce_plus_plus, allowed is grpo, gspo, cispo",
        ),
        (
            {"advantage_estimator": "reinforce_plus_plus_baseline"},
            "--advantage-estimator is reinforce_plus_plus_baseline, allowed is grpo, gspo, cispo",
        ),
        ({"normalize_advantages": True}, "--normalize-advantages is True, allowed is False"),
        ({"use_opd": True}, "--use-opd is True, allowed is False"),
        ({"custom_advantage_function_path": "a.b"}, "--custom-advantage-function-path is a.b, allowed is None"),
    ],
)
def test_slime_with_balanced_refuses_advantages_of_other_signs_than_rewards(slime, changed, message):
    samples = [Sample(0, 0, 3, 1.0), Sample(0, 1, 5, -1.0)]
    with pytest.raises(ValueError) as raised:
        slime.converter(Aggregation("balanced"))(slime_settings(**changed), samples)
    assert str(raised.value) == f"with balanced, {message}"
    taken = slime.converter(Aggregation("prompt-mean"))(slime_settings(**changed), samples)
    assert taken["rollout_mask_sums"] == pytest.approx([4, 4])  # x is 1 / 8


def test_slime_with_balanced_takes_the_signs_of_rewards(slime):
    convert = slime.converter(Aggregation("balanced"))
    samples = [Sample(0, 0, 3, 1.0), Sample(0, 1, 5, -1.0), Sample(0, 1, 1, -2.0)]
    # x is 1/2 / 3 and 1/2 / 6, and G is 2.
    assert convert(slime_settings(), samples)["rollout_mask_sums"] == pytest.approx([3, 6, 6])
    samples[2].reward = 2.0  # of the same rollout as the one before
    with pytest.raises(ValueError, match="advantages of different signs"):
        convert(slime_settings(), samples)


@pytest.mark.parametrize(
    ("aggregation", "what"),
    [
        (Aggregation("prompt-mean"), "prompt-mean"),
        (Aggregation("balanced"), "balanced"),
        (Aggregation("deltal", alpha=1.0, max_length=10, scope="group"), "the scope group"),
    ],
)
def test_slime_refuses_samples_without_a_prompt_where_the_prompt_matters(slime, aggregation, what):
    samples = [Sample(0, 0, 3), Sample(None, 1, 3)]
    with pytest.raises(ValueError) as raised:
        slime.converter(aggregation)(slime_settings(), samples)
    assert str(raised.value) == f"Sample.group_index is None, allowed with {what} is the number of the prompt"
    assert slime.converter(ROLLOUT)(slime_settings(), samples)["rollout_mask_sums"] == pytest.approx([10, 10])


def test_slime_gets_divisors_that_make_the_weights_of_rollouts(slime):
    # Rollout 7 has two samples; a third step would be incomplete, and slime drops it.
    lengths = {7: [2, 2], 3: [1], 5: [0], 9: [8], 1: [5]}
    samples = [Sample(0, name, length) for name, each in lengths.items() for length in each]
    data = slime.converter(DELTAL)(slime_settings(), samples)
    # M / G over the shares of L^-1 in a step: 1/5 and 4/5, then all of it for the rollout that has tokens.
    wanted = [5 * 5, 5 * 5, 5 * 5 / 4, 1, 5, 1]
    assert data["rollout_mask_sums"] == pytest.approx(wanted) and data["other"].global_batch_size == 2


@pytest.mark.parametrize(
    ("aggregation", "end"),
    [
        (Aggregation("deltal", alpha=1.0, max_length=1), "; max_length (M) is 1, allowed is 1.875 or more"),
        (Aggregation("token-mean"), ""),
    ],
)
def test_slime_says_when_a_divisor_would_be_below_one(slime, aggregation, end):
    lengths = (1, 15) if end else (1, 0)
    with pytest.raises(ValueError) as raised:
        slime.converter(aggregation)(
            slime_settings(), [Sample(0, number, length) for number, length in enumerate(lengths)]
        )
    least = "0.533" if end else "0.5"
    assert str(raised.value) == f"a divisor would be {least}, and slime divides by no less than 1{end}"


def test_slime_keeps_the_rewards_function_of_the_user(slime):
    data = slime.converter(DELTAL)(
        slime_settings(custom_reward_post_process_path="my.rewards", global_batch_size=1), [Sample(0, 0, 3)]
    )
    assert data["rewards"] == [7.0] and data["raw_reward"] == [0.0]
