"""DeepSpeed, the host's own training backend, with this package's strategy and worker."""

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.backends import Backend, Layout
from deltal_openrlhf.host.features import check_features
from deltal_openrlhf.host.settings import LossSettings


class DeepSpeed:
    """The backend. Every rank holds a copy of the model, divided by ZeRO if --ds.zero_stage says so."""

    name = "deepspeed"
    title = "DeepSpeed"
    summary = "OpenRLHF's own"
    ignored: Collection[str] = ()

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add nothing, because the host's parser has the flags."""

    def check(self, args: Arguments, defaults: Mapping[str, Any], on_cpu: bool) -> Layout | None:
        check_features(args, LossSettings.from_args(args))
        return None

    def check_model(self, args: Arguments) -> None:
        """Accept every model that transformers loads."""

    def token_budget(self, args: Arguments) -> int | None:
        return args.train.max_tokens_per_gpu if args.train.dynamic_batch_enable else None

    def fixed(self, args: Arguments) -> dict[str, Any]:
        critic = args.algo.advantage.estimator == "gae"
        flags = ["actor.optim", "ds.param_dtype", "ds.lora.rank"]
        flags += ["critic.optim"] if critic else []
        flags += ["ds.lora.alpha", "ds.lora.target_modules"] if args.ds.lora.rank else []
        found = {f"--{flag}": cpu.lookup(args, flag) for flag in flags}
        found["a critic (--algo.advantage.estimator gae)"] = critic
        if args.ds.use_universal_ckpt:
            return found
        found["--ds.zero_stage"] = args.ds.zero_stage
        if args.ds.zero_stage:  # each rank has a file with its part
            for name in ("actor", "critic") if critic else ("actor",):
                group = getattr(args, name)
                found[f"--{name}.num_nodes x --{name}.num_gpus_per_node"] = group.num_nodes * group.num_gpus_per_node
        return found

    def equal_micro_batches(self, args: Arguments) -> bool:
        return not args.train.dynamic_batch_enable

    def strategy(self) -> type:
        from deltal_openrlhf.host.strategy import DeltaLStrategy

        return DeltaLStrategy

    def policy_actor(self) -> type:
        from deltal_openrlhf.host.actor import DeltaLPolicyModelActor

        return DeltaLPolicyModelActor

    def reference_actor(self) -> None:
        return None


BACKEND: Backend = DeepSpeed()
