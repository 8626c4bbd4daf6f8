"""The first stage of a diagnosis: samples responses of the model to prompts, grades them, and appends them to rollouts.jsonl batch by
batch.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from deltal_openrlhf.diagnostics.folder import PROG, ROLLOUTS, DiagnosisFolder
from deltal_openrlhf.diagnostics.rewarding import Rewarder
from deltal_openrlhf.evaluation.prompts import Prompt
from deltal_openrlhf.models.sampling import Response, sample
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.runs.rollouts import Header, Rollout
from deltal_openrlhf.statistics.seeds import seed_of

STAGE = "sampling"


class Sampling(NamedTuple):
    prompts: int  # that are used
    n: int  # responses to each prompt
    max_new_tokens: int
    temperature: float
    batch_size: int  # responses sampled at a time
    seed: int

    @property
    def prompts_a_batch(self) -> int:
        return max(1, self.batch_size // self.n)

    @property
    def sampled(self) -> int:
        """The prompts of whole batches. With them the responses to a prompt do not depend on how many prompts there are in all."""
        return -(-self.prompts // self.prompts_a_batch) * self.prompts_a_batch


class Task(NamedTuple):
    prompt: Prompt
    label: str


def is_complete(folder: DiagnosisFolder, tasks: Sequence[Task], how: Sampling) -> bool:
    path = folder.path / ROLLOUTS
    return path.exists() and _whole_batches(path, len(tasks), how)[0] == len(tasks)


def sample_missing(
    folder: DiagnosisFolder,
    tasks: Sequence[Task],
    how: Sampling,
    model: PreTrainedModel,
    eos: Collection[int],
    rewarder: Rewarder,
    decode: Callable[[list[int]], str],
    header: Header,
) -> None:
    """Resume after the last whole batch. The responses depend on the seed, the batch's number and its prompts only.

    tasks: of whole batches (Sampling.sampled), or all that there are. decode: tokens -> text with special tokens.
    """
    path = folder.path / ROLLOUTS
    done, size = _whole_batches(path, len(tasks), how) if path.exists() else (0, 0)
    progress = Progress(f"{PROG}: sampling", "prompts", len(tasks), done=done, stream=sys.stdout)

    def sampled(before: int, ended: int) -> None:
        progress.update(before + ended // how.n)

    with open(path, "ab") as file, progress:
        file.truncate(size)
        if not size:
            file.write(rollouts.header_line(header).encode())
        for start in range(done, len(tasks), how.prompts_a_batch):
            batch = tasks[start : start + how.prompts_a_batch]
            with folder.stage(STAGE, prompts=start + len(batch)):
                generator = torch.Generator(model.device).manual_seed(seed_of(how.seed, start))
                responses = sample(
                    model,
                    [task.prompt.token_ids for task in batch for _ in range(how.n)],
                    max_new_tokens=how.max_new_tokens,
                    eos=eos,
                    generator=generator,
                    temperature=how.temperature,
                    progress=partial(sampled, start),
                )
                lines = []
                for i, task in enumerate(batch):
                    mine = responses[i * how.n : (i + 1) * how.n]
                    rewards = rewarder(task.prompt, task.label, [response.tokens for response in mine])
                    for k, (response, reward) in enumerate(zip(mine, rewards, strict=True)):
                        text = decode(response.tokens)
                        lines.append(rollouts.rollout_line(_rollout(start + i, k, task, response, text, reward)))
                file.write("".join(lines).encode())
                file.flush()
            progress.update(start + len(batch))


def _rollout(prompt_index: int, sample: int, task: Task, response: Response, text: str, reward: float) -> Rollout:
    prompt, tokens = task.prompt.token_ids, response.tokens
    return Rollout(
        prompt_index=prompt_index,
        sample=sample,
        prompt=task.prompt.text,
        label=task.label,
        token_ids=[*prompt, *tokens],
        action_mask=[0] * (len(prompt) - 1) + [1] * len(tokens),
        reward=reward,
        truncated=not response.finished,
        response=text,
    )


def _whole_batches(path: Path, total: int, how: Sampling) -> tuple[int, int]:
    """The number of prompts whose batches are whole, and the bytes up to there. A kill may have cut the last batch short."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    prompts = max(0, len(lines) - 1) // how.n
    if prompts < total:  # the last batch of all that there are may be smaller
        prompts = prompts // how.prompts_a_batch * how.prompts_a_batch
    return prompts, sum(map(len, lines[: 1 + prompts * how.n])) if lines else 0
