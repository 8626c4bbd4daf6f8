"""What the host would find out only after Ray has started: sizes that do not fit together, files that are not there."""

from pathlib import Path
from typing import Any

DATA_ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".arrow")
DATA_COMMANDS = ("countdown", "math", "gsm8k")


def check_placement(args: Any) -> None:
    """Raise ValueError for numbers of GPUs, engines and reference ranks that cannot share a placement. args: hierarchical."""
    if not args.vllm.num_engines:
        raise ValueError(
            f"--vllm.num_engines is {args.vllm.num_engines}; responses come from vLLM only, so allowed is 1 or more"
        )
    actor_gpus = args.actor.num_nodes * args.actor.num_gpus_per_node
    if args.train.colocate_all and not args.train.async_enable:
        engine_gpus = args.vllm.num_engines * args.vllm.tensor_parallel_size
        if engine_gpus != actor_gpus:
            raise ValueError(
                f"--actor.num_nodes x --actor.num_gpus_per_node is {actor_gpus}, --vllm.num_engines x --vllm.tensor_parallel_size is "
                f"{engine_gpus}; with --train.colocate_all they share the GPUs, so they must be equal"
            )
    colocated = args.train.colocate_all or args.train.colocate_actor_ref
    sizes = [(group.num_nodes, group.num_gpus_per_node) for group in (args.actor, args.ref)]
    if colocated and args.algo.kl.init_coef > 0 and sizes[0] != sizes[1]:
        raise ValueError(
            f"--actor.num_nodes, --actor.num_gpus_per_node are {sizes[0]}, those of --ref are {sizes[1]}; colocated they must be equal"
        )


def missing_files(args: Any) -> list[str]:
    """One line for each flag that names local files that are not there, with the command that makes them where there is one.

    A data set without a known ending may be one of the hub, so it is left to the host.
    """
    flags = (
        ("data.prompt_dataset", args.data.prompt_dataset, DATA_ENDINGS),
        ("eval.dataset", args.eval.dataset, DATA_ENDINGS),
        ("reward.remote_url", args.reward.remote_url, ".py"),
        ("train.agent_func_path", args.train.agent_func_path, ".py"),
    )
    lines = []
    for flag, names, endings in flags:
        files = [name.split("@")[0].strip() for name in (names or "").split(",")]
        missing = [name for name in files if name.endswith(endings) and not Path(name).is_file()]
        if missing:
            lines.append(f"--{flag}: not there: {', '.join(missing)}{_remedy(missing[0], args)}")
    return lines


def check_files(args: Any) -> None:
    """Raise ValueError for the first flag that names a missing file."""
    for line in missing_files(args):
        raise ValueError(line)


def _remedy(name: str, args: Any) -> str:
    folder = Path(name).parent
    if folder.name not in DATA_COMMANDS:
        return ""
    command = f"deltal data {folder.name} --out {folder}"
    if args.rollout.max_new_tokens:
        # A longer prompt would be cut.
        longest = args.data.max_len - args.rollout.max_new_tokens
        command += f" --tokenizer {args.actor.model_name_or_path} --max_prompt_tokens {longest}"
    return f"; make such files with {command}"
