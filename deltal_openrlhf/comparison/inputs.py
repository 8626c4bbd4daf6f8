"""What a run of the single-process loop reads before it trains: tokenizer, prompts, reward function, and the model's architecture."""

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from openrlhf.datasets.prompts_dataset import preprocess_data
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


class Prompt(NamedTuple):
    text: str
    label: str
    datasource: str
    token_ids: list[int]


class Inputs:
    """args: the host's hierarchical arguments. Raises ValueError, in one line, for a run that could not begin; reads no weights."""

    def __init__(self, args: Any) -> None:
        self.tokenizer = _tokenizer(args.actor.model_name_or_path)
        self.reward_func = _reward_function(args.reward.remote_url)
        self.prompts = self._read(args.data.prompt_dataset, args)
        self.held_out = self._read(args.eval.dataset, args) if args.eval.dataset else []
        rollouts, left = divmod(len(self.prompts), args.rollout.batch_size)
        if left or not rollouts:  # the pipeline ends an episode with a smaller rollout
            raise ValueError(
                f"--data.prompt_dataset {args.data.prompt_dataset} gives {len(self.prompts)} prompts (--data.max_samples "
                f"{args.data.max_samples}), allowed in the single-process loop is a multiple of --rollout.batch_size, "
                f"{args.rollout.batch_size}"
            )
        self.steps = rollouts * args.train.num_episodes

    def _read(self, path: str, args: Any) -> list[Prompt]:
        data = args.data
        template = self.tokenizer.apply_chat_template if data.apply_chat_template else None
        prompts = []
        # Not splitlines(): a JSON text may hold other line separators, such as U+2028.
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for number, line in enumerate(lines[: data.max_samples], 1):
            try:
                row = json.loads(line)
                text, label = preprocess_data(row, data.input_template, data.input_key, data.label_key, template)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: line {number}: {type(error).__name__}: {error}") from error
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if not ids or len(ids) + args.rollout.max_new_tokens > data.max_len:
                raise ValueError(
                    f"{path}: line {number}: the prompt has {len(ids)} tokens, allowed are 1 to "
                    f"{data.max_len - args.rollout.max_new_tokens} (--data.max_len minus --rollout.max_new_tokens)"
                )
            prompts.append(Prompt(text, label, row.get("datasource", "default"), ids))
        return prompts


@functools.cache  # many runs start from one checkpoint
def _tokenizer(start: str) -> Any:
    """Of a model that the loop can train: it samples and updates in eval mode."""
    try:
        config = AutoConfig.from_pretrained(start)
        tokenizer = AutoTokenizer.from_pretrained(start)
    except Exception as error:  # noqa: BLE001 - transformers raises OSError, KeyError, ValueError and more
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(f"--actor.model_name_or_path {start}: {type(error).__name__}: {reason}") from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    if any(rates) or getattr(config, "attention_dropout", 0):
        raise ValueError(
            f"--actor.model_name_or_path {start} has dropout, which the single-process loop does not apply; set it to 0"
        )
    return tokenizer


def _reward_function(path: str) -> Callable:
    spec = importlib.util.spec_from_file_location("reward_func", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - the file is the user's
        raise ValueError(f"--reward.remote_url {path}: {type(error).__name__}: {error}") from error
    if not hasattr(module, "reward_func"):
        raise ValueError(f"--reward.remote_url {path}: has no function reward_func(queries, prompts, labels)")
    return module.reward_func
