"""Accuracy on held-out problems, and intervals for it.

Responses are sampled at temperature 1 with transformers in float32 on one thread: exact weights as saved, and no engine to start. They
are graded by the reward function that training uses. Per-problem results are kept, so that two models can be compared in pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from deltal_openrlhf.data.countdown import Problem, label
from deltal_openrlhf.quickstart import task
from deltal_openrlhf.rewards.countdown_reward import reward_func

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
    prompt_ids = torch.tensor(tokenizer(prompts, add_special_tokens=False)["input_ids"])  # [rows, WORDS_A_PROMPT]
    generator = torch.Generator().manual_seed(seed)
    responses = [
        response
        for part in prompt_ids.split(BATCH)
        for response in sample(model, part, max_new_tokens, tokenizer.eos_token_id, generator)
    ]
    queries = tokenizer.batch_decode(
        [p + r for p, r in zip(prompt_ids.tolist(), responses, strict=True)], skip_special_tokens=False
    )
    rewards = reward_func(queries, prompts, [label(*row) for row in rows])["rewards"]
    return {
        "correct": rewards.int().view(len(problems), samples).tolist(),
        "lengths": [len(response) for response in responses],
    }


@torch.no_grad()
def sample(
    model: PreTrainedModel, prompts: torch.Tensor, max_new_tokens: int, eos: int, generator: torch.Generator
) -> list[list[int]]:
    """Token ids of one response to each prompt at temperature 1, with the end token. prompts: ids [B, P], no padding."""
    responses: list[list[int]] = [[] for _ in prompts]
    alive = torch.arange(len(prompts))
    cache, tokens = DynamicCache(config=model.config), prompts
    for _ in range(max_new_tokens):
        logits = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        tokens = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        for row, token in zip(alive.tolist(), tokens[:, 0].tolist(), strict=True):
            responses[row].append(token)
        # Most responses are short: only those still running stay in the batch.
        running = (tokens[:, 0] != eos).nonzero()[:, 0]
        if len(running) == 0:
            break
        if len(running) < len(alive):
            cache.batch_select_indices(running)
            alive, tokens = alive[running], tokens[running]
    return responses
