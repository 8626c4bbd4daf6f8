"""Finds the line of a row, and the fault of a file that the loader cannot read. The loader itself names neither."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs.errors import first_line

TEXT_FILES = (".json", ".jsonl", ".csv")


def place(path: Path, row: int) -> str:
    """ "line 7" where a line is a row, else "row 7". row: from 0; the loader passes over empty lines."""
    if not _is_one_a_line(path):
        return f"row {row + 1}"
    for number, (line, _) in enumerate(_lines(path)):
        if number == row:
            return f"line {line}"
    return f"row {row + 1}"


def fault(path: Path) -> str | None:
    """The first thing that makes a text file unreadable, with its line. None if nothing is found."""
    if path.suffix not in TEXT_FILES:
        return None
    if why := not_utf_8(path):
        return why
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return "holds no rows"
    if _is_one_a_line(path):
        return next((f"line {line}: {why}" for line, raw in _lines(path) if (why := _fault_in_line(raw))), None)
    try:
        if path.suffix != ".csv":
            json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: not JSON ({error.msg})"
    return None


def not_utf_8(path: Path) -> str | None:
    """The first line of a text file that is not UTF-8. The loader accepts some such files and fails when the row is read."""
    if path.suffix not in TEXT_FILES:
        return None
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"line {number}: not UTF-8 text (byte 0x{line[error.start]:02x})"
    return None


def empty_line(path: Path) -> str | None:
    """An empty line that the loader cannot skip, because a column holds more than one type. None if there is none."""
    if not _is_one_a_line(path):
        return None
    with open(path, "rb") as file:
        number = next((number for number, line in enumerate(file, 1) if not line.strip()), None)
    return (
        f"line {number}: empty, in a file with columns of more than one type, which the loader then cannot read"
        if number
        else None
    )


def first_of_another_type(path: Path, key: str) -> str | None:
    """The place where a column's values change their type, for a message. None if they do not, or if the file is not JSON."""
    if path.suffix not in (".json", ".jsonl"):
        return None
    try:
        if _is_one_a_line(path):
            rows = ((f"line {line}", json.loads(raw)) for line, raw in _lines(path))
            return _first_change(rows, key)
        parsed = json.loads(path.read_bytes())
        return _first_change(((f"row {number}", row) for number, row in enumerate(parsed, 1)), key)
    except ValueError:
        return None


def kind(value: Any) -> str:
    """Name the type of a row's value for a message."""
    names = {str: "text", bool: "true or false", dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _first_change(rows: Iterator[tuple[str, dict]], key: str) -> str | None:
    first = None
    for where, row in rows:
        value = row.get(key)
        if value is None:
            continue
        first = first or (where, kind(value))
        if kind(value) != first[1]:
            return f"{key} is {kind(value)} in {where} and {first[1]} in {first[0]}; all rows need one type"
    return None


def _fault_in_line(raw: bytes) -> str | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({first_line(error)})"
    if not isinstance(row, dict):
        return f"{kind(row)}, a row is an object with columns"
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half a character (an escape such as \\ud800 without its second half), which is not text"
    return None


def _is_one_a_line(path: Path) -> bool:
    """Whether each line is a row, whatever the file's name. The loader expects a list of rows if the file begins with a bracket."""
    if path.suffix not in (".json", ".jsonl"):
        return False
    with open(path, "rb") as file:
        first = next((line for line in file if line.strip()), b"").removeprefix(b"\xef\xbb\xbf").lstrip()
    return path.suffix == ".jsonl" if not first.startswith((b"[", b"{")) else first.startswith(b"{")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The non-empty lines, numbered from 1."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line
