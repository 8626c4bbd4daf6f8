"""What we bind to in the host is there, is checked, and is given back."""

import argparse
import sys

import pytest
import ray
from support import commands
from support.host_arguments import host_arguments

from deltal_openrlhf import backends
from deltal_openrlhf.host import bindings
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.signatures import resolve
from deltal_openrlhf.host.strategy import DeltaLStrategy


def test_the_installed_host_has_every_symbol():
    assert bindings.check_host() == []


@pytest.mark.parametrize(
    ("symbol", "replacement", "says"),
    [
        (
            "openrlhf.models.loss:PolicyLoss.forward",
            lambda self, log_probs, old: None,
            "changed openrlhf.models.loss.PolicyLoss.forward",
        ),
        (
            "openrlhf.utils.loss_utils:iter_grad_accum_global_norm",
            None,
            "no usable openrlhf.utils.loss_utils.iter_grad_accum",
        ),
        (
            "openrlhf.trainer.ppo_trainer:BasePPOTrainer.train_step",
            lambda self, samples: None,
            "BasePPOTrainer.train_step: takes (self",
        ),
    ],
)
def test_a_changed_symbol_is_named_with_both_versions(symbol, replacement, says, monkeypatch):
    module, _, path = symbol.partition(":")
    *owners, name = path.split(".")
    owner = resolve(f"{module}:{'.'.join(owners)}") if owners else sys.modules[module]
    if replacement is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, replacement)
    problems = bindings.check_host()
    assert len(problems) == 1
    assert says in problems[0]
    assert "openrlhf 0.11.2" in problems[0]
    assert "\n" not in problems[0]


def test_a_changed_host_ends_the_command_with_exit_code_2_and_one_line():
    code = (
        "from deltal_openrlhf import cpu; cpu.install()\n"
        "from openrlhf.trainer.ray import ppo_actor\n"
        "ppo_actor.ActorPPOTrainer.ppo_train = lambda self, kl_ctl, extra: None\n"
        "from deltal_openrlhf.host import published\n"
        "published.is_unchanged = lambda: False\n"  # its files are as they were
        "from deltal_openrlhf.train.launch import main\n"
        "main(['--loss_agg', 'deltal'])\n"
    )
    ended = commands.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert ended.returncode == 2
    errors = [line for line in ended.stderr.splitlines() if line.startswith("deltal train: error: ")]
    assert len(errors) == 1
    assert "ActorPPOTrainer.ppo_train: takes (self, kl_ctl, extra), wanted (self, kl_ctl)" in errors[0]


def test_names_are_bound_for_the_block_only():
    from openrlhf.trainer import ppo_trainer
    from openrlhf.trainer.ray import ppo_actor
    from openrlhf.utils import deepspeed

    names = (
        (ppo_actor, "PolicyModelActor"),
        (deepspeed, "DeepspeedStrategy"),
        (ppo_trainer, "PPOTrainer"),
        (argparse.ArgumentParser, "parse_args"),
    )
    before = [getattr(*name) for name in names]
    with (
        pytest.raises(KeyError),
        bindings.host_classes_bound(),
        bindings.parser_bound(lambda parser: None, lambda namespace: None),
    ):
        assert not any(getattr(*name) is original for name, original in zip(names, before, strict=True))
        raise KeyError
    assert [getattr(*name) for name in names] == before


@pytest.mark.parametrize("name", backends.REGISTRY)
def test_the_classes_of_a_run_are_its_backends(name):
    """As the driver uses them: the flags are read after the names are bound, and the workers' classes travel to the controller."""
    from openrlhf.trainer.ray import launcher, ppo_actor
    from openrlhf.utils import deepspeed

    backend = backends.load(name)
    chosen = []
    with bindings.host_classes_bound(lambda: chosen[0]):
        chosen.append(backend)
        assert type(deepspeed.DeepspeedStrategy(args=host_arguments())) is backend.strategy()
        policy, reference = map(ray.cloudpickle.dumps, (ppo_actor.PolicyModelActor, launcher.ReferenceModelActor))
    policy, reference = map(ray.cloudpickle.loads, (policy, reference))
    assert issubclass(policy.__ray_metadata__.modified_class, backend.policy_actor())
    hosts = launcher.ReferenceModelActor.__ray_metadata__.modified_class
    ours = backend.reference_actor()
    assert reference.__ray_metadata__.class_name == (ours or hosts).__name__
    assert issubclass(backend.strategy(), DeltaLStrategy)


def test_other_parsers_are_left_alone():
    with bindings.parser_bound(
        lambda parser: pytest.fail("not the host's parser"), lambda namespace: pytest.fail("nor its result")
    ):
        parser = argparse.ArgumentParser()
        parser.add_argument("--alpha")
        assert parser.parse_args(["--alpha", "2"]).alpha == "2"


def test_rebound_needs_the_name_and_gives_inherited_ones_back():
    class Parent:
        name = 1

    class Child(Parent):
        pass

    with rebound(Child, "name", 2):
        assert Child.name == 2
    assert "name" not in vars(Child)
    with pytest.raises(AttributeError), rebound(Child, "other", 2):
        pass
