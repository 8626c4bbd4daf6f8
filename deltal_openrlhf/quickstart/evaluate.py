"""Accuracy on held-out problems, and intervals for it.

Responses are sampled at temperature 1 with transformers, without an engine: on the CPU in float32, on a GPU in bfloat16, as the weights are
saved. They are graded by the reward function that training uses. Per-problem results are kept, so that two models can be compared in pairs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.data.countdown import Problem
from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.quickstart.kinds import KINDS, Kind
from deltal_openrlhf.rewards.reward_file import load_reward_function
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.train import threads


def evaluate(
    folder: Path,
    problems: Sequence[Problem],
    kind: Kind = KINDS["words"],
    device: str = "cpu",
) -> dict:
    """Grade a checkpoint.

    Returns {"correct": [[0/1] * kind.evaluated] a problem, "lengths": tokens a response, the end token included, "first": the text
    of the first response to each problem}. device: "cpu" or "cuda". For a process of its own (stages.in_child): transformers is imported
    here.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from deltal_openrlhf.models.sampling import end_tokens, sample_all

    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
    if device == "cpu":
        threads.use(model.num_parameters())
    rows = [problem for problem in problems for _ in range(kind.evaluated)]
    texts = [as_text(kind.prompt(*row), tokenizer) for row in rows]
    prompt_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    with Progress("  responses", "ended", len(rows), estimate=False, stream=sys.stdout) as progress:
        found = sample_all(
            model,
            prompt_ids,
            most=kind.at_once,
            max_new_tokens=kind.max_new_tokens,
            eos=end_tokens(folder, tokenizer),
            generator=torch.Generator(device).manual_seed(0),
            progress=progress.update,
        )
    responses = [response.tokens for response in found]
    queries = tokenizer.batch_decode(
        [p + r for p, r in zip(prompt_ids, responses, strict=True)], skip_special_tokens=False
    )
    reward_func = load_reward_function("reward", kind.reward)
    rewards = reward_func(queries, texts, [kind.label(*row) for row in rows])["rewards"]
    return {
        "correct": rewards.int().view(len(problems), kind.evaluated).tolist(),
        "lengths": [len(response) for response in responses],
        "first": tokenizer.batch_decode(responses[:: kind.evaluated], skip_special_tokens=True),
    }
