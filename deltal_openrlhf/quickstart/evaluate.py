"""Accuracy on held-out problems, and intervals for it.

Responses are sampled at temperature 1 with transformers, without an engine: on the CPU in float32 on one thread, on a GPU in bfloat16, as
the weights are saved. They are graded by the reward function that training uses. Per-problem results are kept, so that two models can be
compared in pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.data.countdown import Problem, label
from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.models.memory import rows_at_once
from deltal_openrlhf.models.sampling import end_tokens, sample
from deltal_openrlhf.quickstart.given import PROMPTS
from deltal_openrlhf.rewards.countdown_reward import reward_func

SAMPLES = 4
BATCH = {"words": 1024, "chat": 128, "base": 128}
"""Responses at a time where memory allows, by the kind of prompts: a model that reads English has a large cache and vocabulary."""


def evaluate(
    folder: Path,
    problems: Sequence[Problem],
    *,
    samples: int = SAMPLES,
    max_new_tokens: int,
    seed: int = 0,
    prompts: str = "words",
    device: str = "cpu",
) -> dict:
    """Grade a checkpoint: {"correct": [[0/1] * samples] a problem, "lengths": tokens a response, the end token included}.

    prompts: a key of given.PROMPTS. device: "cpu" or "cuda".
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
    rows = [problem for problem in problems for _ in range(samples)]
    texts = [as_text(PROMPTS[prompts](*row), tokenizer) for row in rows]
    prompt_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    generator = torch.Generator(device).manual_seed(seed)
    batch = rows_at_once(model, max(map(len, prompt_ids)), max_new_tokens, BATCH[prompts])
    responses = [
        response.tokens
        for first in range(0, len(rows), batch)
        for response in sample(
            model,
            prompt_ids[first : first + batch],
            max_new_tokens=max_new_tokens,
            eos=end_tokens(folder, tokenizer),
            generator=generator,
        )
    ]
    queries = tokenizer.batch_decode(
        [p + r for p, r in zip(prompt_ids, responses, strict=True)], skip_special_tokens=False
    )
    rewards = reward_func(queries, texts, [label(*row) for row in rows])["rewards"]
    return {
        "correct": rewards.int().view(len(problems), samples).tolist(),
        "lengths": [len(response) for response in responses],
    }
