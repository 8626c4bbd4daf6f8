"""The adapter for TRL on a small stand-in of it: which settings it refuses, and what it hands on.

TRL itself runs in test_adapter_trl.py and scripts/adapter_check.py.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from support.adapters import DELTAL

from deltal_openrlhf.aggregation import Aggregation


@dataclass
class GRPOConfig:
    loss_type: str = "dr_grpo"
    gradient_accumulation_steps: int = 2
    max_completion_length: int = 16
    steps_per_generation: int = 4
    top_entropy_quantile: float = 1.0
    use_liger_kernel: bool = False


class GRPOTrainer:
    begun = 0

    def __init__(self, model, reward_funcs=None, args=None, train_dataset=None):
        self.args = args
        GRPOTrainer.begun += 1

    def _prepare_inputs(self, generation_batch): ...
    def _generate_and_score_completions(self, inputs): ...
    def _compute_loss(self, model, inputs): ...


@pytest.fixture
def trl(imported):
    host = {"GRPOTrainer": GRPOTrainer, "GRPOConfig": GRPOConfig}
    return imported("trl", {"trl": host, "trl.trainer.grpo_trainer": host})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (None, "loss_type is None, allowed is dr_grpo, cispo"),
        (GRPOConfig(loss_type="dapo"), "loss_type is dapo, allowed is dr_grpo, cispo"),
        (
            GRPOConfig(steps_per_generation=3),
            "steps_per_generation is 3, allowed is a multiple of gradient_accumulation_steps, 2",
        ),
        (
            GRPOConfig(steps_per_generation=1),
            "steps_per_generation is 1, allowed is a multiple of gradient_accumulation_steps, 2",
        ),
        (GRPOConfig(top_entropy_quantile=0.2), "top_entropy_quantile is 0.2, allowed is 1.0"),
        (GRPOConfig(use_liger_kernel=True), "use_liger_kernel is True, allowed is False"),
    ],
)
def test_trl_refuses_settings_before_it_loads_a_model(trl, monkeypatch, args, message):
    monkeypatch.setattr(GRPOTrainer, "begun", 0)
    with pytest.raises(ValueError) as raised:
        trl.AggregationTrainer("model", args=args, aggregation=DELTAL)
    assert str(raised.value) == message and GRPOTrainer.begun == 0


def test_trl_takes_the_arguments_of_the_host(trl):
    trainer = trl.AggregationTrainer("model", args=GRPOConfig(), aggregation=DELTAL)
    assert trainer.aggregation is DELTAL and trainer.args == GRPOConfig()
    with pytest.raises(ValueError, match="loss_type is None"):
        trl.AggregationTrainer("model", aggregation=DELTAL)
    with pytest.raises(ValueError, match="aggregation is 'deltal', allowed is an Aggregation"):
        trl.AggregationTrainer("model", args=GRPOConfig(), aggregation="deltal")
    with pytest.raises(TypeError, match="unexpected keyword argument 'reward_functions'"):
        trl.AggregationTrainer("model", reward_functions=[], args=GRPOConfig(), aggregation=DELTAL)


def trl_batches(*advantages):
    """One micro batch of one response for each row of per-token advantages. The last token is not trained."""
    mask = torch.tensor([[1, 1, 1, 0]])
    return [
        {"completion_mask": mask, "tool_mask": mask, "advantages": torch.tensor([row]), "group": torch.tensor([0])}
        for row in advantages
    ]


@pytest.mark.parametrize("mode", ["balanced", "prompt-mean"])
def test_trl_takes_advantages_of_tokens_and_balanced_refuses_those_of_both_signs(trl, mode):
    trainer = trl.AggregationTrainer("model", args=GRPOConfig(), aggregation=Aggregation(mode))
    trainer.accelerator = SimpleNamespace(gather=lambda tensor: tensor, process_index=0)
    trainer.max_completion_length, trainer.loss_type = 16, "dr_grpo"
    batches = trl_batches([1.0, 2.0, 3.0, -9.0], [-1.0, -1.0, -1.0, 0.0])
    trainer._weigh(batches)
    # x is 1/6 in both modes, and D is 2 responses times 16.
    assert torch.allclose(batches[0]["advantages"][0, :3], torch.tensor([1.0, 2.0, 3.0]) / 6 * 32)
    mixed = trl_batches([1.0, 2.0, -1.0, 0.0], [-1.0, -1.0, -1.0, 0.0])
    if mode == "balanced":
        with pytest.raises(ValueError, match="advantages of different signs"):
            trainer._weigh(mixed)
    else:
        trainer._weigh(mixed)
        assert torch.allclose(mixed[0]["advantages"][0, :3], torch.tensor([1.0, 2.0, -1.0]) / 6 * 32)


def test_a_trl_that_changed_is_named(imported, monkeypatch):
    monkeypatch.setattr(GRPOTrainer, "_prepare_inputs", lambda self, inputs: None)
    host = {"GRPOTrainer": GRPOTrainer, "GRPOConfig": GRPOConfig}
    with pytest.raises(
        ImportError, match=r"changed trl.trainer.grpo_trainer.GRPOTrainer._prepare_inputs: it takes \(self, inputs\)"
    ):
        imported("trl", {"trl": host, "trl.trainer.grpo_trainer": host})
