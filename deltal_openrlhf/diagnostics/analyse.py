"""GradientSample -> findings: all statistics of `deltal diagnose`."""

from collections.abc import Callable

import numpy as np

from deltal_openrlhf.aggregation import check_max_length
from deltal_openrlhf.diagnostics.advantages import advantages
from deltal_openrlhf.diagnostics.covariance import correlations
from deltal_openrlhf.diagnostics.methods import all_methods
from deltal_openrlhf.diagnostics.recommend import recommend
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.study import BatchStudy
from deltal_openrlhf.diagnostics.variance import LengthFit

LEAST_BATCHES = 4
"""With one prompt's batch left out there are three: the fewest whose pairs still give an average."""


def analyse(
    sample: GradientSample,
    *,
    advantage: str = "group_norm",
    max_length: float,
    batch_prompts: int,
    partitions: int = 200,
    rollout_batches: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """The findings about one sample: plain numbers, lists and strings, no NaN or inf.

    Args:
        sample: responses in any order.
        advantage: one of advantages.ESTIMATORS, for all methods but OPO.
        max_length: M of the weights, in tokens.
        batch_prompts: B, prompts of one optimizer step.
        partitions: R, how often the prompts are dealt out into batches.
        rollout_batches: batches of one rollout, for the scope rollout; cut to a third of all batches, because leaving a rollout out
            must leave two. The findings name what was used.
        seed: of the partitions and of the bootstrap.
        progress: called as progress(done, total) after each part.

    Raises:
        ValueError: arrays that do not fit; a prompt with another number of responses; an unknown advantage; M <= 0; too few prompts
            for LEAST_BATCHES batches; no prompt whose responses differ in reward; a count that is too small.
    """
    max_length = check_max_length(max_length)
    for name, value, least in (
        ("batch_prompts", batch_prompts, 1),
        ("partitions", partitions, 2),
        ("rollout_batches", rollout_batches, 1),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}, allowed is a whole number from {least}")
    sample = sample.by_prompt()
    prompts, n = sample.num_prompts, sample.responses_per_prompt
    batches = prompts // batch_prompts
    if batches < LEAST_BATCHES:
        raise ValueError(
            f"{prompts} prompts make {batches} batches of {batch_prompts} (batch_prompts), needed are {LEAST_BATCHES}: "
            f"take at least {LEAST_BATCHES * batch_prompts} prompts"
        )
    lengths, rewards = sample.lengths.reshape(prompts, n).astype(np.float64), sample.rewards.reshape(prompts, n)
    own = advantages(rewards, lengths, estimator=advantage)
    if not own.any():
        raise ValueError(
            f"the responses have equal rewards in each of {prompts} prompts, needed is one prompt where they differ"
        )

    methods = all_methods()
    total, done = 4 * (len(sample.grams) + 1) + len(methods), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    bootstrap, partitioning = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    rollout_batches = min(rollout_batches, batches // 3)
    variance, covariance = {}, {}
    for name, a in (("with_advantage", own.reshape(-1)), ("without_advantage", np.ones(prompts * n))):
        variance[name], covariance[name] = _by_type(sample, a, bootstrap, advance)
    study = BatchStudy(
        gram=sample.gram(),
        lengths=lengths,
        advantages={advantage: own, "opo": advantages(rewards, lengths, estimator="opo")},
        max_length=max_length,
        batch_prompts=batch_prompts,
        partitions=partitions,
        rollout_batches=rollout_batches,
        rng=partitioning,
    )
    estimators = []
    for method in methods:
        estimators.append(study.row(method))
        advance()
    return {
        "format": 1,
        "sample": {
            **_describe(sample, own),
            "batch_prompts": batch_prompts,
            "batches": batches,
            "partitions": partitions,
            "advantage": advantage,
            "max_length": max_length,
            "rollout_batches": rollout_batches,
        },
        "variance": variance,
        "covariance": covariance,
        "estimators": estimators,
        "ordering": study.ordering(),
        "recommendation": recommend(*study.alphas_of_step(), responses=prompts * n),
    }


def _by_type(
    sample: GradientSample, advantages: np.ndarray, rng: np.random.Generator, advance: Callable[[], None]
) -> tuple[dict, dict]:
    """FIT and COV of all parameters and of each layer type, for the gradients A_i s_i. advantages: [N].

    Responses without a trained token or with an advantage of 0 have no gradient and are left out.
    """
    used = np.flatnonzero((advantages != 0) & (sample.lengths > 0))
    lengths, groups, a = sample.lengths[used].astype(np.float64), sample.groups[used], advantages[used]
    fit = LengthFit(lengths, groups, rng)
    variance, covariance = {}, {}
    for name in ("all", *sample.grams):
        scores = sample.gram() if name == "all" else sample.grams[name].astype(np.float64)
        gram = scores[np.ix_(used, used)] * a[:, None] * a
        variance[name] = fit.fit(gram)
        advance()
        covariance[name] = correlations(gram, groups)
        advance()
    return variance, covariance


def _describe(sample: GradientSample, advantages: np.ndarray) -> dict:
    lengths = sample.lengths
    p5, p50, p95 = np.percentile(lengths, [5, 50, 95]).tolist()
    return {
        "responses": len(lengths),
        "prompts": sample.num_prompts,
        "responses_per_prompt": sample.responses_per_prompt,
        "lengths": {
            "min": int(lengths.min()),
            "p5": p5,
            "p50": p50,
            "mean": float(lengths.mean()),
            "p95": p95,
            "max": int(lengths.max()),
        },
        "reward_mean": float(sample.rewards.mean()),
        "prompts_without_signal": float((~advantages.any(axis=1)).mean()),
        "truncated": float(sample.truncated.mean()),
    }
