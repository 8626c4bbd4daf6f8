"""The data sets of a run. The host's own loader reads them, with the changes of this package.

The host cuts the evaluation sets at --data.max_samples too (OpenRLHF#1145). It also cuts the beginning off a prompt that is too long. Here
evaluation sets are whole, and --deltal.skip_long_prompts leaves long prompts out of every set.

A run binds these names, in the process that reads the data, while the host builds what draws prompts:

    ppo_trainer.prepare_datasets, ppo_trainer_async.prepare_datasets  -> the same, with the loader below inside
    ppo_trainer.blending_datasets                                     -> the same, which knows its limits, while the function above runs
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from deltal_openrlhf.arguments import ALL_ROWS, Arguments
from deltal_openrlhf.data.prompt_tokens import token_lengths
from deltal_openrlhf.host.alone import alone
from deltal_openrlhf.host.data_fingerprint import check_same_rows
from deltal_openrlhf.host.rebind import rebound

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1000
"""Rows that are rendered and put into tokens at once."""


def longest_prompt(args: Arguments) -> int:
    """The largest number of tokens of a prompt. The host cuts the beginning off a longer one."""
    return args.data.max_len - (args.rollout.max_new_tokens or 1)


def load(*given: Any, **named: Any) -> "Dataset":
    """The host's loader, blending_datasets. Raises what it raises."""
    return alone("openrlhf.datasets.utils").blending_datasets(*given, **named)


def training_set(args: Arguments) -> "Dataset":
    """The rows that a run trains on, in the order of the files, including long prompts. Raises what the loader raises."""
    data = args.data
    rows = load(
        data.prompt_dataset,
        data.prompt_probs,
        silent(args),
        args.train.seed,
        max_count=data.max_samples,
        dataset_split=data.prompt_split,
    )
    return rows.select(range(min(data.max_samples, len(rows))))


def evaluation_set(args: Arguments) -> "Dataset":
    """The rows of all evaluation sets. Raises what the loader raises."""
    return load(args.eval.dataset, None, silent(args), dataset_split=args.eval.split)


def silent(args: Arguments) -> Any:
    """A strategy as the loader needs it, without its output."""
    return SimpleNamespace(args=args, print=lambda *_: None, is_rank_0=lambda: False)


def rendered(rows: Sequence[dict], tokenizer: Any, args: Arguments) -> list[str]:
    """The prompts of the rows as the host makes them. Raises what the host or the chat template raises."""
    preprocess_data = alone("openrlhf.datasets.prompts_dataset").preprocess_data
    keys = {"input_key": args.data.input_key, "label_key": None}
    if not args.data.apply_chat_template:
        return [preprocess_data(row, args.data.input_template, **keys)[0] for row in rows]
    # The host renders one after the other, which takes three times as long.
    chats = [preprocess_data(row, apply_chat_template=lambda chat, **_: chat, **keys)[0] for row in rows]
    return tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)


def short_ones(rows: "Dataset", tokenizer: Any, args: Arguments) -> "Dataset":
    """The rows whose prompts are not cut."""
    column, longest = rows.select_columns([args.data.input_key]), longest_prompt(args)
    kept: list[int] = []
    for start in range(0, len(rows), BATCH):
        texts = rendered(column.select(range(start, min(start + BATCH, len(rows)))).to_list(), tokenizer, args)
        kept += [start + i for i, length in enumerate(token_lengths(texts, tokenizer)) if length <= longest]
    return rows.select(kept)


@contextmanager
def data_sets_bound(module: ModuleType) -> Iterator[None]:
    """module: the host's ppo_trainer or ppo_trainer_async, while it builds what draws prompts."""
    from openrlhf.trainer import ppo_trainer  # imports Ray, vLLM and DeepSpeed

    host_prepare = module.prepare_datasets

    def prepare_datasets(strategy: Any, tokenizer: Any) -> tuple:
        args = strategy.args
        limited = _with_limits(ppo_trainer.blending_datasets, tokenizer, args, args.data.max_samples)
        # The host cuts both kinds of sets once more, after they were read.
        with (
            rebound(ppo_trainer, "blending_datasets", limited),
            rebound(args.data, "max_samples", ALL_ROWS),
        ):
            prepared = host_prepare(strategy, tokenizer)
        check_same_rows(args.deltal.data, prepared[0].dataset)
        return prepared

    with rebound(module, "prepare_datasets", prepare_datasets):
        yield


def _with_limits(
    host: "Callable[..., Dataset]", tokenizer: Any, args: Arguments, limit: int
) -> "Callable[..., Dataset]":
    """The host's loader. It gives `max_count` for training sets only. limit: --data.max_samples."""

    def limited(*given: Any, max_count: int | None = None, **named: Any) -> "Dataset":
        if max_count is None:
            rows = host(*given, **named)
        else:
            rows = host(*given, max_count=limit, **named)
            rows = rows.select(range(min(limit, len(rows))))
        return short_ones(rows, tokenizer, args) if args.deltal.skip_long_prompts else rows

    return limited
