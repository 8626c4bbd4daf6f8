"""States what the intervals say about alpha, and no more.

The criterion is E cos(G, EF), the direction of one batch's gradient G against the mean of the plain unweighted estimator (alpha 0, Dr. GRPO
norm). It includes bias and noise: an alpha that reduces noise is useless if it turns the mean away. |EF| is the same for every alpha, so
alphas are compared by E<G, EF>/|G|, paired over prompts and batches.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deltal_openrlhf.diagnostics.methods import ALPHAS
from deltal_openrlhf.statistics.jackknife import Combination, Replicates

FORESEEABLE = 20
"""A sample says nothing about one that is more than so many times as large."""
CRITERION = "largest mean cosine between the gradient of one batch and the mean gradient of the plain unweighted estimator (alpha 0)"


def recommend(moments: Replicates, alphas: list[float], responses: int) -> dict:
    """The entry `recommendation` of findings.json.

    Args:
        moments: named by str(alpha), E<G, EF>/|G| of ∆L with that alpha and scope step; and "reference_mean", |EF|^2.
        alphas: the ones to choose from.
        responses: how many the sample holds.

    Candidates are the alphas that the best one does not beat with its 95 % interval; every alpha where |EF|^2 itself cannot be told
    from 0. more_responses: how many more would separate the two best, if their difference stays and its error falls with the root
    of the number; None where that cannot be said.
    """
    best, second = sorted(alphas, key=lambda alpha: moments[str(alpha)].value, reverse=True)[:2]
    lead = {alpha: moments[str(best)] - moments[str(alpha)] for alpha in alphas}
    mean = moments["reference_mean"]
    mean_resolved = mean.value > mean.margin
    candidates = [alpha for alpha in alphas if not mean_resolved or lead[alpha].value <= lead[alpha].margin]
    needed = max(_factor(lead[second]), 0.0 if mean_resolved else _factor(mean))
    more = _two_digits(responses * (needed - 1)) if needed > 1 and math.isfinite(needed) else None
    if more is None:
        how_many = "The number of responses that would is unknown"
    elif more > FORESEEABLE * responses:
        how_many = f"More than {FORESEEABLE} times as many responses would"
    else:
        how_many = f"About {more:,} more responses would"
    about = "This is about the direction of one update of this model, not about training."
    found = len(candidates) == 1
    if found:
        others = ", ".join(f"{alpha:g}" for alpha in alphas)
        text = (
            f"alpha {best:g} (scope step): on this sample it points one batch's gradient closest to the plain mean gradient. It beats "
            f"every other alpha that was compared ({others}) at 95 %, each in a comparison of two. {about}"
        )
    elif not mean_resolved:
        text = (
            "Not resolved: the mean gradient cannot be told from 0, so these responses do not favour any alpha. "
            f"{how_many}, if the estimates stay the same."
        )
    elif len(candidates) == len(alphas):
        text = (
            f"Not resolved: no alpha from {min(alphas):g} to {max(alphas):g} points the gradient of one batch measurably closer to the "
            f"plain mean gradient than the others. These responses do not separate the two best. {how_many}, if their difference stays "
            "the same."
        )
    else:
        text = (
            f"Between {min(candidates):g} and {max(candidates):g}: the other values of alpha point one batch's gradient measurably less "
            f"towards the plain mean gradient. These responses do not separate the two best. {how_many}. {about}"
        )
    return {
        "alpha": best if found else None,
        "candidates": candidates,
        "resolved": found,
        "criterion": CRITERION,
        "text": text,
        "more_responses": None if found else more,
    }


def settled(text: str) -> dict:
    """The entry `recommendation` where no comparison of alphas says anything, however many responses there are. text: why."""
    return {
        "alpha": None,
        "candidates": [0.0, *(alpha for alpha in ALPHAS if alpha <= 1)],
        "resolved": False,
        "criterion": CRITERION,
        "text": text,
        "more_responses": None,
    }


def training_flags(advice: Mapping[str, Any], obstacles: Sequence[str]) -> tuple[str, str | None]:
    """A sentence about the flags to train with, and the command that it speaks of. obstacles: their keys."""
    if "ends_at_once" in obstacles or "no_signal" in obstacles:
        return "There are no flags to train with before what is wrong has changed.", None
    if "lengths_alike" in obstacles:
        return (
            "Any aggregation will do: --loss_agg and --alpha change the scale of an update here, not its direction.",
            None,
        )
    command = "deltal train --loss_agg deltal --alpha "
    if advice["resolved"]:
        same = " It is Dr. GRPO norm exactly." if advice["alpha"] == 0 else ""
        return f"Train with alpha {advice['alpha']:g}, which is resolved.{same}", f"{command}{advice['alpha']:g}"
    remaining = ", ".join(f"{alpha:g}" for alpha in advice["candidates"])
    return f"Alpha is not resolved. These values of X remain: {remaining}.", f"{command}X"


def _factor(number: Combination) -> float:
    """The factor by which the sample has to grow until the number equals its margin. inf if the number is not above 0."""
    return (number.margin / number.value) ** 2 if number.value > 0 else math.inf


def _two_digits(number: float) -> int:
    digits = max(math.floor(math.log10(number)) - 1, 0) if number >= 1 else 0
    return max(round(number / 10**digits) * 10**digits, 1)
