"""Evaluation files: JSONL or parquet with the columns input, label and datasource, as `deltal data` writes them."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.data.sources import read_file
from deltal_openrlhf.data.templates import Messages
from deltal_openrlhf.rewards.scoring import check_label

COLUMNS = ("input", "label", "datasource")
IMAGES = "images"
FILES = "evaluation files are .jsonl or .parquet"


class Problem(NamedTuple):
    set: str  # the datasource
    position: int  # within its set, from 0
    prompt: str | Messages
    label: str


def read_problems(paths: Sequence[str | Path], limit: int | None = None) -> list[Problem]:
    """Read the problems of all files in order. A limit keeps the first `limit` of each set. Rows of one datasource form a set.

    Raises ValueError, in one line with the file and the row, for any fault.
    """
    for file, count in Counter(Path(path).resolve() for path in paths).items():
        if count > 1:
            raise ValueError(f"{file}: given {count} times")
    sizes: Counter[str] = Counter()
    problems = []
    for path in paths:
        for where, row in _rows(Path(path)):
            prompt, label, name = _checked(row, where)
            position = sizes[name]
            sizes[name] += 1
            if limit is None or position < limit:
                problems.append(Problem(name, position, prompt, label))
    return problems


def by_set(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Set -> its problems in order of position; sets in order of appearance."""
    sets: dict[str, list[Problem]] = {}
    for problem in problems:
        sets.setdefault(problem.set, []).append(problem)
    return sets


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _rows(path: Path) -> list[tuple[str, Any]]:
    """Yield (place, row) for each row, at least one."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; {FILES}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{path}: {FILES}")
    rows = read_file(path, str(path))
    if not rows:
        raise ValueError(f"{path}: holds no problems")
    return [(f"{path}: {where}", row) for where, row in rows]


def _checked(row: Any, where: str) -> tuple[str | Messages, str, str]:
    """prompt, label, datasource."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a row is an object with {', '.join(COLUMNS)}, not {str(row)[:60]!r}")
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise ValueError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(str, row)) or 'none'}")
    if row.get(IMAGES):
        raise ValueError(
            f"{where}: it has {IMAGES}, and deltal eval reads text alone; a run evaluates such rows, with --eval.dataset"
        )
    prompt, label, name = (row[column] for column in COLUMNS)
    if not (isinstance(prompt, str) and prompt.strip()) and not _is_chat(prompt):
        raise ValueError(
            f"{where}: input is a text or a list of messages with role and content, not {str(prompt)[:60]!r}"
        )
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where}: datasource is a name, not {name!r}")
    try:
        check_label(label)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    try:
        json.dumps([prompt, label, name], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: holds half a surrogate pair, which is not text") from error
    return prompt, label, name


def _is_chat(prompt: Any) -> bool:
    def is_message(item: Any) -> bool:
        return isinstance(item, dict) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str)

    return isinstance(prompt, list) and bool(prompt) and all(map(is_message, prompt))
