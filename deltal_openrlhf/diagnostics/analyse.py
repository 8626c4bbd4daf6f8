"""All statistics of `deltal diagnose`, which turn a GradientSample into findings."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deltal_openrlhf.diagnostics.advantages import advantages
from deltal_openrlhf.diagnostics.covariance import correlations
from deltal_openrlhf.diagnostics.lengths import histogram, rewards_by_length
from deltal_openrlhf.diagnostics.methods import all_methods
from deltal_openrlhf.diagnostics.obstacles import DECISIVE, ess_share, find
from deltal_openrlhf.diagnostics.recommend import recommend, settled
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.settings import Settings
from deltal_openrlhf.diagnostics.study import BatchStudy
from deltal_openrlhf.diagnostics.variance import LengthFit


def analyse(
    sample: GradientSample, settings: Settings, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict:
    """The findings about one sample: plain numbers, lists and strings, no NaN or inf.

    Where no prompt has responses of different reward, what needs an advantage is left empty: `with_advantage` and the methods.

    Args:
        sample: responses in any order.
        settings: rollout_batches is cut to a third of all batches, because leaving a rollout out must leave two. The findings name
            what was used.
        progress: called as progress(done, total) after each part.

    Raises:
        ValueError: arrays that do not fit; a prompt with another number of responses; an unknown advantage; M <= 0; too few prompts
            for LEAST_BATCHES batches; a count that is too small.
    """
    settings.check()
    sample = sample.by_prompt()
    batches = settings.batches(sample.num_prompts)
    settings = replace(settings, rollout_batches=min(settings.rollout_batches, batches // 3))
    own = advantages(sample.rewards_by_prompt(), sample.lengths_by_prompt(), estimator=settings.advantage)
    shape = sample.num_prompts, sample.responses_per_prompt
    obstacles = find(
        sample.lengths.reshape(shape),
        sample.rewards.reshape(shape),
        sample.truncated.reshape(shape),
        settings.batch_prompts,
    )
    methods, done = all_methods() if own.any() else [], itertools.count(1)
    total = (4 if own.any() else 2) * (len(sample.grams) + 1) + len(methods)

    def advance() -> None:
        progress(next(done), total)

    bootstrap, partitioning = (np.random.default_rng(child) for child in np.random.SeedSequence(settings.seed).spawn(2))
    variance, covariance = {}, {}
    for name, a in (("with_advantage", own.reshape(-1)), ("without_advantage", np.ones(own.size))):
        variance[name], covariance[name] = _by_type(sample, a, bootstrap, advance) if a.any() else ({}, {})
    estimators, ordering, advice = [], [], None
    if methods:
        study = BatchStudy(sample, settings, partitioning)
        for method in methods:
            estimators.append(study.row(method))
            advance()
        ordering = study.ordering()
        advice = recommend(*study.alphas_of_step(), responses=own.size)
    keys = [obstacle.key for obstacle in obstacles]
    if decided := [text for key, text in DECISIVE.items() if key in keys]:
        advice = settled(decided[0])
    return {
        "format": 1,
        "obstacles": [obstacle._asdict() for obstacle in obstacles],
        "sample": _describe(sample, settings, own),
        "lengths": histogram(sample.lengths, sample.truncated),
        "rewards_by_length": rewards_by_length(sample.lengths, sample.rewards, sample.groups),
        "variance": variance,
        "covariance": covariance,
        "estimators": estimators,
        "ordering": ordering,
        "recommendation": advice,
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


def _describe(sample: GradientSample, settings: Settings, advantages: np.ndarray) -> dict:
    """The entry `sample` of findings.json. advantages: [P, n]."""
    lengths = sample.lengths
    p5, p50, p95 = np.percentile(lengths, [5, 50, 95]).tolist()
    mean, least, most = float(lengths.mean()), int(lengths.min()), int(lengths.max())
    return {
        "responses": len(lengths),
        "prompts": sample.num_prompts,
        "responses_per_prompt": sample.responses_per_prompt,
        "lengths": {"min": least, "p5": p5, "p50": p50, "mean": mean, "p95": p95, "max": most},
        "reward_mean": float(sample.rewards.mean()),
        "prompts_without_signal": float((~advantages.any(axis=1)).mean()),
        "ess_share": ess_share(lengths[lengths > 0]),
        "truncated": float(sample.truncated.mean()),
        "batch_prompts": settings.batch_prompts,
        "batches": settings.batches(sample.num_prompts),
        "partitions": settings.partitions,
        "advantage": settings.advantage,
        "max_length": float(settings.max_length),
        "rollout_batches": settings.rollout_batches,
    }
