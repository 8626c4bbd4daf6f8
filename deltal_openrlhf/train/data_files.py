"""Checks that model, prompts and reward are given and that the local files of the flags exist. data_rows.py checks their content."""

import glob
from pathlib import Path

from deltal_openrlhf.agents import named as agents
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.worker_groups import models_of_run
from deltal_openrlhf.rewards import named
from deltal_openrlhf.train.data_flags import is_path

DATA_ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".arrow")
CODE_ENDINGS = (".py",)
DATA_COMMANDS = {
    # The authors' problems and their number.
    "countdown": "countdown --source Jiayi-Pan/Countdown-Tasks-3to4 --train 327680 --test 1024",
    "math": "math",
    "gsm8k": "gsm8k --holdout 256",  # the set that the recipe evaluates
    "shapes": "shapes",
}


def missing_models(args: Arguments, *, of_workers: bool = True) -> list[str]:
    """One line for each model whose path is not a folder.

    of_workers: also check models that only workers read, which are all but the policy.
    """
    missing = [(flag, name) for flag, name in models_of_run(args) if is_path(name) and not Path(name).is_dir()]
    return [f"--{flag} {name}: no such folder" for flag, name in missing if of_workers or flag.startswith("actor.")]


def missing_flags(args: Arguments) -> list[str]:
    """One line for everything without which OpenRLHF runs on no command line; none if all is given."""
    needed = {
        "a model (--actor.model_name_or_path)": args.actor.model_name_or_path,
        "prompts (--data.prompt_dataset)": args.data.prompt_dataset,
        f"a reward (--reward.remote_url {', '.join(named.FILES)}, a .py file or an address; --reward.model_name_or_path; or "
        "--train.agent_func_path)": has_reward(args),
    }
    if missing := [what for what, value in needed.items() if not value]:
        return [
            f"not given: {', '.join(missing)}; a recipe gives all, as in `deltal train --config countdown-deltal --dry_run`, and "
            "`deltal quickstart` needs none"
        ]
    return []


def has_reward(args: Arguments) -> bool:
    """Whether any flag says where rewards come from."""
    return bool(args.reward.remote_url or args.reward.model_name_or_path or args.train.agent_func_path)


def missing_files(args: Arguments, *, of_workers: bool = True) -> list[str]:
    """missing_flags(), and one line for each flag whose local files are missing, with the command that makes them where there is one.

    An unknown deltal:NAME counts as a missing file, and its line names the nearest one. A name without a known ending may be on the hub,
    unless it is written as a path.
    of_workers: also check files that only workers read.
    """
    flags: list[tuple[str, str | None, tuple[str, ...]]] = [
        ("data.prompt_dataset", args.data.prompt_dataset, DATA_ENDINGS),
        ("eval.dataset", args.eval.dataset, DATA_ENDINGS),
    ]
    if of_workers:
        flags.append(("reward.remote_url", args.reward.remote_url, CODE_ENDINGS))
        flags.append(("train.agent_func_path", args.train.agent_func_path, CODE_ENDINGS))
    lines = missing_flags(args)
    for flag, names, endings in flags:
        files = [name.split("@")[0].strip() for name in (names or "").split(",")]
        located = agents.located if flag == "train.agent_func_path" else named.located
        try:
            files = [located(name) if endings == CODE_ENDINGS else name for name in files]
        except ValueError as error:
            lines.append(f"--{flag}: {error}")
            continue
        missing = [name for name in files if _is_missing(name, endings)]
        if missing:
            lines.append(f"--{flag}: not there: {', '.join(missing)}{_remedy(missing[0], args)}")
    return lines


def _is_missing(name: str, endings: tuple[str, ...]) -> bool:
    if "://" in name or (endings == DATA_ENDINGS and glob.has_magic(name)):
        return False  # what the loader fetches, or finds
    if name.endswith(endings):
        return not Path(name).is_file()
    return endings == DATA_ENDINGS and is_path(name) and not Path(name).exists()


def _remedy(name: str, args: Arguments) -> str:
    folder = Path(name).parent
    if folder.name not in DATA_COMMANDS:
        return ""
    command = f"deltal data {DATA_COMMANDS[folder.name]} --out {folder}"
    if folder.name == "shapes":
        return f"; make such files with {command}"
    if folder.name != "countdown" and args.data.apply_chat_template:
        command += " --template chat"
    if args.rollout.max_new_tokens:
        # A longer prompt would be cut.
        longest = args.data.max_len - args.rollout.max_new_tokens
        command += f" --tokenizer {args.actor.model_name_or_path} --max_prompt_tokens {longest}"
    if folder.name == "countdown":
        command += " (without the hub: --num_numbers 3 4 in place of --source and its name)"
    return f"; make such files with {command}"
