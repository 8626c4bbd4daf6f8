"""The adapter for SkyRL on a small stand-in of it: which settings it refuses, and what it hands on.

SkyRL itself runs in scripts/adapter_check.py.
"""

from dataclasses import dataclass, fields
from types import SimpleNamespace

import pytest
import torch
from support.adapters import DELTAL, ROLLOUT, Data

from deltal_openrlhf.aggregation import Aggregation


@dataclass
class AlgorithmConfig:
    loss_reduction: str = "seq_mean_token_sum_norm"
    policy_loss_type: str = "regular"
    max_seq_len: int = 100


@dataclass
class GeneratorConfig:
    step_wise_trajectories: bool = False


class RayPPOTrainer:
    def __init__(self, cfg, tracker=None):
        self.cfg = cfg

    def _normalize_advantages(self, data, mini_batch_boundaries, prompt_boundaries=None):
        for start, end in mini_batch_boundaries:
            data["advantages"][start:end] /= (end - start) * self.cfg.trainer.algorithm.max_seq_len
        return data


@pytest.fixture
def skyrl(imported):
    return imported(
        "skyrl",
        {
            "skyrl": {},
            "skyrl.train.trainer": {"RayPPOTrainer": RayPPOTrainer},
            "skyrl.train.config": {"AlgorithmConfig": AlgorithmConfig, "GeneratorConfig": GeneratorConfig},
            "skyrl.backends.skyrl_train.utils.ppo_utils": {"reduce_loss": lambda loss, loss_mask: None},
        },
    )


def skyrl_settings(**changed):
    algorithm = AlgorithmConfig(**{name: value for name, value in changed.items() if name in names(AlgorithmConfig)})
    generator = GeneratorConfig(**{name: value for name, value in changed.items() if name in names(GeneratorConfig)})
    return SimpleNamespace(trainer=SimpleNamespace(algorithm=algorithm), generator=generator)


def names(config):
    return {one.name for one in fields(config)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"loss_reduction": "token_mean"},
            "trainer.algorithm.loss_reduction is token_mean, allowed is seq_mean_token_sum_norm",
        ),
        (
            {"policy_loss_type": "kl_cov"},
            "trainer.algorithm.policy_loss_type is kl_cov, allowed is regular, dual_clip, gspo, cispo",
        ),
        ({"step_wise_trajectories": True}, "generator.step_wise_trajectories is True, allowed is False"),
    ],
)
def test_skyrl_refuses_settings_before_it_starts(skyrl, changed, message):
    with pytest.raises(ValueError) as raised:
        skyrl.AggregationTrainer(skyrl_settings(**changed), aggregation=DELTAL)
    assert str(raised.value) == message


def test_skyrl_scales_the_advantages_of_each_step_and_rows_that_pad_take_no_part(skyrl):
    trainer = skyrl.AggregationTrainer(cfg=skyrl_settings(), aggregation=ROLLOUT)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    data = Data(advantages=torch.ones(4, 4), loss_mask=mask)
    data.metadata = {"uids": ["a", "a", "b"]}
    scaled = trainer._normalize_advantages(data, [(0, 2), (2, 3)])["advantages"][:, 0]
    mean = (1 / 2 + 1 + 1 / 4) / 3
    assert torch.allclose(scaled, torch.tensor([1 / 2 / mean / 20, 1 / mean / 20, 1 / 4 / mean / 10, 0]))


@pytest.mark.parametrize("mode", ["balanced", "prompt-mean"])
def test_skyrl_with_balanced_refuses_advantages_of_both_signs(skyrl, mode):
    trainer = skyrl.AggregationTrainer(cfg=skyrl_settings(), aggregation=Aggregation(mode))
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])

    def scaled(*advantages):
        data = Data(advantages=torch.tensor(advantages), loss_mask=mask)
        data.metadata = {"uids": ["a", "a"]}
        return trainer._normalize_advantages(data, [(0, 2)])["advantages"]

    taken = scaled([3.0, 1.0, -9.0], [2.0, 2.0, 2.0])  # the -9 is of a token that is not trained
    assert torch.allclose(taken[:, :2], torch.tensor([[3.0, 1.0], [2.0, 2.0]]) / 5)
    if mode == "balanced":
        with pytest.raises(ValueError, match="advantages of different signs"):
            scaled([3.0, -1.0, 0.0], [2.0, 2.0, 2.0])  # their sum has one
    else:
        assert torch.allclose(scaled([3.0, -1.0, 0.0], [2.0, 2.0, 2.0])[0, :2], torch.tensor([3.0, -1.0]) / 5)
