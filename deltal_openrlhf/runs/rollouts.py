"""Saved rollouts: JSON lines that a training run writes on request and `deltal diagnose` reads. Imports no torch.

The first line is a header, every other line one response; the n responses to a prompt follow one another.

    {"format": 1, "step": 20, "model": "runs/base", "temperature": 1.0, "n_samples_per_prompt": 8, "max_new_tokens": 1024, "loss": {...}}
    {"prompt_index": 0, "sample": 0, "prompt": "...", "label": "...", "token_ids": [...], "action_mask": [...], "reward": 1.0, ...}
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.run_settings import check_loss

T = TypeVar("T")

FORMAT = 1
FOLDER = "rollouts"
"""The folder of a training run's files, in its --ckpt.output_dir."""


@dataclass(frozen=True)
class Header:
    """What the responses were sampled with."""

    step: int
    """PPO step that trained on them. The optimizer had taken step - 1 steps when they were sampled. 0: not from training."""
    model: str
    """The model that the run began with. It sampled the responses only if step is 0 or 1."""
    temperature: float
    n_samples_per_prompt: int
    max_new_tokens: int | None
    """Longest response in tokens, None where only prompt and response together are bounded."""
    loss: dict[str, Any] | None = None
    """The fields of host.settings.LossSettings of the run."""


@dataclass(frozen=True)
class Rollout:
    """One response."""

    prompt_index: int
    sample: int
    """0 to n - 1 among the responses to this prompt."""
    prompt: str
    label: Any
    token_ids: list[int]
    """Prompt and response; of several turns also what came between them."""
    action_mask: list[int]
    """[len(token_ids) - 1], 0 or 1: whether token_ids[t + 1] is trained on, as in the host's Experience."""
    reward: float
    truncated: bool
    """Cut off by the length limit."""
    log_probs: list[float] | None = None
    """Log-probabilities of the trained tokens, in nats, as the sampler gave them."""
    images: bool = False
    """The prompt had images, which are not saved."""
    response: str | None = None
    """Text from the first trained token on, with special tokens. None in files of versions before 0.2."""

    @property
    def length(self) -> int:
        """Trained tokens."""
        return sum(self.action_mask)


def path_of(output_dir: Path, step: int) -> Path:
    """Where a training run saves the responses that a PPO step trains on."""
    return output_dir / FOLDER / f"step_{step:06d}.jsonl"


def saved(output_dir: Path) -> dict[int, Path]:
    """PPO step -> file of the responses that a training run saved, by step. Files of other names do not count."""
    named = ((re.fullmatch(r"step_(\d+)\.jsonl", path.name), path) for path in (output_dir / FOLDER).glob("*.jsonl"))
    return dict(sorted((int(match[1]), path) for match, path in named if match))


def header_line(header: Header) -> str:
    return json.dumps({"format": FORMAT, **asdict(header)}, allow_nan=False) + "\n"


def rollout_line(rollout: Rollout) -> str:
    """Raises ValueError for a reward or log-probability that is not finite."""
    values = {
        name: value for name, value in vars(rollout).items() if name not in ("log_probs", "images", "response") or value
    }
    return json.dumps(values, allow_nan=False) + "\n"


def write(path: Path, header: Header, rollouts: Iterable[Rollout]) -> None:
    """The whole file or none."""
    write_atomically(path, header_line(header) + "".join(map(rollout_line, rollouts)))


def read(path: Path, *, images: bool = False) -> tuple[Header, list[Rollout]]:
    """Header and responses. Raises ValueError with one line that names the file, and the line that is not as it should be.

    images: whether responses to prompts with images are allowed. Their gradients cannot be computed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text") from error
    if not lines:
        raise ValueError(f"{path}: empty, a file of rollouts begins with its header")
    header = _parsed(path, 1, lines[0], _header)
    rollouts = [
        _parsed(path, number, line, partial(_rollout, images=images)) for number, line in enumerate(lines[1:], 2)
    ]
    _check_groups(path, rollouts, header.n_samples_per_prompt)
    return header, rollouts


def _parsed(path: Path, number: int, line: str, parse: Callable[[dict[str, Any]], T]) -> T:
    try:
        fields_of_line = json.loads(line)
        if not isinstance(fields_of_line, dict):
            raise ValueError("not a JSON object")
        return parse(fields_of_line)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: line {number}: {error}") from error


def _header(values: dict[str, Any]) -> Header:
    if values.get("format") != FORMAT:
        raise ValueError(f"not the header of saved rollouts: format is {values.get('format')!r}, allowed is {FORMAT}")
    header = _built(Header, values)
    temperature, n, longest = header.temperature, header.n_samples_per_prompt, header.max_new_tokens
    _check("step", header.step, _is_integer(header.step, 0), "an integer of 0 and more")
    _check("model", header.model, isinstance(header.model, str), "a text")
    _check("temperature", temperature, type(temperature) in (int, float) and temperature > 0, "a number above 0")
    _check("n_samples_per_prompt", n, _is_integer(n, 1), "an integer of 1 and more")
    _check("max_new_tokens", longest, longest is None or _is_integer(longest, 1), "null or an integer of 1 and more")
    if header.loss is not None:
        check_loss(header.loss)
    return header


def _rollout(values: dict[str, Any], *, images: bool) -> Rollout:
    rollout = _built(Rollout, values)
    if rollout.images and not images:
        raise ValueError("the prompt has images, which are not saved: gradients of such responses cannot be computed")
    _check("reward", rollout.reward, math.isfinite(rollout.reward), "a finite number")
    tokens, mask = rollout.token_ids, rollout.action_mask
    if not (isinstance(tokens, list) and all(type(token) is int and token >= 0 for token in tokens)):
        raise ValueError("token_ids is a list of token ids")
    if not isinstance(mask, list) or len(mask) != len(tokens) - 1 or not all(value in (0, 1) for value in mask):
        raise ValueError(f"action_mask is a list of {len(tokens) - 1} values 0 or 1, one for each token but the first")
    if not any(mask):
        raise ValueError("a response without a trained token has no gradient")
    if rollout.log_probs is not None and len(rollout.log_probs) != rollout.length:
        raise ValueError(f"log_probs has {len(rollout.log_probs)} values for {rollout.length} trained tokens")
    return rollout


def _built(kind: type, values: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in values]
    if missing:
        raise ValueError(f"lacks {missing[0]!r}")
    return kind(**{name: value for name, value in values.items() if name in known})


def _is_integer(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _check(name: str, value: Any, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r}, allowed is {allowed}")


def _check_groups(path: Path, rollouts: Sequence[Rollout], n: int) -> None:
    """The responses are n to each prompt, one prompt after the other."""
    if not rollouts:
        raise ValueError(f"{path}: holds no responses")
    for i, rollout in enumerate(rollouts):
        if (rollout.prompt_index, rollout.sample) != (rollouts[0].prompt_index + i // n, i % n):
            raise ValueError(
                f"{path}: line {i + 2}: prompt_index {rollout.prompt_index}, sample {rollout.sample}; expected are the {n} responses to "
                "each prompt, one prompt after the other"
            )
    if len(rollouts) % n:
        raise ValueError(f"{path}: the last prompt has {len(rollouts) % n} of {n} responses")
