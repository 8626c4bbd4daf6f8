"""Checks of sizes that have to fit together. The host would find a misfit only after Ray has started. numbers.py checks single numbers."""

from collections.abc import Mapping
from typing import Any

from deltal_openrlhf import backends, cpu
from deltal_openrlhf.agents import named as agents
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.backends import Backend, Layout
from deltal_openrlhf.host.worker_groups import worker_groups
from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs.faults import Faults
from deltal_openrlhf.train.gpus import ranks

ROLLOUT = "--rollout.batch_size x --rollout.n_samples_per_prompt"


def check_other_backends(args: Arguments, defaults: Mapping[str, Any]) -> None:
    """Raise Refused for flags of another training backend.

    defaults: the parser's value of every flag that is set, by dest.
    """
    faults = Faults()
    for flag, default in defaults.items():
        name = flag.partition(".")[0]
        if name not in backends.REGISTRY or name == args.backend:
            continue
        value = cpu.lookup(args, flag)
        if value != default:
            faults.add(
                ValueError(
                    f"--{flag} is {value}, but --backend is {args.backend}; it is allowed with --backend {name} only"
                )
            )
    faults.refuse()


def describe_layout(layout: Layout, args: Arguments) -> str:
    """Describe the layout in one line, such as "tensor 2, pipeline 2, context 1, data parallel 1"."""
    return f"{layout.describe()}, data parallel {layout.data_parallel(ranks(args.actor))}"


def data_parallel_ranks(args: Arguments) -> int:
    """The number of policy ranks that train on different responses."""
    return ranks(args.actor) // args.ds.ring_attn_size // args.ds.tensor_parallel_size


def check_rollout_size(args: Arguments) -> None:
    """Raise ValueError if a rollout has no whole number of optimizer steps, on whatever ranks."""
    responses, step = args.rollout.batch_size * args.rollout.n_samples_per_prompt, args.train.batch_size
    _check_multiple(ROLLOUT, responses, "--train.batch_size", step)


def check_batch_sizes(args: Arguments, backend: Backend) -> None:
    """Raise Refused for batch sizes that leave micro batches over in every rollout. (A short last rollout is completed when it comes.)"""
    shared = args.ds.ring_attn_size * args.ds.tensor_parallel_size
    _check_multiple(
        "--actor.num_nodes x --actor.num_gpus_per_node",
        ranks(args.actor),
        "--ds.ring_attn_size x --ds.tensor_parallel_size",
        shared,
    )
    data_parallel = data_parallel_ranks(args)
    rollout, step = args.rollout.batch_size * args.rollout.n_samples_per_prompt, args.train.batch_size
    parts = []
    if not backend.equal_micro_batches(args):
        parts.append(("--train.batch_size", step, "the number of data-parallel ranks", data_parallel))
    else:
        micro = data_parallel * args.train.micro_batch_size
        parts.append(("--train.batch_size", step, "ranks x --train.micro_batch_size", micro))
        if data_parallel > 1:  # else ranks would train on different numbers of responses
            micro = data_parallel * args.rollout.micro_batch_size
            parts.append((ROLLOUT, rollout, "ranks x --rollout.micro_batch_size", micro))
    faults = Faults()
    with faults.gathered():
        check_rollout_size(args)
    for part in parts:
        with faults.gathered():
            _check_multiple(*part)
    faults.refuse()


def _check_multiple(total_flags: str, total: int, part_flags: str, part: int) -> None:
    if part < 1 or total % part:
        raise ValueError(f"{total_flags} is {total}, which is not a multiple of {part_flags}, {part}")


def check_placement(args: Arguments) -> None:
    """Raise Refused for engines that get no weights, and for GPUs, engines and ranks that cannot share a placement."""
    faults = Faults()
    for check in (_check_engines, _check_shared_gpus, _check_reference, _check_critic):
        with faults.gathered():
            check(args)
    faults.refuse()


def _check_engines(args: Arguments) -> None:
    faults = Faults()
    if args.vllm.sync_with_ray and args.vllm.sync_backend == "gloo":
        faults.add(
            ValueError(
                "--vllm.sync_with_ray fails with --vllm.sync_backend gloo in OpenRLHF; leave out --vllm.sync_with_ray"
            )
        )
    if not args.vllm.num_engines:
        given = "not given" if args.vllm.num_engines is None else args.vllm.num_engines
        faults.add(ValueError(f"--vllm.num_engines is {given}; responses come from vLLM only, so allowed is 1 or more"))
    faults.refuse()


def _check_shared_gpus(args: Arguments) -> None:
    if not args.vllm.num_engines or not args.train.colocate_all or args.train.async_enable:
        return
    actor_gpus, engine_gpus = ranks(args.actor), args.vllm.num_engines * args.vllm.tensor_parallel_size
    if engine_gpus != actor_gpus:
        raise ValueError(
            f"--actor.num_nodes x --actor.num_gpus_per_node is {actor_gpus}, --vllm.num_engines x --vllm.tensor_parallel_size is "
            f"{engine_gpus}; with --train.colocate_all they share the GPUs, so they must be equal"
        )


def _check_reference(args: Arguments) -> None:
    colocated = args.train.colocate_all or args.train.colocate_actor_ref
    if colocated and args.algo.kl.init_coef > 0:
        _check_equal_sizes(args, "actor", "ref")


def _check_critic(args: Arguments) -> None:
    groups, actor_gpus = worker_groups(args), ranks(args.actor)
    if "critic" in groups and args.train.colocate_critic_reward:
        _check_equal_sizes(args, "critic", "reward")
    elif args.train.colocate_all:
        for name in {"critic", "reward"} & groups.keys():
            if (gpus := ranks(groups[name])) > actor_gpus:
                raise ValueError(
                    f"--{name}.num_nodes x --{name}.num_gpus_per_node is {gpus}, --actor.num_nodes x --actor.num_gpus_per_node is "
                    f"{actor_gpus}; with --train.colocate_all it may not be more"
                )


def _check_equal_sizes(args: Arguments, one: str, other: str) -> None:
    """Raise ValueError unless the two colocated groups have the same numbers of nodes and GPUs."""
    sizes = [(group.num_nodes, group.num_gpus_per_node) for group in (getattr(args, one), getattr(args, other))]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"--{one}.num_nodes, --{one}.num_gpus_per_node are {sizes[0]}, those of --{other} are {sizes[1]}; colocated they must be equal"
        )


def check_label_key(args: Arguments, *, has_our_service: bool = False) -> None:
    """Raise ValueError if a reward or an agent of ours, which grade by labels, would get none. A user's own may need none.

    has_our_service: whether `deltal serve-rewards` gives the rewards.
    """
    agent, reward = args.train.agent_func_path, args.reward.remote_url
    is_ours = has_our_service or (agents.known(agent) if agent else named.known(reward))
    if is_ours and args.data.label_key is None:
        given_by = f"--train.agent_func_path {agent}" if agent else f"--reward.remote_url {reward}"
        raise ValueError(
            f"--data.label_key is not given, but {given_by} grades by labels; allowed is the name of their column, as in "
            "--data.label_key label"
        )


def check_save_rollouts(args: Arguments) -> None:
    """Raise ValueError for --deltal.save_rollouts below 0, or where rewards come only after the rollout. args: hierarchical."""
    every = args.deltal.save_rollouts
    if every < 0:
        raise ValueError(f"--deltal.save_rollouts is {every}, allowed is 0 (off) or a number of PPO steps")
    if every and not args.reward.remote_url and not args.train.agent_func_path:
        raise ValueError(
            f"--deltal.save_rollouts is {every}, but rewards come from a reward model; it is allowed with --reward.remote_url or "
            "--train.agent_func_path"
        )
