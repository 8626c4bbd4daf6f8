"""What stands in the way of an answer about alpha: each obstacle where it is planted, and none where it is not."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from support.planted_gradients import Planted

from deltal_openrlhf.aggregation import Aggregation
from deltal_openrlhf.diagnostics.analyse import analyse
from deltal_openrlhf.diagnostics.excerpts import SHOWN_CHARS, excerpts
from deltal_openrlhf.diagnostics.lengths import histogram, rewards_by_length
from deltal_openrlhf.diagnostics.obstacles import ess_share, find
from deltal_openrlhf.diagnostics.recommend import training_flags
from deltal_openrlhf.diagnostics.settings import Settings
from deltal_openrlhf.runs.rollouts import Rollout

P, N, B = 40, 4, 5
RNG = np.random.default_rng(0)
LENGTHS = np.clip(RNG.lognormal(4, 0.7, (P, N)).round(), 4, 400).astype(int)
REWARDS = np.tile([0.0, 1.0, 0.0, 1.0], (P, 1))
ENDED = np.zeros((P, N), dtype=bool)


def found(lengths=LENGTHS, rewards=REWARDS, truncated=ENDED, batch_prompts=B):
    return {obstacle.key: obstacle.text for obstacle in find(lengths, rewards, truncated, batch_prompts)}


def test_nothing_is_in_the_way_of_a_good_sample():
    assert found() == {}
    assert found(truncated=np.arange(P * N).reshape(P, N) % 2 == 0) == {}  # half of them cut off


def test_the_effective_sample_size_is_that_of_the_weights_and_least_at_alpha_1():
    import torch

    lengths = LENGTHS[:4].reshape(-1)
    shares = []
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        weights = Aggregation("deltal", alpha=alpha, max_length=400).weights(torch.tensor(lengths)).tolist()
        shares.append(sum(weights) ** 2 / sum(w * w for w in weights) / len(weights))
    assert ess_share(lengths) == pytest.approx(shares[-1], rel=1e-6) and shares == sorted(shares, reverse=True)
    equal = [1 / len(lengths)] * len(lengths)
    dot = sum(w * e for w, e in zip(weights, equal, strict=True))
    cosine = dot / math.sqrt(sum(w * w for w in weights) * sum(e * e for e in equal))
    assert cosine**2 == pytest.approx(ess_share(lengths), rel=1e-6)


def test_lengths_too_alike_are_said_with_their_figures():
    alike = RNG.integers(95, 106, (P, N))
    (text,) = found(alike).values()
    p5, p50, p95 = (sorted(alike.flat)[round(share * (P * N - 1))] for share in (0.05, 0.5, 0.95))
    assert f"up to {p5}, {p50} and {p95} tokens" in text and "more responses" not in text
    # The border is an ESS of 0.98 N: half of the responses as long as the others times (1 + d) / (1 - d), 1 / (1 + d^2) = 0.98.
    d = math.sqrt(1 / 0.98 - 1)
    for factor, said in ((0.97, {"lengths_alike"}), (1.03, set())):
        two = np.where(np.arange(N) % 2 == 0, 1e6 / (1 + factor * d), 1e6 / (1 - factor * d))
        assert set(found(np.tile(two, (P, 1)))) == said
    # Lengths that differ where no advantage is take no part.
    quiet = REWARDS * (np.arange(P) < 30)[:, None]
    assert set(found(np.where(quiet.any(axis=1)[:, None], 100, LENGTHS), quiet)) == {"lengths_alike"}


def test_no_signal_is_said_with_what_helps():
    for rewards, helps, mean in (
        (np.zeros((P, N)), "Easier prompts", "reward 0 everywhere"),
        (np.ones((P, N)), "Harder prompts", "reward 1 everywhere"),
        (np.repeat(np.arange(P)[:, None] < 10, N, axis=1) * 1.0, "Easier prompts", "mean reward 0.25"),
        (np.full((P, N), -2.0), "Prompts whose responses differ", "reward -2 everywhere"),
    ):
        (text,) = found(rewards=rewards).values()
        assert helps in text and mean in text and "All 4 responses" in text and "40 prompts" in text
        assert ("--demos" in text) is (helps == "Easier prompts")


def test_little_signal_and_too_few_batches():
    def with_signal(prompts):
        return REWARDS * (np.arange(P) < prompts)[:, None]

    assert set(found(rewards=with_signal(5))) == {"few_batches"}
    said = found(rewards=with_signal(4))
    assert "36 of 40 prompts" in said["little_signal"] and "the other 4." in said["little_signal"]
    assert "4 of 40 prompts" in said["few_batches"] and "the 20 that fill 4 batches" in said["few_batches"]
    assert "--prompts 200 or more in the same --out, or --batch_prompts 1." in said["few_batches"]
    assert found(rewards=with_signal(20)) == {} and set(found(rewards=with_signal(19))) == {"few_batches"}
    assert "--batch_prompts" not in found(rewards=with_signal(3))["few_batches"]


def test_responses_that_are_cut_off_or_end_at_once():
    cut = np.arange(P * N).reshape(P, N) < 81
    said = found(truncated=cut)
    assert set(said) == {"cut_off"} and "81 of 160 responses" in said["cut_off"]
    assert f"the longest has {LENGTHS.max()} tokens" in said["cut_off"]
    ends = np.where(np.arange(P * N).reshape(P, N) < 144, 1, LENGTHS)
    assert list(found(ends)) == ["ends_at_once"] and "144 of 160 responses" in found(ends)["ends_at_once"]
    assert list(found(np.ones((P, N), dtype=int))) == ["ends_at_once"]
    assert "ends_at_once" not in found(np.where(np.arange(P * N).reshape(P, N) < 143, 1, LENGTHS))
    # One token because of the limit is not an end.
    assert list(found(np.ones((P, N), dtype=int), truncated=~ENDED)) == ["cut_off", "lengths_alike"]
    assert "all responses have 1 token." in found(np.ones((P, N), dtype=int), truncated=~ENDED)["lengths_alike"]
    # The cause is said before what it causes.
    everything = found(np.full((P, N), 24), np.zeros((P, N)), np.ones((P, N), dtype=bool))
    assert list(everything) == ["cut_off", "no_signal", "lengths_alike"]


def analysed(sample):
    return analyse(sample, Settings(max_length=400, batch_prompts=4, partitions=4))


def test_the_findings_take_the_obstacles_into_their_recommendation():
    planted = Planted(mean=1.5, turn=0.3, rho=0.1)
    sample = planted.sample(0, 24)
    good = analysed(sample)
    assert not good["obstacles"] and not good["recommendation"]["text"].startswith(("None", "Any"))
    silent = analysed(replace(sample, rewards=np.ones(96)))
    json.dumps(silent, allow_nan=False)
    assert [one["key"] for one in silent["obstacles"]] == ["no_signal"]
    # Nothing with an advantage; without it, nothing has changed.
    assert silent["estimators"] == silent["ordering"] == [] and not silent["variance"]["with_advantage"]
    for fit in ("beta", "bins"):
        whole, other = (one["variance"]["without_advantage"]["all"][fit] for one in (good, silent))
        if fit == "bins":
            assert [one["variance"]["value"] for one in whole] == [one["variance"]["value"] for one in other]
        else:
            assert whole["value"] == other["value"]
    alike = analysed(replace(planted, spread=0.02).sample(0, 24))
    assert [one["key"] for one in alike["obstacles"]] == ["lengths_alike"]
    for one in (silent, alike):
        advice = one["recommendation"]
        assert advice["more_responses"] is None and advice["alpha"] is None and "About" not in advice["text"]
        assert training_flags(advice, [obstacle["key"] for obstacle in one["obstacles"]])[1] is None
    assert alike["estimators"], "the methods are measured all the same"


def test_flags_to_train_with():
    def flags(alpha, *candidates):
        return training_flags({"alpha": alpha, "candidates": candidates, "resolved": alpha is not None}, [])

    assert flags(0.75, 0.75) == (
        "Train with alpha 0.75, which is resolved.",
        "deltal train --loss_agg deltal --alpha 0.75",
    )
    assert flags(0.0, 0.0)[0].endswith("It is Dr. GRPO norm exactly.")
    said, command = flags(None, 0.75, 1.0)
    assert "not resolved" in said and "remain: 0.75, 1." in said and command.endswith("--alpha X")


def test_the_histogram_counts_every_response_once():
    lengths, cut = LENGTHS.reshape(-1), LENGTHS.reshape(-1) > 120
    bars = histogram(lengths, cut)
    edges = bars["edges"]
    assert len(edges) <= 25 and len({b - a for a, b in zip(edges, edges[1:], strict=False)}) == 1
    for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        within = [c for length, c in zip(lengths, cut, strict=True) if low <= length < high]
        assert (bars["truncated"][i], bars["finished"][i]) == (sum(within), len(within) - sum(within))
    assert sum(bars["finished"]) + sum(bars["truncated"]) == P * N
    assert histogram(np.full(5, 7), np.zeros(5, bool)) == {"edges": [7, 8], "finished": [5], "truncated": [0]}


def test_rewards_by_length_have_jackknife_intervals_over_prompts():
    lengths, groups = LENGTHS.reshape(-1), np.repeat(np.arange(P), N)
    rewards = np.random.default_rng(1).random(P * N)
    bins = rewards_by_length(lengths, rewards, groups)
    assert len(bins) == 8 and sum(one["responses"] for one in bins) == P * N
    for one in bins:
        members = [i for i in range(P * N) if one["from"] <= lengths[i] <= one["to"]]
        prompts = sorted({groups[i] for i in members})
        left = [statistics.fmean(rewards[i] for i in members if groups[i] != prompt) for prompt in prompts]
        error = math.sqrt((len(prompts) - 1) * statistics.pvariance(left))
        mean = statistics.fmean(rewards[i] for i in members)
        reward = one["reward"]
        assert (one["responses"], one["prompts"]) == (len(members), len(prompts)) and reward["resolved"]
        assert reward["value"] == pytest.approx(mean) and reward["high"] - mean == pytest.approx(1.96 * error, rel=1e-3)
    # Two prompts give no interval.
    (few,) = rewards_by_length(np.array([3, 4, 5, 6]), np.array([0.0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    assert not few["reward"]["resolved"]


def test_excerpts_are_of_both_ends_and_cut():
    def rollout(i):
        text = f"start {i} " + "x" * 5000 + f" end {i}" if i == 0 else f"text {i} \ud800"
        return Rollout(i, 0, f"prompt {i}", "", [1, 2, 3], [0, 1], float(i % 3), i % 2 == 0, response=text)

    shown = excerpts([rollout(i) for i in range(30)], seed=0)
    assert [one["reward"] for one in shown] == [2.0] * 3 + [0.0] * 3
    assert len({one["prompt"] for one in shown}) == 6 and shown == excerpts([rollout(i) for i in range(30)], seed=0)
    assert all(one["truncated"] is (int(one["prompt"].split()[1]) % 2 == 0) and one["length"] == 1 for one in shown)
    (long,) = excerpts([rollout(0)], seed=0)
    assert long["response"].startswith("start 0 x") and long["response"].endswith("x end 0")
    assert "[… 3,814 characters left out …]" in long["response"] and len(long["response"]) < SHOWN_CHARS + 50
    (other,) = excerpts([rollout(1)], seed=0)
    assert other["response"] == "text 1 ?" and "left out" not in other["response"]
