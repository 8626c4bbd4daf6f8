"""--backend and the --megatron.* flags: their texts, and the checks that need nothing but the flags."""

import argparse
from typing import Any

from megatron_ext.layout import ParallelLayout

BACKENDS = ("deepspeed", "megatron")
# The largest within the aim for memory (docs/logprob.md); every chunk adds to the whole gradient of the output layer.
DEFAULT_CHUNK_SIZE = 1024
"""Tokens whose logits exist at a time."""

GROUP = "Megatron"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --backend and the --megatron.* flags. They have to be written out in full: an abbreviation of one is an unknown flag."""
    group = parser.add_argument_group(GROUP, "Megatron-Core in place of DeepSpeed: docs/megatron_features.md")
    ours = [
        group.add_argument(
            "--backend",
            choices=BACKENDS,
            default="deepspeed",
            help="what trains the policy and reads the reference model: deepspeed (default), or megatron, which splits the model over "
            "GPUs by the flags below and trains it with Megatron-Core's distributed optimizer",
        ),
        group.add_argument(
            "--megatron.tensor_parallel_size",
            type=int,
            default=1,
            help="GPUs over which every layer is split; default 1",
        ),
        group.add_argument(
            "--megatron.pipeline_parallel_size",
            type=int,
            default=1,
            help="stages into which the layers are split, one after the other (1F1B schedule); default 1",
        ),
        group.add_argument(
            "--megatron.virtual_pipeline_parallel_size",
            type=int,
            default=None,
            help="pieces of the model on every pipeline stage, 2 or more, which shortens the waiting of the stages (interleaved schedule); "
            "default: one piece, no interleaving",
        ),
        group.add_argument(
            "--megatron.context_parallel_size",
            type=int,
            default=1,
            help="GPUs over which the tokens of every response are split; default 1",
        ),
        group.add_argument(
            "--megatron.expert_parallel_size",
            type=int,
            default=1,
            help="GPUs over which the experts of a mixture-of-experts model are spread; default 1",
        ),
        group.add_argument(
            "--megatron.sequence_parallel",
            action="store_true",
            help="split the activations between the layers over the tensor parallel GPUs too, which takes less memory",
        ),
        group.add_argument(
            "--megatron.max_tokens_per_micro_batch",
            type=int,
            default=None,
            metavar="TOKENS",
            help="fill every micro batch with responses up to this many tokens, prompts and padding included, instead of with "
            "--train.micro_batch_size responses; old and reference log-probabilities are computed in batches of as many tokens. At "
            "least --data.max_len; default: no such limit",
        ),
        group.add_argument(
            "--megatron.logprob_chunk_size",
            type=int,
            default=DEFAULT_CHUNK_SIZE,
            metavar="TOKENS",
            help="log-probabilities are computed this many tokens at a time, so that no more logits exist at once; fewer take less "
            f"memory; default {DEFAULT_CHUNK_SIZE}",
        ),
    ]
    abbreviated = parser._get_option_tuples
    parser._get_option_tuples = lambda option_string: [  # type: ignore[method-assign]
        match for match in abbreviated(option_string) if match[0] not in ours
    ]


def check_unused(args: Any, defaults: dict[str, Any]) -> None:
    """Raise ValueError for a --megatron.* flag of a DeepSpeed run. defaults: the parser's value of every flag that is set, by dest."""
    for name, value in vars(args.megatron).items():
        flag = f"megatron.{name}"
        if flag in defaults and value != defaults[flag]:
            raise ValueError(
                f"--{flag} is {value}, but --backend is {args.backend}; it is allowed with --backend megatron only"
            )


def check_numbers(args: Any, layout: ParallelLayout) -> None:
    """Raise ValueError for numbers of ranks that the layout does not divide, and for token numbers out of range. args: hierarchical."""
    for name in ("actor", "ref") if args.algo.kl.init_coef > 0 else ("actor",):
        group = getattr(args, name)
        layout.check_world(group.num_nodes * group.num_gpus_per_node, name)
    chunk, budget = args.megatron.logprob_chunk_size, args.megatron.max_tokens_per_micro_batch
    if chunk < 1:
        raise ValueError(f"--megatron.logprob_chunk_size is {chunk}, allowed is 1 or more")
    longest = layout.padded(args.data.max_len)
    if budget is not None and budget < longest:
        padding = f", padded to a multiple of {layout.row_multiple}" if longest != args.data.max_len else ""
        raise ValueError(
            f"--megatron.max_tokens_per_micro_batch is {budget}, allowed is {longest} or more: a response may take --data.max_len "
            f"{args.data.max_len} tokens with its prompt{padding}"
        )
