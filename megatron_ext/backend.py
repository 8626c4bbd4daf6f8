"""Megatron-Core as a backend of the registry in deltal_openrlhf/backends.py. Only the workers import Megatron-Core."""

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.backends import Backend
from deltal_openrlhf.runs.faults import Faults
from megatron_ext import features, flags, support
from megatron_ext.layout import ParallelLayout


class Megatron:
    """Splits the model over tensor, pipeline, context and expert parallel ranks."""

    name = "megatron"
    title = "Megatron"
    summary = (
        "splits the model over GPUs by the --megatron.* flags and trains it with Megatron-Core's distributed optimizer"
    )
    ignored: Collection[str] = features.IGNORED

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        flags.add_flags(parser)

    def check(self, args: Arguments, defaults: Mapping[str, Any], on_cpu: bool) -> ParallelLayout:
        faults = Faults()
        with faults.gathered():
            features.check_features(args, defaults)
        with faults.gathered():
            flags.check_numbers(args, ParallelLayout.from_args(args))
        with faults.gathered():
            support.check_installed(on_cpu)
        faults.refuse()
        return ParallelLayout.from_args(args)

    def check_model(self, args: Arguments) -> None:
        support.check_model(args, ParallelLayout.from_args(args))

    def token_budget(self, args: Arguments) -> int | None:
        return args.megatron.max_tokens_per_micro_batch

    def fixed(self, args: Arguments) -> dict[str, Any]:
        return {}  # its checkpoints load under any layout

    def equal_micro_batches(self, args: Arguments) -> bool:
        return False

    def strategy(self) -> type:
        from megatron_ext.strategy import MegatronStrategy

        return MegatronStrategy

    def policy_actor(self) -> type:
        from megatron_ext.actor import MegatronPolicyModelActor

        return MegatronPolicyModelActor

    def reference_actor(self) -> type:
        from megatron_ext.actor import MegatronReferenceModelActor

        return MegatronReferenceModelActor


BACKEND: Backend = Megatron()
