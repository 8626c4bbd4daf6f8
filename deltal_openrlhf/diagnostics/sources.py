"""Where the responses of a diagnosis come from: sampled here from prompts, or saved by a training run."""

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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


class Shape(NamedTuple):
    prompts: int
    n: int  # responses to each

    @property
    def responses(self) -> int:
        return self.prompts * self.n

    def describe(self) -> str:
        return f"{self.prompts} prompts, {self.n} responses to each"


class Source(Protocol):
    shape: Shape
    temperature: float
    longest: float | None
    """M unless --max_length gives it; None where the rollouts do not say"""
    settings: dict[str, Any]
    """what the responses depend on, but for the model"""
    facts: dict[str, Any]
    """what findings.json says about them"""

    def check_vocabulary(self, size: int) -> None:
        """Raise ValueError if a token is none of the model's."""

    def read(self, work: DiagnosisFolder, load: Callable[[], PreTrainedModel]) -> list[Rollout]:
        """The responses, n to a prompt one after the other; those that are missing are sampled."""


class FromPrompts:
    """Random prompts of evaluation files."""

    def __init__(self, model: str, folder: Path, data: list[str], how: Sampling, reward: str) -> None:
        """folder: that of the model. Raises ValueError, in one line, for whatever is not as it should be."""
        problems = read_problems(data)
        if how.prompts > len(problems):
            raise ValueError(
                f"--prompts is {how.prompts}, {', '.join(data)} holds {len(problems)}; allowed is up to that"
            )
        # At random: a file may be sorted. In random order, so that the time of the first ones tells about the rest.
        problems = random.Random(how.seed).sample(problems, how.prompts)
        prompts = tokenize(folder, problems)
        check_lengths(folder, problems, prompts, how.max_new_tokens)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._tasks = [Task(prompt, problem.label) for prompt, problem in zip(prompts, problems, strict=True)]
        self._rewarder = rewarder(reward, self._tokenizer)
        self._how, self._model, self._folder = how, model, folder
        self._ends = end_tokens(folder, self._tokenizer)
        self.shape = Shape(how.prompts, how.n)
        self.temperature = how.temperature
        self.longest: float | None = how.max_new_tokens
        sets = {name: digest([[p.prompt, p.label] for p in members]) for name, members in by_set(problems).items()}
        self.settings = {**how._asdict(), "reward": reward_digest(reward), "sets": sets}
        self.facts = {"data": data, "reward": reward, **how._asdict()}

    def check_vocabulary(self, size: int) -> None:
        largest = max(token for task in self._tasks for token in task.prompt.token_ids)
        if largest >= size:
            raise ValueError(f"{self._folder}: its tokenizer makes token {largest}, the model has {size}")

    def read(self, work: DiagnosisFolder, load: Callable[[], PreTrainedModel]) -> list[Rollout]:
        if not responses.is_complete(work, self._how):
            header = Header(0, self._model, self.temperature, self._how.n, self._how.max_new_tokens)
            responses.sample_missing(work, self._tasks, self._how, load(), self._ends, self._rewarder, header)
        return rollouts.read(work.path / ROLLOUTS)[1]


class FromSaved:
    """A file of rollouts, or random prompts of it."""

    def __init__(self, path: Path, prompts: int | None, seed: int) -> None:
        """prompts: how many to take; None is all. Raises ValueError, in one line, for whatever is not as it should be."""
        if not path.is_file():
            raise ValueError(f"--rollouts: not there: {path}")
        header, found = rollouts.read(path)
        groups = [found[i : i + header.n_samples_per_prompt] for i in range(0, len(found), header.n_samples_per_prompt)]
        if prompts is not None and prompts > len(groups):
            raise ValueError(f"--prompts is {prompts}, {path} holds {len(groups)}; allowed is up to that")
        # All of them in the order of the file, asked for or not: the settings do not tell the two apart, a resumed folder must not either.
        if prompts is not None and prompts < len(groups):
            groups = random.Random(seed).sample(groups, prompts)
        self._rollouts = [rollout for group in groups for rollout in group]
        self.header = header
        self.shape = Shape(len(groups), header.n_samples_per_prompt)
        self.temperature = header.temperature
        self.longest = (header.loss or {}).get("max_length") or header.max_new_tokens
        self.settings = {"rollouts": sha256(path.read_bytes()).hexdigest(), "prompts": self.shape.prompts}
        self.facts = {"rollouts": str(path), "step": header.step, "temperature": header.temperature, "seed": seed}
        self._path = path

    def check_vocabulary(self, size: int) -> None:
        largest = max(max(rollout.token_ids) for rollout in self._rollouts)
        if largest >= size:
            raise ValueError(
                f"--rollouts {self._path}: holds token {largest}, the model has {size}: it is not the model of that run"
            )

    def read(self, work: DiagnosisFolder, load: Callable[[], PreTrainedModel]) -> list[Rollout]:
        return self._rollouts
