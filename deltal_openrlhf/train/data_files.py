"""Local files that the flags name: they have to be there, and their first row has to be what the flags say it is."""

import json
from pathlib import Path

from deltal_openrlhf.arguments import Arguments

DATA_ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".arrow")
DATA_COMMANDS = {
    # The authors' problems and their number.
    "countdown": "countdown --source Jiayi-Pan/Countdown-Tasks-3to4 --train 327680 --test 1024",
    "math": "math",
    "gsm8k": "gsm8k",
}


def check_data(args: Arguments) -> None:
    """Raise ValueError for a missing column, or for messages without --data.apply_chat_template.

    Files that are not there, and data sets of the hub, are left to others.
    """
    for flag, names in (("data.prompt_dataset", args.data.prompt_dataset), ("eval.dataset", args.eval.dataset)):
        for name in (names or "").split(","):
            path = Path(name.split("@")[0].strip())
            row = _first_row(path)
            if row is not None:
                _check_row(f"--{flag} {path}", row, args)


def _check_row(where: str, row: dict, args: Arguments) -> None:
    for flag, key in (("input_key", args.data.input_key), ("label_key", args.data.label_key)):
        if key is not None and key not in row:
            raise ValueError(f"--data.{flag} is {key}, but {where} has the columns {', '.join(map(str, row))}")
    is_chat = not isinstance(row[args.data.input_key], str)
    if is_chat and not args.data.apply_chat_template:
        raise ValueError(f"{where}: {args.data.input_key} holds messages, which needs --data.apply_chat_template")


def _first_row(path: Path) -> dict | None:
    if not path.is_file():
        return None
    if path.suffix == ".parquet":
        import pyarrow.parquet

        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1):
            return batch.to_pylist()[0]
    if path.suffix == ".jsonl":
        with open(path, "rb") as file:
            try:
                row = json.loads(file.readline())
            except ValueError as error:
                raise ValueError(f"{path}: line 1: not JSON ({error})") from error
        return row if isinstance(row, dict) else None
    return None


def missing_files(args: Arguments) -> list[str]:
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


def _remedy(name: str, args: Arguments) -> str:
    folder = Path(name).parent
    if folder.name not in DATA_COMMANDS:
        return ""
    command = f"deltal data {DATA_COMMANDS[folder.name]} --out {folder}"
    if args.rollout.max_new_tokens:
        # A longer prompt would be cut.
        longest = args.data.max_len - args.rollout.max_new_tokens
        command += f" --tokenizer {args.actor.model_name_or_path} --max_prompt_tokens {longest}"
    if folder.name == "countdown":
        command += " (without the hub: --num_numbers 3 4 in place of --source and its name)"
    return f"; make such files with {command}"
