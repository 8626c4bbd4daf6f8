"""Accuracy on held-out problems, and intervals for it.

Responses are sampled at temperature 1 with transformers in float32 on one thread: exact weights as saved, and no engine to start. They
are graded by the reward function that training uses. Per-problem results are kept, so that two models can be compared in pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.data.countdown import Problem, label
from deltal_openrlhf.quickstart import task
from deltal_openrlhf.rewards.countdown_reward import reward_func
from deltal_openrlhf.sampling import sample

SAMPLES = 4
BATCH = 1024


def evaluate(
    folder: Path, problems: Sequence[Problem], *, samples: int = SAMPLES, max_new_tokens: int, seed: int = 0
) -> dict:
    """Grade a checkpoint: {"correct": [[0/1] * samples] a problem, "lengths": tokens a response, the end token included}."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    rows = [problem for problem in problems for _ in range(samples)]
    prompts = [task.prompt(*row) for row in rows]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    generator = torch.Generator().manual_seed(seed)
    responses = [
        response.tokens
        for first in range(0, len(rows), BATCH)
        for response in sample(
            model,
            prompt_ids[first : first + BATCH],
            max_new_tokens=max_new_tokens,
            eos=[tokenizer.eos_token_id],
            generator=generator,
        )
    ]
    queries = tokenizer.batch_decode(
        [p + r for p, r in zip(prompt_ids, responses, strict=True)], skip_special_tokens=False
    )
    rewards = reward_func(queries, prompts, [label(*row) for row in rows])["rewards"]
    return {
        "correct": rewards.int().view(len(problems), samples).tolist(),
        "lengths": [len(response) for response in responses],
    }
