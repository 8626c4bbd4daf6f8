"""The adapter for verl on a small stand-in of it: which settings it refuses, and what it hands on.

verl itself runs in scripts/adapter_check.py.
"""

import functools
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.adapters import DELTAL, ROLLOUT, Data

OF_ONE_STEP = "one of a single optimizer step"


@dataclass
class FSDPActorConfig:
    strategy: str = "fsdp2"
    loss_agg_mode: str = "token-sum"
    entropy_coeff: float = 0
    use_kl_loss: bool = False
    policy_loss: Any = field(default_factory=lambda: SimpleNamespace(loss_mode="vanilla"))

    def __post_init__(self):
        self.checked = True


class BaseEngine:
    def train_batch(self, data, loss_function):
        return data

    def get_data_parallel_group(self):
        return None


class FSDPEngine(BaseEngine):
    pass


def ppo_loss(config, model_output, data, dp_group=None): ...


@pytest.fixture
def verl(imported):
    engines = {"fsdp": {"cuda": FSDPEngine}, "fsdp2": {"cuda": FSDPEngine}, "megatron": {"cuda": BaseEngine}}
    registry = type("EngineRegistry", (), {"_engines": {"language_model": engines}})
    return imported(
        "verl",
        {
            "verl": {},
            "verl.workers.engine": {"BaseEngine": BaseEngine, "EngineRegistry": registry},
            "verl.workers.config": {"FSDPActorConfig": FSDPActorConfig},
            "verl.workers.utils.losses": {"ppo_loss": ppo_loss},
        },
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "megatron"}, "actor.strategy is megatron, allowed is fsdp, fsdp2"),
        ({"loss_agg_mode": "token-mean"}, "actor.loss_agg_mode is token-mean, allowed is token-sum"),
        ({"entropy_coeff": 0.01}, "actor.entropy_coeff is 0.01, allowed is 0"),
        ({"use_kl_loss": True}, "actor.use_kl_loss is True, allowed is False"),
        (
            {"policy_loss": SimpleNamespace(loss_mode="kl_cov")},
            "actor.policy_loss.loss_mode is kl_cov, allowed is vanilla, gspo, gpg, cispo",
        ),
        ({"aggregation": None}, f"actor.aggregation is None, allowed is {OF_ONE_STEP}"),
        ({"aggregation": ROLLOUT}, f"actor.aggregation is {ROLLOUT}, allowed is {OF_ONE_STEP}"),
    ],
)
def test_verl_refuses_settings_when_the_configuration_is_made(verl, settings, message):
    with pytest.raises(ValueError) as raised:
        verl.AggregationActorConfig(**{"aggregation": DELTAL} | settings)
    assert str(raised.value) == message


def test_verl_scales_the_advantages_of_a_step_for_the_actor_alone(verl):
    engines = verl.EngineRegistry._engines["language_model"]
    assert engines["megatron"]["cuda"] is BaseEngine
    engine = engines["fsdp2"]["cuda"]()
    assert isinstance(engine, FSDPEngine) and type(engine).__name__ == "FSDPEngine"
    plain = functools.partial(ppo_loss, config=FSDPActorConfig())
    untouched = Data()  # before there is an actor with an aggregation
    assert engine.train_batch(untouched, plain) is untouched and engine.train_batch(untouched, print) is untouched
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
        data = Data(response_mask=mask, advantages=torch.ones(3, 3))
        config = verl.AggregationActorConfig(aggregation=DELTAL)
        assert config.checked
        weighed = engine.train_batch(data, functools.partial(ppo_loss, config=config))
        assert torch.allclose(weighed["advantages"][:, 0], torch.tensor([1 / 3, 2 / 3, 0]) / 10)
        assert torch.equal(data["advantages"], torch.ones(3, 3))  # what the next epoch gets
        for other in (plain, print, functools.partial(ppo_loss, config), lambda **_: None):
            with pytest.raises(RuntimeError, match=r"^the loss function of the actor has no AggregationActorConfig"):
                engine.train_batch(data, other)
        assert engines["megatron"]["cuda"]().train_batch(data, plain) is data  # an engine of another kind
        with pytest.raises(ValueError, match="the loss function of the actor is .*distillation_loss"):
            engine.train_batch(data, functools.partial(distillation_loss, config=config))
    finally:
        dist.destroy_process_group()


def distillation_loss(config, model_output, data, dp_group=None): ...
