"""Adapters say in one line that their trainer is missing or has changed, and compute weights of every step of a rollout batch."""

import importlib
import sys

import pytest
import torch

from deltal_openrlhf.adapters.checks import aggregation_of, allow, require
from deltal_openrlhf.adapters.weights import numbered, rollout_weights
from deltal_openrlhf.aggregation import Aggregation, response_signs

HOST = """
class Trainer:
    def __init__(self, model, args=None):
        pass

    def prepare(self, batch, *, train=True):
        pass

class Wrapped:
    pass

class Actor(Trainer):
    def prepare(self, batch, *, train=True, _ray_trace_ctx=None):
        pass

class Metadata:
    modified_class = Actor

Wrapped.__ray_metadata__ = Metadata
"""


@pytest.mark.parametrize("name", ["trl", "verl", "skyrl", "slime"])
def test_without_its_trainer_an_adapter_says_so_in_one_line(name):
    with pytest.raises(ImportError, match=rf"^{name} is not installed; this adapter was checked with {name} [\d.]+$"):
        importlib.import_module(f"deltal_openrlhf.adapters.{name}")


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "a_trainer").mkdir()
    (tmp_path / "a_trainer" / "__init__.py").write_text(HOST)
    (tmp_path / "a_trainer" / "broken.py").write_text("import a_package_that_is_nowhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("a_trainer")]:
        del sys.modules[name]


def required(exactly=(), among=()):
    require("a_trainer", "1.2", exactly=dict(exactly), among=dict(among))


def test_a_host_that_is_as_wanted_passes(host):
    required({"a_trainer:Trainer.prepare": "self, batch, train"}, {"a_trainer:Trainer": "args"})
    required({"a_trainer:Wrapped.prepare": "self, batch, train"})  # Ray's wrapper is looked through
    assert "a_trainer" in sys.modules  # it was looked at


@pytest.mark.parametrize(
    ("exactly", "among", "message"),
    [
        (
            {"a_trainer:Trainer.prepare": "self, batch"},
            {},
            "a_trainer changed a_trainer.Trainer.prepare: it takes (self, batch, train), wanted (self, batch)",
        ),
        (
            {},
            {"a_trainer:Trainer": "loss_type, args, steps"},
            "a_trainer changed a_trainer.Trainer: it takes no loss_type, steps",
        ),
        (
            {"a_trainer:Trainer.gone": "self"},
            {},
            "a_trainer has no usable a_trainer.Trainer.gone (type object 'Trainer' has no attribute 'gone')",
        ),
        (
            {"a_trainer.broken:Trainer": "self"},
            {},
            "a_trainer has no usable a_trainer.broken.Trainer (No module named 'a_package_that_is_nowhere')",
        ),
    ],
)
def test_a_host_that_changed_is_named_in_one_line(host, exactly, among, message):
    with pytest.raises(ImportError) as raised:
        required(exactly, among)
    assert str(raised.value) == f"{message}; this adapter was checked with a_trainer 1.2"


def test_a_setting_that_is_not_allowed_is_named():
    allow("loss_type", "dr_grpo", "dr_grpo", "cispo")
    with pytest.raises(ValueError, match=r"^loss_type is dapo, allowed is dr_grpo, cispo$"):
        allow("loss_type", "dapo", "dr_grpo", "cispo")


def test_an_aggregation_is_no_name():
    assert aggregation_of(Aggregation("token-mean")) == Aggregation("token-mean")
    for other in ("deltal", None):
        with pytest.raises(
            ValueError, match=f"^aggregation is {other!r}, allowed is an Aggregation of deltal_openrlhf$"
        ):
            aggregation_of(other)


def test_weights_of_each_step_and_of_the_whole_rollout():
    lengths, groups = torch.tensor([4.0, 1.0, 0.0, 16.0, 4.0]), torch.tensor([0, 0, 1, 1, 1])
    steps, advantages = [torch.tensor([3, 0]), torch.tensor([1, 2])], torch.tensor([1.0, -1.0, 1.0, 1.0, 2.0])

    def weights(**settings):
        aggregation = Aggregation(settings.pop("mode", "deltal"), **settings)
        return rollout_weights(aggregation, lengths, steps, groups=groups, advantages=advantages).tolist()

    of_step = weights(alpha=0.5, max_length=10)  # w = 1/2, 1, 0, 1/4, 1/2
    assert of_step == pytest.approx([2 / 3 / 10, 1 / 10, 0, 1 / 3 / 10, 0])
    of_rollout = weights(alpha=0.5, max_length=10, scope="rollout")  # mean of w is 9/16
    assert of_rollout == pytest.approx([8 / 9 / 20, 16 / 9 / 10, 0, 4 / 9 / 20, 0])
    of_group = weights(alpha=0.5, max_length=10, scope="group")  # means are 3/4 and 3/8
    assert of_group == pytest.approx([2 / 3 / 20, 4 / 3 / 10, 0, 2 / 3 / 20, 0])
    # Two prompts with 5 and 20 tokens; 4 responses, of which a step has 2 and 1.
    assert weights(mode="prompt-mean") == pytest.approx([4 / 2 / 10, 4 / 10, 0, 4 / 2 / 40, 0])
    assert weights(mode="balanced") == pytest.approx([4 / 2 / 2 / 2 / 4, 4 / 2 / 2 / 1, 0, 4 / 2 / 40, 0])


def test_responses_have_the_sign_that_their_trained_tokens_share():
    advantages = torch.tensor([[2.0, 1.0, -1.0], [-3.0, -1.0, 5.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert response_signs(advantages, mask).tolist() == [1, -1, 0, 0]
    mixed = torch.tensor([[2.0, -1.0], [0.0, 1.0], [0.0, -1.0], [1.0, torch.nan], [1.0, 1.0]])
    signs = response_signs(mixed, torch.ones(5, 2))
    assert signs.isnan().tolist() == [True] * 4 + [False]

    def weights(mode):
        groups = torch.zeros(5, dtype=torch.long)
        return rollout_weights(
            Aggregation(mode), torch.full((5,), 2), [torch.arange(5)], groups=groups, advantages=signs
        )

    with pytest.raises(
        ValueError, match=r"^the tokens of a response have advantages of different signs, or NaN; balanced"
    ):
        weights("balanced")
    assert weights("prompt-mean").tolist() == pytest.approx([0.1] * 5)


def test_names_are_numbered_in_their_order():
    assert numbered(["b", "a", "b", None]).tolist() == [0, 1, 0, 2]
