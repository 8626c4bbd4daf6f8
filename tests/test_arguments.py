"""The view of the host's arguments against what its own parser makes, with our flags and those of Megatron on it."""

import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from support.host_arguments import host_arguments

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments, Critic

MODEL = ("--actor.model_name_or_path", "some/model")


def mismatches(view: type, given: Any, prefix: str = "--") -> list[str]:
    """The fields of a view that the parser does not make, or makes with a value of another type."""
    found = []
    for name, wanted in get_type_hints(view).items():
        flag = prefix + name
        if not hasattr(given, name):
            found.append(f"{flag} is not a flag")
        elif getattr(wanted, "_is_protocol", False):
            found += mismatches(wanted, getattr(given, name), f"{flag}.")
        elif not fits(getattr(given, name), wanted):
            found.append(f"{flag} is {getattr(given, name)!r}, declared as {wanted}")
    return found


def fits(value: object, wanted: Any) -> bool:
    if get_origin(wanted) in (Union, types.UnionType):
        return any(fits(value, choice) for choice in get_args(wanted))
    if get_origin(wanted) in (list, Sequence):
        (of,) = get_args(wanted)
        return isinstance(value, get_origin(wanted)) and all(fits(item, of) for item in value)
    if wanted is float:
        return type(value) in (int, float)
    if wanted is str:
        return isinstance(value, str)  # an address with a password hides it in what is printed
    return type(value) is wanted


def test_every_field_is_a_flag_and_has_its_type():
    cpu.install()
    assert mismatches(Arguments, host_arguments(*MODEL)) == []


def test_given_values_have_their_types():
    cpu.install()
    numbers = ("--deltal.max_length", "8", "--megatron.max_tokens_per_micro_batch", "64", "--vllm.num_engines", "2")
    lists = ("--actor.adam.betas", "0.9", "0.99", "--actor.eps_clip_low_high", "0.2", "0.3", "--config", "run.yaml")
    texts = ("--deltal.scope", "group", "--reward.remote_url", "reward.py", "--eval.dataset", "eval.jsonl", "--dry_run")
    args = host_arguments(*MODEL, *numbers, *lists, *texts)
    assert mismatches(Arguments, args) == []
    assert args.vllm.num_engines == 2 and args.config == ["run.yaml"]


def test_a_field_that_is_no_flag_is_found():
    args = types.SimpleNamespace(num_nodes=1, num_gpus_per_node=2.0, model_name_or_path=None)
    assert mismatches(Critic, args) == [
        "--num_gpus_per_node is 2.0, declared as <class 'int'>",
        "--freezing_steps is not a flag",
    ]
