"""The countdown reward for OpenRLHF: `--reward.remote_url deltal:countdown`.

The host loads this file by its path and calls `reward_func` from a thread, one response at a time. The label of a problem is the JSON
text {"numbers": [1, 2, 3], "target": 9}, as deltal_openrlhf.data.countdown writes it. The reward is 1 or 0.
"""

import torch

from deltal_openrlhf.rewards.countdown import last_answer, score
from deltal_openrlhf.rewards.scoring import countdown_problem, response_of


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses.

    queries: prompt and response, decoded from the tokens that the policy saw. prompts, labels: as they stand in the data file. Returns
    rewards and scores, float32 [n], and in extra_logs the share of responses that gave an answer. Raises ValueError for a query that does
    not start with its prompt, and for a broken label, because a reward is never made up.
    """
    responses = [response_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    rewards = torch.tensor([score(r, *countdown_problem(label)) for r, label in zip(responses, labels, strict=True)])
    answered = torch.tensor([float(last_answer(r) is not None) for r in responses])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"answered": answered}}
