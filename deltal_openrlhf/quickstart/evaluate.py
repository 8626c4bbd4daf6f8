"""Accuracy on held-out problems, and intervals for it.

Responses are sampled at temperature 1 with transformers, without an engine: on the CPU in float32 on one thread, on a GPU in bfloat16, as
the weights are saved. They are graded by the reward function that training uses. Per-problem results are kept, so that two models can be
compared in pairs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.data.countdown import Problem, label
from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.quickstart.given import PROMPTS
from deltal_openrlhf.rewards.countdown_reward import reward_func
from deltal_openrlhf.runs.progress import Progress

SAMPLES = 4
BATCH = {"words": 1024, "chat": 128, "base": 128}
"""Responses at a time where memory allows, by the kind of prompts: a model that reads English has a large cache and vocabulary."""


def evaluate(
    folder: Path,
    problems: Sequence[Problem],
    max_new_tokens: int,
    prompts: str = "words",
    device: str = "cpu",
    *,
    samples: int = SAMPLES,
) -> dict:
    """Grade a checkpoint: {"correct": [[0/1] * samples] a problem, "lengths": tokens a response, the end token included}.

    prompts: a key of given.PROMPTS. device: "cpu" or "cuda". For a process of its own (stages.in_child): transformers is imported here.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from deltal_openrlhf.models.sampling import end_tokens, sample_all

    if device == "cpu" and prompts == "words":
        torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
    rows = [problem for problem in problems for _ in range(samples)]
    texts = [as_text(PROMPTS[prompts](*row), tokenizer) for row in rows]
    prompt_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    with Progress("  responses", "ended", len(rows), estimate=False, stream=sys.stdout) as progress:
        found = sample_all(
            model,
            prompt_ids,
            most=BATCH[prompts],
            max_new_tokens=max_new_tokens,
            eos=end_tokens(folder, tokenizer),
            generator=torch.Generator(device).manual_seed(0),
            progress=progress.update,
        )
    responses = [response.tokens for response in found]
    queries = tokenizer.batch_decode(
        [p + r for p, r in zip(prompt_ids, responses, strict=True)], skip_special_tokens=False
    )
    rewards = reward_func(queries, texts, [label(*row) for row in rows])["rewards"]
    return {
        "correct": rewards.int().view(len(problems), samples).tolist(),
        "lengths": [len(response) for response in responses],
    }
