"""The math reward for OpenRLHF, in process: `--reward.remote_url deltal:math`.

The host loads this file by its path and calls `reward_func` from threads, one response at a time. The label of a problem is its gold
answer, or a JSON list of several (grading/labels.py); countdown labels are scored as well. The reward is 1 or 0.
"""

import torch

from deltal_openrlhf.rewards.scoring import logs_of, response_of, shared_grader, submit


def reward_func(queries: list[str], prompts: list[str], labels: list[str], unmarked: str = "none", **_: object) -> dict:
    """Rewards of n responses. Blocks until all are graded. Several threads may call it at once.

    queries: prompt and response, decoded from the tokens that the policy saw. prompts, labels: as they stand in the data file. unmarked:
    what is graded if a response marks no answer: "none", its last "answer-line" or the "whole" text. --deltal.unmarked sets it.

    Returns rewards and scores, float32 [n]. extra_logs has for each status of a grade (grade/equal, grade/timeout, ...) 1 for the responses
    with that status and 0 for the others. Raises ValueError for a query that does not start with its prompt, and for a broken label,
    because a reward is never made up.
    """
    grader = shared_grader()
    pending = [
        submit(grader, response_of(query, prompt), label, unmarked)
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]
    grades = [grade.result() for grade in pending]
    rewards = torch.tensor([float(grade.equal) for grade in grades])
    logs = {name: torch.tensor(values) for name, values in logs_of(grades).items()}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}
