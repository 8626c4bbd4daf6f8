"""ResponseWeightedPolicyLoss around the host's real PolicyLoss."""

import math

import pytest
import torch
from openrlhf.models import PolicyLoss

from deltal_openrlhf.aggregation import aggregate, response_weights
from deltal_openrlhf.host.policy_loss import ResponseWeightedPolicyLoss

VARIANTS = {
    "ppo": {},
    "dual clip": {"dual_clip": 3.0},
    "token mask": {"is_correction_level": "token", "is_correction_threshold": [0.9, 1.1]},
    "token clip": {"is_correction_level": "token", "is_correction_mode": "clip", "is_correction_threshold": [0.9, 1.1]},
    "sequence mask": {"is_correction_level": "seq", "is_correction_threshold": [0.97, 1.03]},
    "sequence kl": {
        "is_correction_level": "seq",
        "is_correction_gating": "binary_kl",
        "is_correction_threshold": [0.0, 0.01],
    },
}


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([7, 3, 12, 1, 12, 5])
    mask = torch.arange(12) < lengths[:, None]
    old = -2 + torch.randn(6, 12, generator=generator)
    log_probs = (old + 0.3 * torch.randn(6, 12, generator=generator)).requires_grad_(True)
    rollout = old + 0.1 * torch.randn(6, 12, generator=generator)
    advantages = torch.randn(6, 1, generator=generator) * mask
    return lengths, mask, log_probs, old, advantages, rollout


def counts(mask):
    return {
        "dp_size": 2,
        "batch_num_tokens": torch.tensor(float(mask.sum()) * 1.7),
        "global_batch_size": torch.tensor(9.0),
    }


@pytest.mark.parametrize("token_level", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_weights_the_host_values_are_kept_bit_for_bit(variant, token_level):
    lengths, mask, log_probs, old, advantages, rollout = batch()
    host = PolicyLoss(token_level_loss=token_level, **VARIANTS[variant])
    wanted = host(log_probs, old, advantages, action_mask=mask, rollout_log_probs=rollout, **counts(mask))
    wanted_gradient = torch.autograd.grad(wanted[0], log_probs)[0]
    ours = ResponseWeightedPolicyLoss(PolicyLoss(token_level_loss=token_level, **VARIANTS[variant]))
    got = ours(log_probs, old, advantages, action_mask=mask, rollout_log_probs=rollout, **counts(mask))
    assert torch.equal(torch.autograd.grad(got[0], log_probs)[0], wanted_gradient)
    for value, host_value in zip(got, wanted, strict=True):
        assert (value is None) == (host_value is None)
        assert value is None or torch.equal(value, host_value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_give_the_weighted_sum_of_the_host_token_losses_and_leave_its_metrics(variant):
    lengths, mask, log_probs, old, advantages, rollout = batch()
    x = response_weights(lengths, mode="deltal", alpha=0.75, max_length=12)
    host = PolicyLoss(**VARIANTS[variant])
    one = torch.ones(())
    token_losses = torch.zeros(6, 12)
    for i, t in mask.nonzero().tolist():  # the host's loss of one token at a time; sequence gates need the whole row
        values = []
        for weight in (1.0, 0.0):
            single = advantages.clone()
            single[i, t] *= weight
            row = slice(i, i + 1)
            arguments = (log_probs[row], old[row], single[row])
            values.append(
                host(*arguments, action_mask=mask[row], rollout_log_probs=rollout[row], batch_num_tokens=one)[0]
            )
        token_losses[i, t] = (values[0] - values[1]).item()
    ours = ResponseWeightedPolicyLoss(PolicyLoss(**VARIANTS[variant]))
    ours.weights = x
    got = ours(log_probs, old, advantages, action_mask=mask, rollout_log_probs=rollout, **counts(mask))
    assert got[0].item() == pytest.approx(2 * aggregate(token_losses, mask, x).item(), rel=1e-4)
    metrics = host(log_probs, old, advantages, action_mask=mask, rollout_log_probs=rollout, **counts(mask))[1:]
    for value, host_value in zip(got[1:], metrics, strict=True):
        assert value is None or value.item() == pytest.approx(host_value.item(), rel=1e-6)


def test_filtered_rows_and_masked_positions_never_matter():
    lengths, mask, log_probs, old, advantages, rollout = batch()
    x = response_weights(torch.where(torch.arange(6) == 2, 0, lengths), mode="token-mean")
    ours = ResponseWeightedPolicyLoss(PolicyLoss(is_correction_level="token"))
    ours.weights = x
    wanted = ours(log_probs, old, advantages, action_mask=mask, rollout_log_probs=rollout, **counts(mask))
    poison = ~mask | (torch.arange(6) == 2)[:, None]
    dirty = [
        torch.where(poison, torch.tensor(bad), v)
        for v, bad in ((old, math.nan), (advantages, math.inf), (rollout, -math.inf))
    ]
    leaf = torch.where(poison, torch.tensor(math.nan), log_probs.detach()).requires_grad_(True)
    got = ours(leaf, dirty[0], dirty[1], action_mask=mask, rollout_log_probs=dirty[2], **counts(mask))
    got[0].backward()
    for value, clean in zip(got, wanted, strict=True):
        assert torch.equal(value, clean)
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad[poison] == 0).all()
    host = PolicyLoss(is_correction_level="token")  # negative control: the host multiplies by the mask
    assert torch.isnan(host(leaf, dirty[0], dirty[1], action_mask=mask, rollout_log_probs=dirty[2], **counts(mask))[0])
