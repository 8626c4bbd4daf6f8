"""The reward of reasoning-gym tasks for OpenRLHF, in process: `--reward.remote_url deltal:reasoning-gym`.

The host loads this file by its path and calls `reward_func` from threads, one response at a time. The label of a problem is JSON text, as
`deltal data reasoning-gym` writes it (gym_labels.py). The reward is 1 where the library gives the last <answer>...</answer> its full mark,
else 0.
"""

import torch

from deltal_openrlhf.rewards.gym_labels import read_label
from deltal_openrlhf.rewards.scoring import logs_of, response_of, shared_grader, submit


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: object) -> dict:
    """Rewards of n responses. Blocks until all are scored. Several threads may call it at once.

    queries: prompt and response, decoded from the tokens that the policy saw. prompts, labels: as they stand in the data file.

    Returns rewards and scores, float32 [n]. extra_logs has for each status of a grade (grade/equal, grade/timeout, ...) 1 for the responses
    with that status and 0 for the others, and in grade/mark what the library gave: a full mark is 1, part marks lie below. Raises
    ValueError for a query that does not start with its prompt, and for a label of another task, because a reward is never made up.
    """
    for label in labels:
        read_label(label)
    grader = shared_grader()
    pending = [
        submit(grader, response_of(query, prompt), label)
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]
    grades = [grade.result() for grade in pending]
    rewards = torch.tensor([float(grade.equal) for grade in grades])
    logs = {name: torch.tensor(values) for name, values in logs_of(grades).items()}
    logs["grade/mark"] = torch.tensor([grade.mark or 0.0 for grade in grades])
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}
