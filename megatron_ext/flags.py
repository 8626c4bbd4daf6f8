"""The --megatron.* flags: their help, and the checks that need only the flags."""

import argparse

from deltal_openrlhf.arguments import Arguments, WorkerGroup
from megatron_ext.layout import ParallelLayout

# The largest within the aim for memory (docs/evidence/logprob.md); every chunk adds to the whole gradient of the output layer.
DEFAULT_CHUNK_SIZE = 1024
"""Tokens whose logits exist at a time."""

GROUP = "Megatron"
SIZES = (
    ("tensor_parallel_size", 1, "GPUs over which every layer is split; default 1"),
    (
        "pipeline_parallel_size",
        1,
        "stages into which the layers are split, one after the other (1F1B schedule); default 1",
    ),
    (
        "virtual_pipeline_parallel_size",
        None,
        "pieces of the model on every pipeline stage, 2 or more (interleaved schedule). Stages then wait less for each other. By default "
        "each stage has one piece",
    ),
    ("context_parallel_size", 1, "GPUs over which the tokens of every response are split; default 1"),
    (
        "expert_parallel_size",
        1,
        "GPUs over which the experts of a mixture-of-experts model are spread; default 1",
    ),
)
"""Name, default and help of each parallel size."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the --megatron.* flags."""
    group = parser.add_argument_group(GROUP, "Megatron-Core in place of DeepSpeed: docs/reference/megatron_features.md")
    for name, default, text in SIZES:
        group.add_argument(f"--megatron.{name}", type=int, default=default, help=text)
    group.add_argument(
        "--megatron.sequence_parallel",
        action="store_true",
        help="split the activations between the layers over the tensor parallel GPUs too, to save memory",
    )
    group.add_argument(
        "--megatron.max_tokens_per_micro_batch",
        type=int,
        metavar="TOKENS",
        help="fill every micro batch with responses up to this many tokens, prompts and padding included. This replaces "
        "--train.micro_batch_size. Old and reference log-probabilities use batches of as many tokens. At least --data.max_len; by "
        "default there is no such limit",
    )
    group.add_argument(
        "--megatron.logprob_chunk_size",
        type=int,
        default=DEFAULT_CHUNK_SIZE,
        metavar="TOKENS",
        help="tokens for which log-probabilities are computed, and logits exist, at a time. A smaller number takes less memory; default "
        f"{DEFAULT_CHUNK_SIZE}",
    )


def check_numbers(args: Arguments, layout: ParallelLayout) -> None:
    """Raise ValueError for numbers of ranks that the layout does not divide, and for token numbers out of range. args: hierarchical."""
    for name in ("actor", "ref") if args.algo.kl.init_coef > 0 else ("actor",):
        group: WorkerGroup = getattr(args, name)
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
