"""`analyse`: the contract of findings.json, identities between methods, the recommendation, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.planted_gradients import Planted

from deltal_openrlhf.diagnostics.analyse import analyse
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.settings import Settings

PLANTED = Planted(mean=1.5, turn=0.3, rho=0.1)
ESTIMATES = (
    "cv cv_ratio cosine relative_norm relative_bias ess batch_cosine batch_cosine_reference norm norm_short norm_long norm_ratio"
).split()


def findings(sample, **options):
    return analyse(sample, Settings(**{"max_length": 400, "batch_prompts": 4, "partitions": 30} | options))


@pytest.fixture(scope="module")
def sample():
    return PLANTED.sample(0, 48)


@pytest.fixture(scope="module")
def found(sample):
    return findings(sample)


def rows(found):
    return {row["key"]: row for row in found["estimators"]}


def estimates(tree):
    if isinstance(tree, dict) and set(tree) == {"value", "low", "high", "resolved"}:
        yield tree
    elif isinstance(tree, dict | list):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from estimates(child)


def test_the_contract(sample, found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    first = ["format", "obstacles", "sample", "lengths", "rewards_by_length", "variance", "covariance"]
    assert list(found) == [*first, "estimators", "ordering", "recommendation"]
    about = found["sample"]
    assert (about["responses"], about["prompts"], about["responses_per_prompt"]) == (192, 48, 4)
    assert (about["batch_prompts"], about["batches"], about["partitions"], about["rollout_batches"]) == (4, 12, 30, 4)
    assert about["lengths"]["max"] == sample.lengths.max() and about["reward_mean"] == 0.5
    assert about["prompts_without_signal"] == 0 and about["truncated"] == sample.truncated.mean()
    for part in ("variance", "covariance"):
        assert list(found[part]) == ["with_advantage", "without_advantage"]
        assert all(list(by_type) == ["all", "q", "mlp"] for by_type in found[part].values())
    assert found["covariance"]["with_advantage"]["all"]["pairs_within"] == 48 * 6
    assert found["covariance"]["with_advantage"]["all"]["pairs_between"] == 192 * 191 // 2 - 48 * 6
    for row in found["estimators"]:
        assert set(ESTIMATES) < set(row) and row["responses_per_batch"] == 16
    count = 0
    for number in estimates(found):
        count += 1
        if number["value"] is not None:
            low, high = number["low"], number["high"]
            assert (low is None or low <= number["value"] + 1e-9) and (high is None or number["value"] <= high + 1e-9)
    assert count > 300


def test_the_order_of_responses_and_the_names_of_prompts_do_not_matter(sample, found):
    order = np.random.default_rng(5).permutation(len(sample.lengths))
    other = GradientSample(
        sample.lengths[order],
        sample.rewards[order],
        sample.groups[order] * 3 + 7,
        sample.truncated[order],
        {name: gram[np.ix_(order, order)] for name, gram in sample.grams.items()},
    )
    a, b = list(estimates(found)), list(estimates(findings(other)))
    assert [x["resolved"] for x in a] == [x["resolved"] for x in b]
    for x, y in zip(a, b, strict=True):
        assert x["value"] == pytest.approx(y["value"], rel=1e-5, abs=1e-5)


def test_identities_between_methods(found):
    row = rows(found)
    grpo, one = row["seq-mean-token-mean"], row["deltal-1-step"]
    # the direction of every batch is the same; what an interval owes to pairs is taken at the mean scale, which is not
    for name, rel in (("value", 1e-9), ("low", 1e-3), ("high", 1e-3)):
        assert grpo["batch_cosine_reference"][name] == pytest.approx(one["batch_cosine_reference"][name], rel=rel)
    assert grpo["ess"] == pytest.approx(one["ess"], rel=1e-9)
    assert grpo["norm"]["value"] > 2 * one["norm"]["value"]
    dapo, plain = row["token-mean"], row["seq-mean-token-sum-norm"]
    assert dapo["batch_cosine_reference"]["value"] == pytest.approx(plain["batch_cosine_reference"]["value"], rel=1e-9)
    assert plain["ess"]["value"] == pytest.approx(16)
    for name, value in (("cv_ratio", 1), ("cosine", 1), ("relative_norm", 1), ("relative_bias", 0)):
        assert plain[name]["value"] == pytest.approx(value, abs=1e-6) and not plain[name]["resolved"]
    assert (
        one["norm_ratio"]["value"] > 0 and dapo["norm_ratio"]["high"] < 1
    )  # token-mean steps less where responses are long


def test_the_papers_order_is_made_of_paired_ratios(found):
    row = rows(found)
    assert [(entry["a"], entry["b"]) for entry in found["ordering"]] == [
        ("seq-mean-token-mean", "deltal-1-step"),
        ("deltal-1-step", "deltal-0.75-step"),
        ("deltal-0.75-step", "deltal-0.5-step"),
        ("deltal-0.5-step", "deltal-0.25-step"),
        ("deltal-0.25-step", "seq-mean-token-sum-norm"),
        ("token-mean", "seq-mean-token-sum-norm"),
    ]
    for entry in found["ordering"]:
        a, b, ratio = row[entry["a"]]["cv"], row[entry["b"]]["cv"], entry["cv_ratio"]
        assert ratio["value"] == pytest.approx(a["value"] / b["value"], rel=0.01)
        # Paired: far narrower than two intervals that know nothing of each other would allow.
        assert ratio["high"] - ratio["low"] < 0.5 * (a["high"] / b["low"] - a["low"] / b["high"])
    against_plain = found["ordering"][-1]["cv_ratio"]
    assert against_plain == pytest.approx(row["token-mean"]["cv_ratio"], rel=1e-9)


def test_bins_show_where_no_power_law_holds():
    """A power law leaves at most an odd bin off its fit. Where responses above the median are ten times as loud, most are."""
    straight = Planted(beta=1.0, mean=0.5).sample(3, 192)
    fit = findings(straight)["variance"]["without_advantage"]["all"]
    assert len(fit["bins"]) == 8 and fit["bins_off"] <= 1
    fitted = [np.exp(fit["intercept"]) * one["length"] ** fit["beta"]["value"] for one in fit["bins"]]
    assert [one["fitted"] for one in fit["bins"]] == pytest.approx(fitted, rel=0.02)
    loud = np.where(straight.lengths > np.median(straight.lengths), 10.0, 1.0)
    bent = replace(straight, grams={name: gram * loud[:, None] * loud for name, gram in straight.grams.items()})
    assert findings(bent)["variance"]["without_advantage"]["all"]["bins_off"] >= 4


def test_reproducible_with_a_seed(sample, found):
    assert findings(sample) == found
    assert findings(sample, seed=1)["estimators"] != found["estimators"]


def test_progress(sample):
    calls = []
    settings = Settings(max_length=400, batch_prompts=4, partitions=30)
    analyse(sample, settings, lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, calls[0][1] + 1)) and len({total for _, total in calls}) == 1


def test_prompts_without_signal_are_left_out_with_advantage_only(sample):
    still = np.isin(sample.groups, [1, 2, 3])
    quiet = findings(replace(sample, rewards=np.where(still, 1.0, sample.rewards)))
    assert quiet["sample"]["prompts_without_signal"] == 3 / 48
    assert quiet["variance"]["with_advantage"]["q"]["responses"] == 180
    assert quiet["variance"]["with_advantage"]["q"]["prompts"] == 45
    assert quiet["variance"]["without_advantage"]["q"]["responses"] == 192


def test_small_samples_say_so(sample):
    keep = sample.groups < 16
    few = findings(
        GradientSample(
            sample.lengths[keep],
            sample.rewards[keep],
            sample.groups[keep],
            sample.truncated[keep],
            {name: gram[np.ix_(keep, keep)] for name, gram in sample.grams.items()},
        )
    )
    json.dumps(few, allow_nan=False)
    assert few["sample"]["batches"] == 4 and few["sample"]["rollout_batches"] == 1
    assert rows(few)["token-mean"]["norm_short"] == {"value": None, "low": None, "high": None, "resolved": False}
    step, rollout = rows(few)["deltal-1-step"], rows(few)["deltal-1-rollout"]
    assert step["cv"] == pytest.approx(rollout["cv"], rel=1e-9)  # a rollout of one batch


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_told_is_null(sample):
    one = findings(
        replace(sample, rewards=np.where(sample.groups == 5, sample.rewards, 0.0))
    )  # signal in one prompt only
    json.dumps(one, allow_nan=False)
    fit = one["variance"]["with_advantage"]["all"]
    assert fit["responses"] == 4 and fit["beta"]["value"] is None and not fit["beta"]["resolved"]
    assert one["covariance"]["with_advantage"]["all"]["between"]["value"] is None
    assert not one["recommendation"]["resolved"]
    same = findings(replace(sample, lengths=np.full(192, 50)))
    json.dumps(same, allow_nan=False)
    assert same["variance"]["without_advantage"]["all"]["beta"]["value"] is None
    assert len(same["variance"]["without_advantage"]["all"]["bins"]) == 1
    assert rows(same)["deltal-1-step"]["cv_ratio"]["value"] == pytest.approx(1)
    silent = findings(replace(sample, grams={"q": np.zeros((192, 192))}))  # no gradient at all
    json.dumps(silent, allow_nan=False)
    assert rows(silent)["token-mean"]["cv"]["value"] is None


def test_recommendation_resolves_where_one_alpha_is_best():
    # Var ~ L^2 and no bias: alpha 2 would be best, and 1 is the largest on offer
    planted = Planted(beta=2.0, mean=15.0, spread=1.0, dimensions=48)
    advice = findings(planted.sample(0, 96), batch_prompts=4)["recommendation"]
    assert advice["alpha"] == 1.0 and advice["candidates"] == [1.0] and advice["resolved"]
    assert advice["more_responses"] is None and "not about training" in advice["text"]
    assert "(0, 0.25, 0.5, 0.75, 1)" in advice["text"]
    # Var does not depend on L, and the mean turns: weights only do harm
    planted = Planted(beta=0.0, mean=0.5, turn=1.0, dimensions=48)
    advice = findings(planted.sample(0, 96), batch_prompts=4)["recommendation"]
    assert advice["alpha"] == 0.0 and advice["resolved"]


def test_recommendation_does_not_resolve_noise():
    texts = []
    for seed in range(5):
        advice = findings(Planted(mean=0.0).sample(seed, 48))["recommendation"]
        assert advice["alpha"] is None and not advice["resolved"]
        assert advice["candidates"] == [0.0, 0.25, 0.5, 0.75, 1.0]
        texts.append(advice["text"])
    assert all(text.startswith("Not resolved: ") for text in texts)
    assert sum("the mean gradient cannot be told from 0" in text for text in texts) >= 4


def test_the_number_of_responses_asked_for_does():
    planted = Planted(beta=1.0, mean=0.6, spread=0.9)
    small = findings(planted.sample(3, 48))["recommendation"]
    assert not small["resolved"] and small["more_responses"] >= 1
    digits = str(small["more_responses"]).rstrip("0")
    assert len(digits) <= 2
    said = f"About {small['more_responses']:,} more" if small["more_responses"] <= 20 * 192 else "More than 20 times as"
    assert said in small["text"]


def refused(match, sample, **options):
    with pytest.raises(ValueError, match=match) as error:
        findings(sample, **options)
    assert "\n" not in str(error.value)


def test_what_is_refused(sample):
    refused(
        "48 prompts make 3 disjoint batches of --batch_prompts 16, wanted are 4 at least: 64 prompts",
        sample,
        batch_prompts=16,
    )
    refused("batch_prompts is 0", sample, batch_prompts=0)
    refused("partitions is 1, allowed is a whole number from 2", sample, partitions=1)
    refused("rollout_batches is 0", sample, rollout_batches=0)
    refused(r"max_length \(M\) is 0", sample, max_length=0)
    refused("advantage is 'gae'", sample, advantage="gae")
    refused(
        "every prompt must have the same number",
        replace(sample, groups=np.where(np.arange(192) == 0, 99, sample.groups)),
    )
    refused("rewards has shape", replace(sample, rewards=np.ones(3)))
    refused("rewards holds a non-finite", replace(sample, rewards=np.full(192, np.nan)))
    refused("lengths holds -1", replace(sample, lengths=np.where(np.arange(192) == 0, -1, sample.lengths)))
    refused("grams is empty", replace(sample, grams={}))
    refused("layer type 'all'", replace(sample, grams={"all": sample.gram()}))
    refused("Gram matrix of q has shape", replace(sample, grams={"q": np.eye(3)}))
    refused("Gram matrix of q holds a non-finite", replace(sample, grams={"q": np.full((192, 192), np.inf)}))
