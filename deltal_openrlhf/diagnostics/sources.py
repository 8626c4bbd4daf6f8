"""The responses of a diagnosis: sampled here from prompts, or saved by a training run."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoTokenizer, PreTrainedModel

from deltal_openrlhf.diagnostics import responses
from deltal_openrlhf.diagnostics.folder import ROLLOUTS, DiagnosisFolder
from deltal_openrlhf.diagnostics.responses import Sampling, Task
from deltal_openrlhf.diagnostics.rewarding import reward_digest, rewarder
from deltal_openrlhf.evaluation.problems import by_set, digest, read_problems
from deltal_openrlhf.evaluation.prompts import check_lengths, tokenize
from deltal_openrlhf.models.sampling import end_tokens
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.rollouts import Header, Rollout

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Responses, n to each prompt."""

    prompts: int
    n: int
    temperature: float
    longest: float | None
    """M unless --max_length gives it; None where the rollouts do not say"""
    settings: Callable[[int], dict[str, Any]]
    """number of prompts -> what the responses to the first of them depend on, but for the model"""
    facts: dict[str, Any]
    """what findings.json says about them"""
    largest_token: int
    holder: str
    """what has that token, as the beginning of a sentence"""
    read: Callable[[DiagnosisFolder, Callable[[], PreTrainedModel]], list[Rollout]]
    """(folder, what loads the model) -> the responses, n to a prompt one after the other; those that are missing are sampled"""

    def check_vocabulary(self, size: int) -> None:
        """Raise ValueError if a token is none of the model's."""
        if self.largest_token >= size:
            raise ValueError(
                f"{self.holder} token {self.largest_token}, the model has {size}: it is not the model of these tokens"
            )


def drawn(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` different items in random order. A larger count begins with the items of a smaller one, unlike random.sample."""
    rng = random.Random(seed)
    places: dict[int, None] = {}
    while len(places) < count:
        places[rng.randrange(len(items))] = None
    return [items[place] for place in places]


def from_prompts(model: str, folder: Path, data: list[str], how: Sampling, reward: str) -> Source:
    """Random prompts of evaluation files. folder: that of the model. Raises ValueError, in one line, for faulty input."""
    problems = read_problems(data)
    if how.prompts > len(problems):
        raise ValueError(f"--prompts is {how.prompts}, {', '.join(data)} holds {len(problems)}; allowed is up to that")
    # At random: a file may be sorted. In random order, so that the time of the first ones tells about the rest.
    problems = drawn(problems, min(how.sampled, len(problems)), how.seed)
    prompts = tokenize(folder, problems)
    check_lengths(folder, problems, prompts, how.max_new_tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tasks = [Task(prompt, problem.label) for prompt, problem in zip(prompts, problems, strict=True)]
    grade, ends = rewarder(reward, tokenizer), end_tokens(folder, tokenizer)

    def decode(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens))

    def settings(count: int) -> dict[str, Any]:
        sets = by_set(problems[:count])
        digests = {name: digest([[p.prompt, p.label] for p in members]) for name, members in sets.items()}
        return {**how._asdict(), "prompts": count, "reward": reward_digest(reward), "sets": digests}

    def read(work: DiagnosisFolder, load: Callable[[], PreTrainedModel]) -> list[Rollout]:
        if not responses.is_complete(work, tasks, how):
            header = Header(0, model, how.temperature, how.n, how.max_new_tokens)
            responses.sample_missing(work, tasks, how, load(), ends, grade, decode, header)
        return rollouts.read(work.path / ROLLOUTS)[1][: how.prompts * how.n]

    return Source(
        prompts=how.prompts,
        n=how.n,
        temperature=how.temperature,
        longest=how.max_new_tokens,
        settings=settings,
        facts={"data": data, "reward": reward, **how._asdict()},
        largest_token=max(token for prompt in prompts for token in prompt.token_ids),
        holder=f"{folder}: its tokenizer makes",
        read=read,
    )


def from_saved(path: Path, prompts: int | None, seed: int) -> Source:
    """A file of rollouts, or random prompts of it; None takes all. Raises ValueError, in one line, for faulty input."""
    if not path.is_file():
        raise ValueError(f"--rollouts: not there: {path}")
    header, found = rollouts.read(path)
    n = header.n_samples_per_prompt
    groups = [found[i : i + n] for i in range(0, len(found), n)]
    if prompts is not None and prompts > len(groups):
        raise ValueError(f"--prompts is {prompts}, {path} holds {len(groups)}; allowed is up to that")
    groups = drawn(groups, len(groups) if prompts is None else prompts, seed)
    taken = [rollout for group in groups for rollout in group]
    digest_of_file = sha256(path.read_bytes()).hexdigest()
    return Source(
        prompts=len(groups),
        n=n,
        temperature=header.temperature,
        longest=(header.loss or {}).get("max_length") or header.max_new_tokens,
        settings=lambda count: {"rollouts": digest_of_file, "prompts": count},
        facts={"rollouts": str(path), "step": header.step, "temperature": header.temperature, "seed": seed},
        largest_token=max(max(rollout.token_ids) for rollout in taken),
        holder=f"--rollouts {path}: holds",
        read=lambda work, load: taken,
    )
