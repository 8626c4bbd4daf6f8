"""The countdown reward for OpenRLHF: `--reward.remote_url .../deltal_openrlhf/rewards/countdown_reward.py`.

The host loads this file by its path and calls `reward_func` from a thread, one response at a time. The label of a problem is the JSON
text {"numbers": [1, 2, 3], "target": 9}, as deltal_openrlhf.data.countdown writes it. The reward is 1 or 0.
"""

import json

import torch

from deltal_openrlhf.rewards.countdown import last_answer, score


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_) -> dict:
    """Rewards of n responses.

    queries: prompt and response, decoded from the tokens that the policy saw. prompts, labels: as they stand in the data file.
    Returns rewards and scores, float32 [n], and in extra_logs the share of responses that gave an answer at all.
    Raises ValueError for a query that does not start with its prompt and for a broken label: no reward is made up.
    """
    responses = [_response(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    rewards = torch.tensor([score(r, *_problem(label)) for r, label in zip(responses, labels, strict=True)])
    answered = torch.tensor([float(last_answer(r) is not None) for r in responses])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"answered": answered}}


def _response(query: str, prompt: str) -> str:
    """Only what follows the prompt: a prompt may hold a valid example answer."""
    if not query.startswith(prompt):
        raise ValueError(
            "the query does not start with its prompt, so the response cannot be told apart: either the tokenizer does not give the "
            "prompt back (decode(encode(prompt)) != prompt), or the prompt was cut to fit --data.max_len minus "
            f"--rollout.max_new_tokens. prompt: {prompt[:80]!r}, query: {query[:80]!r}"
        )
    return query[len(prompt) :]


def _problem(label: str) -> tuple[list[int], int]:
    try:
        problem = json.loads(label)
        numbers, target = problem["numbers"], problem["target"]
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"a countdown label is {{'numbers': [...], 'target': n}} as JSON text, not {label!r}"
        ) from error
    if not (isinstance(numbers, list) and all(type(n) is int for n in [*numbers, target])):
        raise ValueError(f"a countdown label holds a list of integers and an integer, not {label!r}")
    return numbers, target
