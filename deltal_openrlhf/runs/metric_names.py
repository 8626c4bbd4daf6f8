"""The metrics that a run writes, each with its unit and its meaning. docs/reference/metrics.md is made from this file.

A mean over responses or tokens is one over the whole rollout batch or optimizer step, whatever the micro batches and ranks.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """unit: empty for a number without one. A share is a number from 0 to 1."""

    unit: str
    meaning: str


class Group(NamedTuple):
    """about: sentences in Markdown, for the page."""

    about: str
    metrics: Mapping[str, Metric]


STEP = {
    "step": Metric("PPO steps", "number of the step, from 1"),
    "total_steps": Metric("PPO steps", "steps of the whole run as planned at its start; null in asynchronous training"),
    "time": Metric("seconds", "time at which the line was written, since 1970"),
}

AGGREGATION = {
    "deltal/weight_sum_x_M": Metric(
        "", "M times the sum of the weights x_i of an optimizer step; 1 for deltal with scope step"
    ),
    "deltal/weight_sum_x_M_min": Metric("", "smallest of these sums over the optimizer steps of the PPO step"),
    "deltal/weight_sum_x_M_max": Metric("", "largest of these sums"),
    "deltal/ess": Metric("responses", "effective sample size of an optimizer step, (sum x_i)^2 / sum x_i^2"),
    "deltal/grad_norm": Metric("", "norm of the policy's gradient before clipping"),
    "deltal/clip_share": Metric("share", "optimizer steps whose gradient norm was above --actor.max_norm"),
    "deltal/optimizer_steps": Metric("optimizer steps", "steps of the policy's optimizer that were taken"),
    "deltal/skipped_steps": Metric(
        "optimizer steps",
        "steps without an update: no response is left to learn from, or fp16 overflows",
    ),
}

ADAPTIVE_ALPHA = {
    "deltal/alpha": Metric("", "alpha in force"),
    "deltal/alpha_best": Metric("", "the alpha with the most signal to noise"),
    "deltal/alpha_low": Metric(
        "", "lower end of a 95 % interval of that alpha, which does not decide whether alpha moves"
    ),
    "deltal/alpha_high": Metric("", "upper end of it"),
}

RESPONSES = {
    "deltal/response_length_mean": Metric("tokens", "mean length of the sampled responses"),
    "deltal/response_length_p50": Metric("tokens", "median length"),
    "deltal/response_length_p95": Metric("tokens", "95th percentile of the length"),
    "deltal/response_length_max": Metric("tokens", "the longest response"),
    "deltal/filtered_share": Metric("share", "responses that --deltal.overlong_filtering keeps out of the policy loss"),
    "deltal/groups_without_signal": Metric(
        "share", "responses whose whole group has the same reward, so that the advantage is 0"
    ),
    "rollout/reward_mean": Metric("reward", "mean reward of the sampled responses"),
    "rollout/reward_std": Metric("reward", "standard deviation of the rewards"),
    "rollout/response_length_mean": Metric(
        "tokens", "mean length of the sampled responses, from the first to the last sampled token"
    ),
    "rollout/truncated_rate": Metric("share", "responses that the length limit cut off"),
    "rollout/num_samples": Metric("responses", "responses of the rollout batch"),
    "dynamic_filtering_pass_rate": Metric(
        "percent", "responses kept per prompt drawn, with --algo.dynamic_filtering_enable"
    ),
}

TRAINING = {
    "policy_loss": Metric("", "policy loss of an optimizer step"),
    "entropy_loss": Metric("nats", "mean entropy of the policy over tokens, with --actor.entropy_coef"),
    "kl": Metric("nats", "mean estimate of the divergence from the reference model, by --algo.kl.estimator"),
    "logprobs_diff": Metric("nats", "mean log-probability under the policy minus that under the reference model"),
    "ppo_clip_ratio": Metric("share", "trained tokens whose loss is clipped"),
    "ppo_kl": Metric("nats", "mean log-probability before the update minus that of the policy"),
    "vllm_kl": Metric(
        "nats", "mean log-probability of vLLM minus that of the trainer, with --algo.advantage.is_correction_level"
    ),
    "is_filter_ratio": Metric(
        "share", "trained tokens (responses, with level seq) whose importance ratio is outside the bounds"
    ),
    "actor_lr": Metric("", "learning rate of the policy after the last optimizer step"),
    "actor_grad_norm": Metric("", "the host's gradient norm of the last optimizer step"),
    "reward": Metric("reward", "mean reward of the responses that were trained on, with length penalties"),
    "score": Metric("", "mean score that the reward function gives for dynamic filtering"),
    "return": Metric("reward", "mean return of a response, with the divergence where it is part of the reward"),
    "group_reward_std": Metric("reward", "mean over responses of the standard deviation of their group's rewards"),
    "response_length": Metric("tokens", "mean length of a response"),
    "total_length": Metric("tokens", "mean length of prompt and response"),
    "truncated": Metric("share", "responses that the length limit cut off"),
    "response_clip_ratio": Metric("share", "responses that reach --data.max_len with their prompt"),
    "critic_loss": Metric("", "loss of the critic"),
    "values": Metric("reward", "mean value that the critic gives a token"),
    "critic_lr": Metric("", "learning rate of the critic"),
    "critic_grad_norm": Metric("", "gradient norm of the critic"),
}

GRADES = {
    "grade/STATUS": Metric(
        "share",
        "responses to which our rewards give this status: equal, different, unparsable, too_long, timeout, worker_died",
    ),
    "grade/mark": Metric(
        "mark",
        "mean mark of the library's scorer, deltal:reasoning-gym only; the reward pays for full marks of 1 alone",
    ),
}

TIMES = {
    "timing/generation": Metric("seconds", "sampling and rewards"),
    "timing/make_experience": Metric("seconds", "log-probabilities of policy and reference model, values, advantages"),
    "timing/ppo_train": Metric("seconds", "the optimizer steps"),
    "timing/broadcast": Metric("seconds", "sending the weights to vLLM"),
    "timing/step_total": Metric("seconds", "the sum of these; in asynchronous training the wall time of the step"),
}

EVALUATION = {
    "eval_SET_pass1": Metric("reward", "mean reward over the rows of the set"),
    "eval_SET_pass1_low": Metric("reward", "lower end of its 95 % interval, a bootstrap over rows"),
    "eval_SET_pass1_high": Metric("reward", "upper end"),
    "eval_SET_passN": Metric("reward", "mean over rows of the best of N responses (--eval.n_samples_per_prompt N)"),
    "eval_SET_response_length_mean": Metric("tokens", "mean length of the responses"),
    "eval_SET_truncated_rate": Metric("share", "responses that the length limit cut off"),
    "eval_response_length_mean": Metric("tokens", "mean length over all sets"),
    "eval_truncated_rate": Metric("share", "responses that the length limit cut off, over all sets"),
    "eval_num_samples": Metric("responses", "responses of the evaluation"),
}

GROUPS = {
    "Every line": Group("`metrics.jsonl` has one line for each PPO step.", STEP),
    "Aggregation": Group(
        "They describe the weights and updates of a PPO step, as means over its optimizer steps unless the meaning says otherwise.",
        AGGREGATION,
    ),
    "An adaptive alpha": Group(
        "Only with --alpha auto. The last three are there after the last rollout of a window.", ADAPTIVE_ALPHA
    ),
    "Responses": Group("They describe the rollout batch, before it is cut into micro batches.", RESPONSES),
    "Training": Group(
        "OpenRLHF logs them. This package makes KL, entropy and losses true means over tokens.",
        TRAINING,
    ),
    "Rewards": Group(
        "Every number of a reward file's `extra_logs` appears under its own name. These come from `deltal:math`.",
        GRADES,
    ),
    "Time": Group("All times are wall time.", TIMES),
    "Evaluation": Group(
        "`evals.jsonl` has one line for each evaluation, with `step`, `time` and these. SET is the `datasource` of a row, or `default`.",
        EVALUATION,
    ),
}
"""By title."""

METRICS = {name: metric for group in GROUPS.values() for name, metric in group.metrics.items()}
