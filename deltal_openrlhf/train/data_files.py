"""Local data files looked into before Ray starts: their first row has to be what the flags say it is."""

import json
from pathlib import Path
from typing import Any


def check_data(args: Any) -> None:
    """Raise ValueError for a missing column, or for messages without --data.apply_chat_template.

    Files that are not there, and data sets of the hub, are left to others.
    """
    for flag, names in (("data.prompt_dataset", args.data.prompt_dataset), ("eval.dataset", args.eval.dataset)):
        for name in (names or "").split(","):
            path = Path(name.split("@")[0].strip())
            row = _first_row(path)
            if row is not None:
                _check_row(f"--{flag} {path}", row, args)


def _check_row(where: str, row: dict, args: Any) -> None:
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
