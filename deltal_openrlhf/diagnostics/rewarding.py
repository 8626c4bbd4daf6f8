"""Rewards of sampled responses, either by their problem's label or by a reward file as --reward.remote_url takes it."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from deltal_openrlhf.evaluation.prompts import Prompt
from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.rewards import named
from deltal_openrlhf.rewards.reward_file import RewardFunction, checked_rewards, load_reward_function
from deltal_openrlhf.rewards.scoring import submit
from deltal_openrlhf.runs.errors import with_kind

AUTO = "auto"

Rewarder = Callable[[Prompt, str, Sequence[Sequence[int]]], list[float]]
"""(prompt, label, tokens of its responses) -> their rewards."""


class RewardFailed(Exception):
    """A reward file raised an exception or returned something other than a number. The message is one line."""


def check_reward(reward: str) -> None:
    """Raises ValueError, in one line, for a file that is not there, and where the grader's package is missing."""
    if reward == AUTO:
        if find_spec("math_verify") is None:
            raise ValueError(
                "math-verify is not installed, --reward auto needs it: pip install 'deltal-openrlhf[rewards]'"
            )
        return
    path = named.located(reward)
    if not path.endswith(".py"):
        raise ValueError(
            f"--reward is {reward}, allowed are {AUTO}, {', '.join(named.FILES)} and a .py file with reward_func(queries, prompts, "
            "labels)"
        )
    if not Path(path).is_file():
        raise ValueError(f"--reward: not there: {reward}")


def reward_digest(reward: str) -> str:
    """The identity of the reward: "auto", or the file's SHA-256."""
    return AUTO if reward == AUTO else sha256(Path(named.located(reward)).read_bytes()).hexdigest()


def rewarder(reward: str, tokenizer: PreTrainedTokenizerBase) -> Rewarder:
    """tokenizer: that of the model. Raises ValueError for a reward file that cannot be loaded."""
    if reward == AUTO:
        return _by_label(tokenizer)
    return _by_function(reward, load_reward_function("--reward", reward), tokenizer)


def _by_label(tokenizer: PreTrainedTokenizerBase) -> Rewarder:
    """Grade like `deltal eval`: 1 or 0."""
    grader = Grader()  # its processes end with this one

    def rewards(prompt: Prompt, label: str, responses: Sequence[Sequence[int]]) -> list[float]:
        texts = [str(tokenizer.decode(list(tokens), skip_special_tokens=True)) for tokens in responses]
        pending = [submit(grader, text, label) for text in texts]
        return [float(grade.result().equal) for grade in pending]

    return rewards


def _by_function(name: str, function: RewardFunction, tokenizer: PreTrainedTokenizerBase) -> Rewarder:
    """Call the function like the host: for one response at a time, with its special tokens."""

    def reward(prompt: Prompt, label: str, tokens: Sequence[int]) -> float:
        query = str(tokenizer.decode([*prompt.token_ids, *tokens], skip_special_tokens=False))
        try:
            return checked_rewards(function([query], [prompt.text], [label]), 1).item()
        # The user's code, which may raise anything and give anything.
        except Exception as error:
            raise RewardFailed(f"no reward from {name}: {with_kind(error)}") from error

    return lambda prompt, label, responses: [reward(prompt, label, tokens) for tokens in responses]
