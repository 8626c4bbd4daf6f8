"""The Python API: its surface, what importing it costs, and Aggregation against the functions under it."""

import subprocess
import sys

import pytest
import torch

import deltal_openrlhf
from deltal_openrlhf import MODES, SCOPES, Aggregation, response_weights, scope_means

LENGTHS = torch.tensor([10, 200, 0, 40, 1000, 1000])
GROUPS = [0, 0, 0, 1, 1, 1]


def test_the_surface_is_frozen():
    """Adding a name is a decision: README and docs describe this surface."""
    assert deltal_openrlhf.__all__ == [
        "MODES",
        "SCOPES",
        "Aggregation",
        "__version__",
        "aggregate",
        "response_weights",
        "scope_means",
    ]
    assert dir(deltal_openrlhf) == sorted(deltal_openrlhf.__all__)
    assert MODES == (
        "token-mean",
        "seq-mean-token-mean",
        "seq-mean-token-sum-norm",
        "deltal",
        "prompt-mean",
        "balanced",
    )
    assert SCOPES == ("step", "rollout", "group")
    with pytest.raises(AttributeError, match="module 'deltal_openrlhf' has no attribute 'agregate'"):
        _ = deltal_openrlhf.agregate


def test_importing_loads_torch_only_when_it_is_used():
    code = """if True:
        import sys
        import deltal_openrlhf
        assert "torch" not in sys.modules, "import alone"
        from deltal_openrlhf import Aggregation
        hosts = {"openrlhf", "ray", "deepspeed", "vllm", "transformers", "megatron"} & set(sys.modules)
        assert "torch" in sys.modules and not hosts, hosts
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("mode", MODES[:3])
def test_modes_of_the_step_alone(mode):
    aggregation = Aggregation(mode, max_length=1024)
    assert not aggregation.spans_steps and aggregation.scope_means(LENGTHS, GROUPS) is None
    assert torch.equal(aggregation.weights(LENGTHS), response_weights(LENGTHS, mode=mode, max_length=1024))


@pytest.mark.parametrize("scope", SCOPES)
def test_deltal_over_a_whole_rollout_and_in_steps(scope):
    aggregation = Aggregation("deltal", alpha=0.75, scope=scope, max_length=1024)
    groups = {"step": None, "rollout": [0] * 6, "group": GROUPS}[scope]
    means = None if groups is None else scope_means(LENGTHS, groups, alpha=0.75)

    def wanted(rows):
        part = None if means is None else means[rows]
        return response_weights(LENGTHS[rows], mode="deltal", alpha=0.75, max_length=1024, scope_means=part)

    assert torch.equal(aggregation.weights(LENGTHS, GROUPS), wanted(slice(None)))
    of_rollout = aggregation.scope_means(LENGTHS, GROUPS)
    assert aggregation.spans_steps == (of_rollout is not None) == (scope != "step")
    for rows in (slice(0, 3), slice(3, 6)):
        part = None if of_rollout is None else of_rollout[rows]
        assert torch.equal(aggregation.weights(LENGTHS[rows], scope_means=part), wanted(rows))
    if scope == "rollout":  # negative control: a step of its own is another rollout
        assert not torch.equal(aggregation.weights(LENGTHS[:3]), wanted(slice(0, 3)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "mean"}, "mode is 'mean', allowed are token-mean"),
        ({"mode": "deltal", "max_length": 8}, "alpha is None, allowed is a number from 0 to 1"),
        ({"mode": "deltal", "alpha": 1.5, "max_length": 8}, "alpha is 1.5, allowed is"),
        ({"mode": "deltal", "alpha": 1}, r"max_length \(M\) is None, allowed is"),
        ({"mode": "seq-mean-token-sum-norm"}, r"max_length \(M\) is None, allowed is"),
        ({"mode": "token-mean", "max_length": -1}, r"max_length \(M\) is -1, allowed is"),
        ({"mode": "deltal", "alpha": 1, "max_length": 8, "scope": "batch"}, "scope is 'batch', allowed are step"),
        ({"mode": "token-mean", "alpha": 0.5}, "alpha is 0.5, but mode is token-mean; it is allowed with deltal only"),
        ({"mode": "token-mean", "scope": "step"}, "scope is step, but mode is token-mean"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Aggregation(**fields)


def test_means_that_the_scope_does_not_use_are_refused():
    for aggregation in (Aggregation("deltal", alpha=1, max_length=8), Aggregation("token-mean")):
        with pytest.raises(
            ValueError,
            match="scope_means was given with mode .* and scope None, which take only the step's own lengths",
        ):
            aggregation.weights(LENGTHS, scope_means=torch.ones(6))


def test_the_scope_group_asks_for_groups():
    with pytest.raises(ValueError, match="groups is None, the scope group needs the prompt id of every response"):
        Aggregation("deltal", alpha=1, scope="group", max_length=8).weights(LENGTHS)


def test_lengths_may_be_a_plain_list():
    rule = Aggregation("deltal", alpha=1.0, max_length=100)
    assert rule.weights([10, 20]).tolist() == rule.weights(torch.tensor([10, 20])).tolist()
    by_group = Aggregation("deltal", alpha=1.0, max_length=100, scope="group")
    assert by_group.scope_means([10, 20], [0, 0]).tolist() == pytest.approx([0.075, 0.075])
    with pytest.raises(ValueError, match="lengths has shape"):
        rule.weights([[10, 20]])
