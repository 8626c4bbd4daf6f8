"""Each adapter on a small stand-in of its trainer: which settings it refuses, and what it hands on.

The trainers themselves run in scripts/adapter_check.py; TRL's runs in test_adapter_trl.py.
"""

import functools
import importlib
import sys
from dataclasses import dataclass, field, fields
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from deltal_openrlhf.aggregation import Aggregation

DELTAL = Aggregation("deltal", alpha=1.0, max_length=10)
ROLLOUT = Aggregation("deltal", alpha=1.0, max_length=10, scope="rollout")


@pytest.fixture
def imported(monkeypatch):
    """imported(name, {module: {name: value}}): the adapter, with these modules in place of its trainer's."""
    adapters = importlib.import_module("deltal_openrlhf.adapters")

    def load(name: str, modules: dict[str, dict[str, Any]]) -> Any:
        everything = {parent: {} for path in modules for parent in parents(path)} | modules
        for path, contents in everything.items():
            module = ModuleType(path)
            module.__spec__, module.__path__ = ModuleSpec(path, None), []
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, path, module)
        adapter = importlib.import_module(f"deltal_openrlhf.adapters.{name}")
        delattr(adapters, name)  # a later import is of the real trainer
        del sys.modules[adapter.__name__]
        return adapter

    return load


class Data(dict):
    """A trainer's batch."""

    metadata: Any

    def copy(self):
        return Data(self)

    def update(self, values):
        super().update(values)
        return self


def parents(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


# ── TRL ──


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


# ── verl ──

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


# ── SkyRL ──


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


# ── slime ──


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
