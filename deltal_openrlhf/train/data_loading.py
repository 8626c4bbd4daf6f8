"""Loads the data sets of one flag with the host's own loader. Each failure is one line with the flag and the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, interleave_datasets
from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from deltal_openrlhf.arguments import ALL_ROWS, Arguments
from deltal_openrlhf.data.sources import quiet_hub
from deltal_openrlhf.host import data_sets
from deltal_openrlhf.host.data_sets import evaluation_set, silent, training_set
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.train import data_lines
from deltal_openrlhf.train.data_flags import FLAGS, names_of, path_of


@dataclass(frozen=True)
class Loaded:
    """The data sets of one flag.

    sets: each set. rows: all of them, as the run blends and cuts them.
    """

    args: Arguments
    flag: str
    names: list[str]
    sets: list[Dataset]
    rows: Dataset

    def where(self, row: int) -> str:
        """The flag and the place, for the beginning of a message. row: an index of `rows`."""
        return f"--{self.flag} {self.place(row)}"

    def place(self, row: int) -> str:
        """ "data/train.jsonl: line 7"."""
        number, row = self._origin(row)
        path = path_of(self.names[number])
        return f"{path}: {data_lines.place(path, row) if path.is_file() else f'row {row + 1}'}"

    def _origin(self, row: int) -> tuple[int, int]:
        """(data set, row in it)."""
        if self.args.data.prompt_probs is not None and self.flag == "data.prompt_dataset":
            drawn = self._draws[row]
            return drawn["set"], drawn["row"]
        number = 0
        while row >= len(self.sets[number]):
            row -= len(self.sets[number])
            number += 1
        return number, row

    @cached_property
    def _draws(self) -> Dataset:
        """The origin of each row, drawn as the loader draws rows."""
        sizes = enumerate(map(len, self.sets))
        origins = [Dataset.from_dict({"set": [number] * size, "row": list(range(size))}) for number, size in sizes]
        shares = [float(share) for share in (self.args.data.prompt_probs or "").split(",")]
        seed = self.args.train.seed
        return interleave_datasets(origins, probabilities=shares, seed=seed, stopping_strategy="all_exhausted")


def load(args: Arguments, flag: str) -> Loaded:
    """Load the data sets.

    Raises ValueError for sets that cannot be loaded or have no rows, and for columns that are missing or changed by the loader.
    """
    names = names_of(args, flag)
    with _quiet():
        sets = [_load_one(args, flag, name) for name in names]
        for name, rows in zip(names, sets, strict=True):
            _check_columns(args, flag, path_of(name), rows)
        try:
            rows = training_set(args) if flag == "data.prompt_dataset" else evaluation_set(args)
        except ValueError as error:
            raise ValueError(f"--{flag}: {_misfit(names, sets) or first_line(error)}") from error
    return Loaded(args, flag, names, sets, rows)


def _load_one(args: Arguments, flag: str, name: str) -> Dataset:
    is_train, path = flag == "data.prompt_dataset", path_of(name)
    limit, split = (args.data.max_samples, args.data.prompt_split) if is_train else (ALL_ROWS, args.eval.split)
    try:
        rows = data_sets.load(name, None, silent(args), max_count=limit, dataset_split=split)
    except Exception as error:  # noqa: BLE001 - the loader's own, Arrow's, pandas', the system's
        splits = getattr(error, "obj", None)
        if isinstance(splits, DatasetDict):
            raise ValueError(
                f"--{FLAGS[flag]} is {split or 'empty'}, but {path} has no such split; it has {', '.join(map(str, splits))}"
            ) from error
        why = _fault(args, path) if path.is_file() else None
        raise ValueError(
            f"--{flag} {path}: {why or f'cannot be read: {first_line(error.__cause__ or error)}'}"
        ) from error
    why = (data_lines.not_utf_8(path) if path.is_file() else None) or (None if len(rows) else "holds no rows")
    if why:
        raise ValueError(f"--{flag} {path}: {why}")
    return rows


def _fault(args: Arguments, path: Path) -> str | None:
    """What is wrong with a file that the loader does not read."""
    keys = [key for key in (args.data.input_key, args.data.label_key) if key is not None]
    mixed = (change for key in keys if (change := data_lines.first_of_another_type(path, key)))
    return data_lines.fault(path) or next(mixed, None) or data_lines.empty_line(path)


def _check_columns(args: Arguments, flag: str, path: Path, rows: Dataset) -> None:
    for which, key in (("input_key", args.data.input_key), ("label_key", args.data.label_key)):
        if key is None:
            continue
        if key not in rows.column_names:
            raise ValueError(
                f"--data.{which} is {key}, but --{flag} {path} has the columns {', '.join(rows.column_names)}"
            )
        kind = str(getattr(rows.features[key], "dtype", ""))
        # Of a set that was made from JSON. Elsewhere a column of dates is meant as one.
        if rows.info.builder_name == "json" and kind.startswith(("timestamp", "date", "time")):
            raise ValueError(
                f"--{flag} {path}: {key} is read as {kind}, since it holds nothing but texts such as 2024-01-31; parquet keeps them as text"
            )
        # Text next to numbers: the loader makes numbers of the texts that look like one.
        if type(rows.features[key]).__name__ == "Json" and (why := data_lines.first_of_another_type(path, key)):
            raise ValueError(f"--{flag} {path}: {why}")


def _misfit(names: list[str], sets: list[Dataset]) -> str | None:
    """The column that prevents the sets from being joined."""
    for key, feature in sets[0].features.items():
        for name, rows in zip(names[1:], sets[1:], strict=True):
            if key in rows.features and rows.features[key] != feature:
                kinds = [_kind(feature), _kind(rows.features[key])]
                return f"{key} is {kinds[0]} in {path_of(names[0])} and {kinds[1]} in {path_of(name)}; all sets of a flag need one type"
    return None


def _kind(feature: Any) -> str:
    kind = str(getattr(feature, "dtype", feature))
    return {"string": "text", "int64": "a whole number", "float64": "a number"}.get(kind, kind)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and without the hub's lines about retries."""
    had_bars = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        with quiet_hub():
            yield
    finally:
        if had_bars:
            enable_progress_bar()
