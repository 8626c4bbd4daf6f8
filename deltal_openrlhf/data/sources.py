"""Reads problems from a local JSON, JSONL or parquet file, or from a data set on the Hugging Face hub.

A source on the hub is written OWNER/NAME, OWNER/NAME@SPLIT, OWNER/NAME:CONFIG or OWNER/NAME:CONFIG@SPLIT. The default split is `train`.
Every fault of a source is a ValueError of one line that begins with the source.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.runs.errors import first_line

SUFFIXES = (".json", ".jsonl", ".parquet")
FORMS = f"allowed are a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file and OWNER/NAME[:CONFIG][@SPLIT] on the hub"

_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<split>[\w.-]+))?")


def read_rows(source: str) -> list[Any]:
    """Read the rows of a source, at least one. A row is usually a dict of columns, but in JSON it may be anything."""
    path, hub = Path(source), _HUB.fullmatch(source)
    if path.suffix in SUFFIXES or path.exists():
        rows = [row for _, row in read_file(path, source)]
    elif hub:
        rows = _read_hub(source, hub["name"], hub["config"], hub["split"] or "train")
    else:
        raise ValueError(f"{source}: no such file and no hub name; {FORMS}")
    if not rows:
        raise ValueError(f"{source}: holds no rows")
    return rows


class Skipped(NamedTuple):
    """A row that is not a valid problem. number: its place in the source, from 1; None if it is no longer known."""

    source: str
    number: int | None
    why: str
    row: Any


def skip(bad: Skipped, skipped: list[Skipped] | None) -> None:
    """Add a bad row to those that are left out. If that list is None, raise ValueError with its source, number and fault."""
    if skipped is None:
        raise ValueError(f"{bad.source}: row {bad.number}: {bad.why}; --skip_bad leaves such rows out")
    skipped.append(bad)


def read_file(path: Path, source: str) -> list[tuple[str, Any]]:
    """The rows of a local file, each with its place: "line 3" in JSON lines, "row 3" in other files."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{source}: a {'folder' if path.is_dir() else 'file of unknown type'}; {FORMS}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{source}: not readable: {error.strerror}") from error
    if path.suffix == ".parquet":
        return _counted(_parse_parquet(content, source))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{source}: line {line}: not UTF-8 text") from error
    if path.suffix == ".json" and not _is_one_a_line(text):
        rows = _parse_json(text, source, 1)
        if not isinstance(rows, list):
            raise ValueError(f"{source}: holds one {type(rows).__name__}, wanted is a list of rows")
        return _counted(rows)
    # Not splitlines(): that also breaks at characters which JSON allows inside a text.
    lines = enumerate(text.split("\n"), start=1)
    return [(f"line {number}", _parse_json(line, source, number)) for number, line in lines if line.strip()]


def _counted(rows: list[Any]) -> list[tuple[str, Any]]:
    return [(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _is_one_a_line(text: str) -> bool:
    """Whether each line is an object. Some files named .json are JSON lines."""
    first, _, rest = text.strip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _parse_json(text: str, source: str, number: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise ValueError(f"{source}: line {line}: broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise ValueError(f"{source}: line {number}: not readable as JSON: {first_line(error)}") from error


def _parse_parquet(content: bytes, source: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are subclasses of these two
        raise ValueError(f"{source}: not a readable parquet file: {first_line(error)}") from error


def _read_hub(source: str, name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    import datasets

    try:
        with quiet_hub():
            return datasets.load_dataset(name, config, split=split).to_list()
    # The client raises its own, httpx's and the system's errors; to the user all of them mean the same.
    except Exception as error:
        raise ValueError(
            f"{source}: no local file, and not readable from the hub: {first_line(error)}; a local "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file can stand in its place"
        ) from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """A context without the hub client's two lines about each retry. Five retries take about 25 s; then it raises."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def folder_problem(out: str) -> str | None:
    """Why the host could not read files in this folder. None if it can."""
    bad = [character for character in ",@" if character in os.fspath(out)]
    return f"a path with {' or '.join(map(repr, bad))} in it, at which OpenRLHF would split it" if bad else None
