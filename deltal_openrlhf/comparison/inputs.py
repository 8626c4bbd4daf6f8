"""Everything that a run of the single-process loop reads before it trains, except the weights. Each fault is a ValueError in one line."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from openrlhf.datasets.prompts_dataset import preprocess_data
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.models import remote_code

ATTENTION = "sdpa"


class Prompt(NamedTuple):
    text: str
    label: str
    datasource: str
    token_ids: list[int]


class Inputs:
    """Tokenizer, prompts and held-out prompts."""

    def __init__(self, args: Arguments) -> None:
        start = args.actor.model_name_or_path
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(start)
        except Exception as error:  # noqa: BLE001 - transformers raises OSError, KeyError, ValueError and more
            raise ValueError(f"--actor.model_name_or_path {start}: {_in_one_line(error)}") from error
        assert args.data.prompt_dataset is not None and args.rollout.max_new_tokens is not None  # check_loop_flags
        self._longest = args.data.max_len - args.rollout.max_new_tokens
        self.prompts = self._read(args.data.prompt_dataset, args, args.data.max_samples)
        self.held_out = self._read(args.eval.dataset, args) if args.eval.dataset else []
        self.rollouts, left = divmod(len(self.prompts), args.rollout.batch_size)
        if left or not self.rollouts:  # the pipeline ends an episode with a smaller rollout
            raise ValueError(
                f"--data.prompt_dataset {args.data.prompt_dataset} gives {len(self.prompts)} prompts (--data.max_samples "
                f"{args.data.max_samples}), allowed in the single-process loop is a multiple of --rollout.batch_size, "
                f"{args.rollout.batch_size}"
            )

    def _read(self, path: str, args: Arguments, most: int | None = None) -> list[Prompt]:
        """The rows of a file, at most so many. Empty lines are none, as in the pipeline."""
        data = args.data
        template = self.tokenizer.apply_chat_template if data.apply_chat_template else None
        prompts: list[Prompt] = []
        try:
            # Not splitlines(): a JSON text may hold other line separators, such as U+2028.
            lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeError) as error:
            raise ValueError(f"{path}: {_in_one_line(error)}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if len(prompts) == most:
                break
            try:
                row = json.loads(line)
                text, label = preprocess_data(row, data.input_template, data.input_key, data.label_key, template)
                ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            except Exception as error:  # noqa: BLE001 - of JSON, of the host, or of a chat template
                raise ValueError(f"{path}: line {number}: {_in_one_line(error)}") from error
            if not ids or len(ids) > self._longest:
                raise ValueError(
                    f"{path}: line {number}: the prompt has {len(ids)} tokens, allowed are 1 to "
                    f"{self._longest} (--data.max_len minus --rollout.max_new_tokens)"
                )
            prompts.append(Prompt(text, label, row.get("datasource", "default"), ids))
        return prompts


def check_architecture(start: str) -> None:
    """Raise ValueError unless the start is a causal language model without dropout: the loop samples and updates in eval mode.

    Reads config.json only.
    """
    remote_code.check(start, flag="--actor.model_name_or_path")
    try:
        config = AutoConfig.from_pretrained(start)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION)
    except Exception as error:  # noqa: BLE001 - transformers raises OSError, KeyError, ValueError and more
        raise ValueError(f"--actor.model_name_or_path {start}: {_in_one_line(error)}") from error
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    if any(rates) or getattr(config, "attention_dropout", None):
        raise ValueError(
            f"--actor.model_name_or_path {start} has dropout, which the single-process loop does not apply; set it to 0"
        )


def _in_one_line(error: BaseException) -> str:
    """The kind of the error and the first line of its message, because transformers writes pages."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no reason given')}"
