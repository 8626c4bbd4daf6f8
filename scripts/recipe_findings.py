"""What a run of a recipe has to show of the recipe's own settings: in the metrics of its steps, and in the log of its processes."""

import re
import statistics
from pathlib import Path

from deltal_openrlhf.train.recipes import EXPERIMENTS

PROMPTS = 4
MAX_NEW_TOKENS = 24

LOSS_LINES = {
    "token-mean": "loss aggregation token-mean",
    "seq-mean-token-mean": "loss aggregation seq-mean-token-mean",
    "seq-mean-token-sum-norm": f"loss aggregation seq-mean-token-sum-norm, M {MAX_NEW_TOKENS}",
    "deltal": "∆L is active: alpha {alpha:g}, scope step, M " + str(MAX_NEW_TOKENS),
}


def findings(name: str, recipe: dict, rows: list[dict], log: str) -> dict[str, bool]:
    """What has to be seen of the recipe's settings in the first two steps' metrics and in the log of all processes."""
    experiment, first = EXPERIMENTS[name], rows[:2]
    if len(first) < 2:
        return {"2 PPO steps": False}
    samples = PROMPTS * recipe["rollout.n_samples_per_prompt"]
    mode = recipe["loss_agg"]
    line = LOSS_LINES[mode].format(alpha=recipe.get("alpha", 0))
    penalised = [int(n) for n in re.findall(r"\[DAPO Overlong Penalty\] (\d+)/", log)]
    cut = [row["rollout/truncated_rate"] for row in first]
    filtered = [row["deltal/filtered_share"] for row in first]
    seen = {
        "2 PPO steps": True,
        f"{samples} responses a rollout": all(row["rollout/num_samples"] == samples for row in first),
        "4 optimizer steps a rollout": all(row["deltal/optimizer_steps"] == 4 for row in first),
        "learning rate 1e-6 in every step": all(abs(row["actor_lr"] - 1e-6) < 1e-15 for row in first),
        f"a worker says {line!r}": f"rank 0: {line}" in log,
        "the weights of that mode": all(_weights_fit(mode, row, samples // 4) for row in first),
        "the arguments that leave no trace in metrics": all(text in log for text in _arguments(recipe)),
        "right and wrong answers": 0 < statistics.mean(row["score"] for row in first) < 1,
        "a gradient in every step": all(row["deltal/grad_norm"] > 0 for row in first),
        "evaluation of every set": all(f"'eval_{source}_pass8'" in log for source in sources(recipe)),
        "responses were cut off": max(cut) > 0,
    }
    if experiment.dapo:
        seen["dynamic sampling replaced prompts"] = "Filtered out: avg_reward=0.00" in log
        seen["no prompt without signal is left"] = all(row["deltal/groups_without_signal"] == 0 for row in first)
    else:
        seen["no dynamic sampling"] = "Filtered out" not in log and "dynamic_filtering_pass_rate" not in first[0]
    if "deltal.overlong_filtering" in recipe:
        seen["what was cut off is filtered"] = all(abs(a - b) < 1e-6 for a, b in zip(cut, filtered, strict=True))
    else:
        seen["nothing is filtered"] = max(filtered) == 0
    if "reward.overlong_buffer_len" in recipe:
        seen["long responses are punished"] = sum(penalised[:2]) > 0 and all(
            row["rollout/reward_mean"] < row["score"] for row in first
        )
    else:
        seen["no response is punished"] = not penalised
    return seen


def _arguments(recipe: dict) -> list[str]:
    """As the host prints its arguments at the start. The critic's, which is not there, have other values."""
    return [
        f"estimator='{recipe['algo.advantage.estimator']}'",
        f"dual_clip={float(recipe['actor.dual_clip'])}",
        f"eps_clip_low_high={recipe['actor.eps_clip_low_high']}",
        f"betas={recipe['actor.adam.betas']}",
        f"weight_decay={recipe['actor.adam.weight_decay']}",
        f"lr_scheduler='{recipe['actor.lr_scheduler']}'",
    ]


def _weights_fit(mode: str, row: dict, responses: int) -> bool:
    """By the sum of the weights x_i times M, and by the effective number of responses, which equal weights leave at `responses`."""
    low, high = row["deltal/weight_sum_x_M_min"], row["deltal/weight_sum_x_M_max"]
    equal = abs(row["deltal/ess"] - responses) < 1e-3
    by_mean_length = MAX_NEW_TOKENS / row["deltal/response_length_mean"]
    if mode in ("deltal", "seq-mean-token-sum-norm"):
        return abs(low - 1) < 1e-4 and abs(high - 1) < 1e-4 and equal == (mode != "deltal")
    if mode == "token-mean":
        # M / mean length. With overlong filtering the mean is over shorter responses than the metric's.
        return 1 < low and by_mean_length * 0.9 < row["deltal/weight_sum_x_M"]
    # M x mean of 1 / length
    return row["deltal/weight_sum_x_M"] > 1.3 * by_mean_length and not equal


def sources(recipe: dict) -> list[str]:
    """Names of the evaluation sets."""
    sets = recipe["eval.dataset"]
    return [Path(path).stem for path in ([sets] if isinstance(sets, str) else sets)]
