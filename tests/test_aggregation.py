"""The weights and the loss against slow references written out here, and every invariant of the formulas."""

import ast
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deltal_openrlhf import aggregation, modes
from deltal_openrlhf.aggregation import MODES, Aggregation, aggregate, response_weights, scope_means
from deltal_openrlhf.modes import PROMPT_MODES

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def slow_weights(lengths, mode, alpha=None, big_m=None, groups=None, step=None):
    """x_i in Python floats. groups: the scope of each response in the whole rollout; step: indices of this optimizer step."""
    step = range(len(lengths)) if step is None else step
    valid = [i for i in step if lengths[i] > 0]
    out = []
    for i in step:
        if lengths[i] == 0:
            out.append(0.0)
        elif mode == "token-mean":
            out.append(1 / sum(lengths[j] for j in valid))
        elif mode == "seq-mean-token-mean":
            out.append(1 / (len(valid) * lengths[i]))
        elif mode == "seq-mean-token-sum-norm":
            out.append(1 / (len(valid) * big_m))
        elif groups is None:
            out.append(lengths[i] ** -alpha / math.fsum(lengths[j] ** -alpha for j in valid) / big_m)
        else:
            scope = [lengths[j] ** -alpha for j in range(len(lengths)) if groups[j] == groups[i] and lengths[j] > 0]
            out.append(lengths[i] ** -alpha / (math.fsum(scope) / len(scope)) / (big_m * len(valid)))
    return out


def arguments(mode, alpha=0.75, big_m=10.0):
    return {
        "mode": mode,
        "alpha": alpha if mode == "deltal" else None,
        "max_length": big_m if mode in ("deltal", "seq-mean-token-sum-norm") else None,
    }


@pytest.mark.parametrize(
    ("mode", "alpha", "weights", "loss"),
    [
        ("token-mean", None, [1 / 7] * 3, 3 / 7),
        ("seq-mean-token-mean", None, [1 / 3, 1 / 6, 1 / 12], 7 / 12),
        ("seq-mean-token-sum-norm", None, [1 / 30] * 3, 0.1),
        # (1, 1/2, 1/4) / 1.75 / 10
        ("deltal", 1.0, [0.1 / 1.75, 0.05 / 1.75, 0.025 / 1.75], 0.1),
        # 1, 2^-0.75 = 0.594604, 4^-0.75 = 0.353553; sum 1.948157
        ("deltal", 0.75, [0.0513306, 0.0305213, 0.0181481], 0.1),
    ],
)
def test_by_hand(mode, alpha, weights, loss):
    # M = 10, lengths 1, 2, 4, S = (1, 1, 1)
    got = response_weights(torch.tensor([1, 2, 4]), **arguments(mode, alpha))
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(weights, rel=2e-6)
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    token_losses = mask / mask.sum(-1, keepdim=True)
    assert aggregate(token_losses, mask, got).item() == pytest.approx(loss, rel=2e-6)


def weigh(lengths, mode):
    """The weights of one step that is its whole rollout batch, for any mode."""
    aggregation = Aggregation(**arguments(mode))
    numbers = torch.arange(len(lengths))
    return aggregation.weights(lengths, numbers // 4, advantages=numbers % 3 - 1)


@pytest.mark.parametrize("mode", MODES[:4])
@pytest.mark.parametrize("seed", range(5))
def test_against_slow_reference(mode, seed):
    rng = random.Random(seed)
    lengths = [0 if rng.random() < 0.1 else rng.randint(1, 5000) for _ in range(50)]
    for alpha in ALPHAS if mode == "deltal" else (None,):
        got = response_weights(torch.tensor(lengths), **arguments(mode, alpha, 777.0))
        assert got.tolist() == pytest.approx(slow_weights(lengths, mode, alpha, 777.0), rel=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("by_group", [False, True])
def test_scopes_against_slow_reference(alpha, by_group):
    rng = random.Random(7)
    lengths = [0 if rng.random() < 0.2 else rng.randint(1, 300) for _ in range(48)]
    groups = [i // 6 if by_group else 0 for i in range(48)]
    means = scope_means(torch.tensor(lengths), groups if by_group else None, alpha=alpha)
    order = rng.sample(range(48), 48)
    for step in (order[:16], order[16:32], order[32:]):
        got = response_weights(
            torch.tensor([lengths[i] for i in step]),
            mode="deltal",
            alpha=alpha,
            max_length=9.0,
            scope_means=means[step],
        )
        assert got.tolist() == pytest.approx(slow_weights(lengths, "deltal", alpha, 9.0, groups, step), rel=1e-12)


def test_means_over_prompts_by_hand():
    lengths, prompts, advantages = torch.tensor([1, 3, 2, 0]), [7, 7, 5, 3], [0.5, -2.0, 0.1, 1.0]
    # Two prompts have tokens, 4 and 2 of them: 1 / (2 * 4), 1 / (2 * 2).
    means = Aggregation("prompt-mean").weights(lengths, prompts)
    assert means.tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 4, 0], rel=1e-12)
    # The first prompt has one response of each sign, which are half of it: 1/2 / (2 * 1), 1/2 / (2 * 3).
    balanced = Aggregation("balanced").weights(lengths, prompts, advantages=advantages)
    assert balanced.tolist() == pytest.approx([1 / 4, 1 / 12, 1 / 4, 0], rel=1e-12)
    same = Aggregation("balanced").weights(lengths, prompts, advantages=[3.0, 1.0, -1.0, 0.0])
    assert same.tolist() == pytest.approx(means.tolist(), rel=1e-12)  # one sign a prompt


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", PROMPT_MODES)
def test_means_over_prompts_against_the_loss_written_out(mode, seed):
    """The loss of a rollout, from its token losses: means of means, and the weights of three steps of different size add up to it."""
    rng = random.Random(seed)
    lengths = [0 if rng.random() < 0.2 else rng.randint(1, 40) for _ in range(48)]
    prompts = [i // 6 for i in range(48)]
    signs = [rng.choice((-1.0, 0.0, 1.0)) for _ in range(48)]
    losses = [[rng.gauss(0, 1) for _ in range(length)] for length in lengths]
    of_prompts = []
    for prompt in range(8):
        members = [i for i in range(48) if prompts[i] == prompt and lengths[i]]
        parts = [members] if mode == "prompt-mean" else [[i for i in members if signs[i] == s] for s in (-1, 0, 1)]
        tokens = [[loss for i in part for loss in losses[i]] for part in parts]
        means = [len(p) / len(members) * sum(t) / len(t) for p, t in zip(parts, tokens, strict=True) if p]
        of_prompts += [sum(means)] if members else []
    wanted = sum(of_prompts) / len(of_prompts)

    aggregation, sums = Aggregation(mode), torch.tensor([math.fsum(row) for row in losses], dtype=torch.float64)
    whole = aggregation.weights(lengths, prompts, advantages=signs)
    assert (whole * sums).sum().item() == pytest.approx(wanted, rel=1e-9)
    means = aggregation.scope_means(torch.tensor(lengths), prompts, signs)
    order, valid = rng.sample(range(48), 48), sum(map(bool, lengths))
    steps = 0.0
    for step in (order[:10], order[10:30], order[30:]):
        weights = aggregation.weights(torch.tensor(lengths)[step], scope_means=means[step])
        steps += (weights * sums[step]).sum().item() * sum(lengths[i] > 0 for i in step) / valid
    assert steps == pytest.approx(wanted, rel=1e-9)
    # Negative control: steps that know only their own parts of the prompts.
    cut = [
        aggregation.weights([lengths[i] for i in s], [prompts[i] for i in s], advantages=[signs[i] for i in s])
        for s in (order[:24], order[24:])
    ]
    assert (torch.cat(cut) * sums[order]).sum().item() / 2 != pytest.approx(wanted, rel=1e-3)


def test_group_scope_gives_every_prompt_weight_by_its_number_of_valid_responses():
    lengths = torch.tensor([1, 2, 4, 0, 100, 400, 900, 1000])
    means = scope_means(lengths, [0, 0, 0, 0, 1, 1, 1, 1], alpha=1.0)
    x = response_weights(lengths, mode="deltal", alpha=1.0, max_length=10.0, scope_means=means)
    assert (x[:4].sum() / x[4:].sum()).item() == pytest.approx(3 / 4, rel=1e-12)
    in_step = response_weights(lengths, mode="deltal", alpha=1.0, max_length=10.0)
    assert (
        in_step[:4].sum() / in_step[4:].sum()
    ).item() > 50  # negative control: the scope step turns long prompts down


@pytest.mark.parametrize("alpha", ALPHAS)
def test_scope_step_sums_to_one_over_m_for_a_million_tokens_and_many_responses(alpha):
    lengths = torch.randint(1, 1_000_001, (100_000,), generator=torch.Generator().manual_seed(0))
    lengths[0], lengths[1] = 1, 1_000_000
    x = response_weights(lengths, mode="deltal", alpha=alpha, max_length=1_000_000)
    assert abs(math.fsum(x.tolist()) * 1_000_000 - 1) < 1e-12
    shuffled = response_weights(lengths.flip(0), mode="deltal", alpha=alpha, max_length=1_000_000).flip(0)
    assert torch.allclose(shuffled, x, rtol=1e-12, atol=0)


def test_alpha_zero_is_dr_grpo_norm_and_alpha_one_is_parallel_to_grpo_norm():
    lengths = torch.tensor([3, 0, 70, 12, 900])
    zero = response_weights(lengths, mode="deltal", alpha=0.0, max_length=100)
    assert torch.equal(zero, response_weights(lengths, mode="seq-mean-token-sum-norm", max_length=100))
    one = response_weights(lengths, mode="deltal", alpha=1.0, max_length=100)
    grpo = response_weights(lengths, mode="seq-mean-token-mean")
    ratio = one[lengths > 0] / grpo[lengths > 0]
    assert ratio.min() > 0
    assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-12, atol=0)


def test_equal_lengths_make_all_modes_parallel():
    lengths = torch.full((9,), 37)
    for mode in MODES:
        x = weigh(lengths[: 8 if mode in PROMPT_MODES else 9], mode)  # prompts of as many responses
        assert torch.allclose(x, x[0].expand_as(x), rtol=1e-12, atol=0)
        assert x[0] > 0


@pytest.mark.parametrize("mode", MODES)
def test_masked_values_never_matter(mode):
    mask = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]])
    clean = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    x = weigh(mask.sum(-1), mode)
    dirty = torch.where(mask.bool(), clean, torch.tensor([math.nan, math.inf, -math.inf, math.nan]).expand(3, 4))
    dirty.requires_grad_(True)
    loss = aggregate(dirty, mask, x)
    loss.backward()
    assert loss.item() == aggregate(torch.where(mask.bool(), clean, 0.0), mask, x).item()
    assert torch.isfinite(dirty.grad).all()
    assert (dirty.grad[~mask.bool()] == 0).all()
    assert torch.isnan((dirty * mask).sum())  # negative control: multiplying by the mask would have failed


@pytest.mark.parametrize(
    ("losses", "mask", "weights"),
    [
        ((1, 4), (1, 4), (3,)),  # a micro batch with the weights of the whole step
        ((3, 4), (3, 4), (1,)),
        ((3, 4), (3, 4), (3, 1)),
        ((3, 4), (1, 4), (3,)),
        ((3, 4), (3, 1), (3,)),
        ((4,), (4,), (4,)),
        ((3, 4, 2), (3, 4, 2), (3,)),
    ],
)
def test_shapes_that_would_be_broadcast_are_refused(losses, mask, weights):
    with pytest.raises(ValueError) as error:
        aggregate(torch.ones(losses), torch.ones(mask), torch.ones(weights))
    assert str(error.value) == (
        f"token_losses, action_mask and weights have the shapes {losses}, {mask} and {weights}, "
        "allowed are [num_responses, num_tokens] twice and [num_responses]"
    )


@pytest.mark.parametrize("mode", MODES)
def test_nothing_left_is_a_zero_loss_on_the_graph(mode):
    x = weigh(torch.zeros(4, dtype=torch.long), mode)
    assert x.tolist() == [0.0] * 4
    token_losses = torch.full((4, 3), math.nan, requires_grad=True)
    loss = aggregate(token_losses, torch.zeros(4, 3), x)
    loss.backward()
    assert loss.item() == 0.0
    assert token_losses.grad.tolist() == [[0.0] * 3] * 4


def test_weights_commute_with_clipping():
    generator = torch.Generator().manual_seed(0)
    ratio, advantage = torch.rand(6, 5, generator=generator) * 2, torch.randn(6, 1, generator=generator)
    mask = torch.ones(6, 5)
    x = response_weights(torch.tensor([5, 5, 5, 5, 5, 5]), **arguments("deltal"))

    def dual_clipped(a):
        gain = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
        return -torch.where(a < 0, torch.maximum(gain, 3 * a), gain)

    inside = dual_clipped(advantage * x[:, None].float()).sum()
    assert inside.item() == pytest.approx(aggregate(dual_clipped(advantage), mask, x).item(), rel=1e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_parity_with_the_authors_formula(alpha):
    """scores[i] *= w_i / mean(w) over the whole rollout batch, then (l * mask).mean() over [batch, padded response length]."""
    generator = torch.Generator().manual_seed(3)
    lengths, padded = [5, 17, 2, 40, 9, 33], 40
    advantage = torch.randn(6, generator=generator)
    log_probs = torch.randn(6, padded, generator=generator, dtype=torch.float64)
    mask = torch.zeros(6, padded, dtype=torch.float64)
    for i, length in enumerate(lengths):
        mask[i, :length] = 1

    w = [length**-alpha for length in lengths]
    theirs = log_probs.clone().requires_grad_(True)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        for t in range(padded):
            total = total + theirs[i, t] * advantage[i] * (w[i] / (sum(w) / 6)) * mask[i, t]
    (total / (6 * padded)).backward()

    ours = log_probs.clone().requires_grad_(True)
    tensor = torch.tensor(lengths)
    x = response_weights(
        tensor, mode="deltal", alpha=alpha, max_length=padded, scope_means=scope_means(tensor, None, alpha=alpha)
    )
    aggregate(ours * advantage[:, None], mask, x).backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({"mode": "deltal", "alpha": 1.5, "max_length": 10}, "alpha is 1.5"),
        ({"mode": "deltal", "alpha": -0.1, "max_length": 10}, "alpha is -0.1"),
        ({"mode": "deltal", "alpha": math.nan, "max_length": 10}, "alpha is nan"),
        ({"mode": "deltal", "alpha": None, "max_length": 10}, "alpha is None"),
        ({"mode": "deltal", "alpha": "auto", "max_length": 10}, "alpha is auto"),
        ({"mode": "deltal", "alpha": 1, "max_length": "10"}, "max_length (M) is 10, allowed"),
        ({"mode": "deltal", "alpha": 0.5, "max_length": 0}, "M"),
        ({"mode": "deltal", "alpha": 0.5, "max_length": None}, "M"),
        ({"mode": "seq-mean-token-sum-norm", "max_length": math.inf}, "M"),
        ({"mode": "grpo"}, "'grpo'"),
        ({"mode": "token-mean", "scope_means": torch.ones(2)}, "scope_means"),
        ({"mode": "deltal", "alpha": 0.5, "max_length": 10, "scope_means": torch.ones(3)}, "scope_means"),
        ({"mode": "deltal", "alpha": 0.5, "max_length": 10, "scope_means": torch.zeros(2)}, "scope_means"),
    ],
)
def test_bad_input_is_named(keywords, names):
    with pytest.raises(ValueError, match="allowed|above 0|must be the same") as error:
        response_weights(torch.tensor([1, 2]), **keywords)
    assert names in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lengths", [torch.tensor([1.0, math.nan]), torch.tensor([-1, 2]), torch.ones(2, 2)])
def test_bad_lengths(lengths):
    with pytest.raises(ValueError, match="lengths"):
        response_weights(lengths, mode="token-mean")


@pytest.mark.parametrize("module, needed", [(aggregation, {"torch", "deltal_openrlhf.modes"}), (modes, set())])
def test_needs_torch_alone(module, needed):
    source = Path(module.__file__)
    imported = {
        name
        for node in ast.walk(ast.parse(source.read_text()))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == needed
    heavy = "import sys, deltal_openrlhf.aggregation; print([m for m in ('ray', 'openrlhf', 'deepspeed', 'vllm') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
