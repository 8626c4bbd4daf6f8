"""The alpha that follows the responses: its rule against loops written out, on responses whose noise is planted."""

import json
import math

import numpy as np
import pytest

from deltal_openrlhf.statistics.adaptive_alpha import GRID, AdaptiveAlpha

N = 8


def responses(rng, prompts, grows, *, noise=0.2):
    """(lengths, v, prompts) of a rollout: v = L^grows, up to noise, in random order."""
    lengths = np.exp(rng.uniform(0, math.log(500), prompts * N)).astype(int) + 1
    v = lengths**grows * np.exp(rng.normal(0, noise, lengths.size))
    return lengths.tolist(), v.tolist(), rng.permutation(np.repeat(np.arange(prompts), N)).tolist()


def ratio(lengths, v, alpha):
    """R, written out."""
    signal = sum(n**-alpha for n in lengths)
    return signal**2 / sum(n ** (-2 * alpha) * x for n, x in zip(lengths, v, strict=True))


@pytest.mark.parametrize("grows", [0.0, 0.5, 1.0])
def test_it_finds_the_exponent_with_which_the_noise_grows(grows):
    """The weights with the least noise for their sum are in proportion to 1 / v."""
    adaptive = AdaptiveAlpha(alpha=0.75 if grows else 0.5, window=2, seed=0)
    rng = np.random.default_rng(1)
    first, second = (responses(rng, 100, grows) for _ in range(2))
    assert adaptive.add(*first) is None and adaptive.alpha != grows
    found = adaptive.add(*second)
    assert found["best"] == adaptive.alpha == pytest.approx(grows, abs=0.101)
    assert found["low"] <= grows <= found["high"]
    assert found["high"] - found["low"] < 0.3
    lengths, v = first[0] + second[0], first[1] + second[1]
    assert found["best"] == max(GRID, key=lambda alpha: ratio(lengths, v, alpha))


def test_it_stays_where_the_interval_holds_no_difference():
    rng = np.random.default_rng(2)
    moved = 0
    for seed in range(40):
        adaptive = AdaptiveAlpha(alpha=0.5, window=1, seed=seed)
        found = adaptive.add(*responses(rng, 12, 0.5, noise=2.0))
        moved += adaptive.alpha != 0.5
        assert adaptive.alpha in (0.5, found["best"])
        assert found["low"] <= found["best"] <= found["high"]
    assert moved <= 8  # the best of many is chosen and compared at 2.5 %
    adaptive = AdaptiveAlpha(alpha=0.0, window=1, seed=0)  # negative control: a difference that there is
    adaptive.add(*responses(rng, 12, 1.0, noise=0.2))
    assert adaptive.alpha > 0.5


def test_prompts_not_responses_are_drawn():
    """If all responses to a prompt are alike, there are as many independent ones as prompts: the interval is that of one each."""
    rng = np.random.default_rng(3)
    lengths, v, _ = responses(rng, 4, 0.5, noise=1.0)  # 32 different ones
    alone, together = (AdaptiveAlpha(alpha=0.5, window=1, seed=0) for _ in range(2))
    numbers = list(range(4 * N))
    single = alone.add(lengths, v, numbers)
    repeated = together.add(lengths * N, v * N, numbers * N)
    assert repeated == single
    as_if = AdaptiveAlpha(alpha=0.5, window=1, seed=0).add(lengths * N, v * N, list(range(4 * N * N)))
    assert as_if["high"] - as_if["low"] < single["high"] - single["low"]


def test_nothing_to_decide_on():
    adaptive = AdaptiveAlpha(alpha=0.75, window=1, seed=0)
    assert adaptive.add([], [], []) is None
    assert adaptive.add([5] * 80, [0.0] * 80, [i // N for i in range(80)]) is None  # no signal
    few = [1.0 * (i < 72) for i in range(160)]  # 9 of 20 prompts have a gradient
    assert adaptive.add(range(1, 161), few, [i // N for i in range(160)]) is None
    # 10 of 400 prompts have a gradient. With this seed, one of the resamples holds none of them.
    sparse = AdaptiveAlpha(alpha=0.0, window=1, seed=3)
    grows = [float(i % 97 + 1) if i < 10 * N else 0.0 for i in range(400 * N)]
    with np.errstate(all="raise"):
        found = sparse.add([i % 97 + 1 for i in range(400 * N)], grows, [i // N for i in range(400 * N)])
    assert 0 <= found["low"] <= found["best"] <= found["high"] <= 1
    enough = [1.0 * (i < 80) for i in range(160)]
    assert adaptive.add(range(1, 161), enough, [i // N for i in range(160)]) is not None
    filtered = AdaptiveAlpha(alpha=0.75, window=2, seed=0)
    filtered.add([0, 3], [1.0, 2.0], [0, 0])
    assert filtered.responses == [(0, 3.0, 2.0)]


def test_a_restored_one_continues_as_it_would_have():
    rng = np.random.default_rng(4)
    rollouts = [responses(rng, 20, grows) for grows in (0.1, 0.9, 1.0, 0.5, 0.0, 0.0)]
    whole = AdaptiveAlpha(alpha=0.75, window=2, seed=5)
    decisions = [whole.add(*rollout) for rollout in rollouts]
    for cut in range(6):
        first = AdaptiveAlpha(alpha=0.75, window=2, seed=5)
        for rollout in rollouts[:cut]:
            first.add(*rollout)
        rest = AdaptiveAlpha(alpha=0.75, window=2, seed=5)
        rest.restore(json.loads(json.dumps(first.state())))
        assert [rest.add(*rollout) for rollout in rollouts[cut:]] == decisions[cut:]
        assert rest == whole
