"""The weights that the rollout engine gets in a LoRA run."""

import copy

import torch

from deltal_openrlhf.host.lora import merged_parameters
from deltal_openrlhf.parity.cases import make_model


def test_names_and_values_are_those_of_the_merged_base_model_and_nothing_is_changed():
    plain, model = make_model(lora=False), make_model(lora=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got = dict(merged_parameters(model))
    assert set(got) == {name for name, _ in plain.named_parameters()}
    merged = dict(copy.deepcopy(model).merge_and_unload().named_parameters())
    for name, value in got.items():
        assert (value.shape, value.dtype) == (merged[name].shape, merged[name].dtype)
        assert torch.allclose(value.data, merged[name], atol=1e-6)
    moved = [name for name, value in got.items() if not torch.equal(value.data, dict(plain.named_parameters())[name])]
    assert any("q_proj" in name for name in moved)  # the adapters of make_model are not zero
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
